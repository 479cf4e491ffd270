"""A recording given to the adapter again: the same bits, or the first that differs."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.cli.replay import replay
from robot_bridge.errors import RecordingError
from robot_bridge.recording.reader import parts
from robot_bridge.recording.rotation import Rotation
from robot_bridge.recording.writer import McapRecorder
from tests.support import tiny_bundle
from tests.support.bridge.recorded import Motion, record, rewrite, wait_for


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tiny_bundle.write(tmp_path_factory.mktemp("b") / "tiny", hold=3)
    # A rate that holds commands back, so that each depends on the one before.
    tiny_bundle.edit_manifest(made, lambda m: m["limits"][0].update(low=-0.01, high=0.01))
    return made


@pytest.fixture(scope="module")
def bundle(folder):
    return PolicyBundle.load(folder)


@pytest.fixture(scope="module")
def path(bundle, tmp_path_factory):
    return record(bundle, tmp_path_factory.mktemp("rec"))


def arm(path, bundle):
    return replay([path], bundle).robots["arm"]


@pytest.mark.parametrize("lag", [0, 1, 7])
def test_a_recording_replays_to_the_last_bit(bundle, tmp_path, lag):
    tally = arm(record(bundle, tmp_path, lag), bundle)
    assert (tally.replayed, tally.idle, tally.episodes) == (60, 6, 3)
    # The last episode's last lesson is not needed by any command, but by the belief that is told.
    assert tally.learnt >= 57
    assert (tally.different, tally.first) == (0, None)
    assert not tally.left_out


@pytest.mark.parametrize(
    ("topic", "change", "field"),
    [
        ("step", lambda row: row["command"]["yaw"].__setitem__(0, 1e-3), "command[2]"),
        ("step", lambda row: row["wanted"]["translation"].__setitem__(1, 0.5), "wanted[1]"),
        ("step", lambda row: row["latent"].__setitem__(1, 0.5), "latent[1]"),
        ("step", lambda row: row["observation"]["wrench"].__setitem__(0, 1.0), "wanted["),
        ("step", lambda row: row["belief_mean"].__setitem__(0, 0.25), "belief_mean[0]"),
        # The seventh step drew its latent from what the sixth lesson taught.
        ("adaptation", lambda row: row.update(reward=4.0), "latent["),
    ],
)
def test_the_first_number_that_differs_is_named(bundle, path, tmp_path, topic, change, field):
    seen = []

    def forge(where, row):
        if where == f"/arm/{topic}":
            seen.append(row)
            if len(seen) == 6:
                change(row)
        return [row]

    rewrite(path, tmp_path / "x.mcap", forge)
    tally = arm(tmp_path / "x.mcap", bundle)
    assert tally.first is not None
    assert tally.first.sequence == (18 if topic == "step" else 21)
    assert tally.first.field.startswith(field)
    assert tally.first.recorded != tally.first.replayed
    assert tally.different >= 1


def without(*numbers):
    """Leave out rows of a topic by their order."""
    seen = {}

    def change(topic, row):
        seen[topic] = seen.get(topic, -1) + 1
        return [] if (topic, seen[topic]) in numbers else [row]

    return change


@pytest.mark.parametrize(
    ("missing", "reason", "steps"),
    [
        (("/arm/step", 5), "records before them are missing", 15),
        (("/arm/adaptation", 5), "a transition that was learnt is missing", 14),
        (("/arm/state", 0), "no state comes before them", 21),
        (("/arm/state", 1), "records before them are missing", 21),
    ],
)
def test_steps_behind_a_gap_are_left_out_until_the_next_state(
    bundle, path, tmp_path, missing, reason, steps
):
    rewrite(path, tmp_path / "x.mcap", without(missing))
    tally = arm(tmp_path / "x.mcap", bundle)
    assert tally.first is None
    assert reason in tally.left_out
    assert sum(tally.left_out.values()) >= steps
    assert tally.replayed >= 40 - steps


def test_a_recording_in_parts_is_replayed_as_one(bundle, tmp_path):
    recorder = McapRecorder(tmp_path, bundle, rotation=Rotation(size=1))
    motion = Motion(bundle, recorder)
    wait_for(lambda: motion.episode(20) or len(list(tmp_path.glob("*.mcap"))) >= 3)
    recorder.close()
    files = parts(recorder.path)
    assert len(files) >= 3
    tally = replay(files, bundle).robots["arm"]
    assert tally.replayed == sum(step.wanted is not None for step in motion.steps)
    assert (tally.first, dict(tally.left_out)) == (None, {})
    assert parts(files[1]) == files[1:]


def test_another_bundle_is_refused_by_name(bundle, path, tmp_path):
    other = PolicyBundle.load(tiny_bundle.write(tmp_path / "other", hold=3, seed=8))
    with pytest.raises(RecordingError) as caught:
        replay([path], other)
    assert bundle.digest[:12] in str(caught.value)
    assert other.digest[:12] in str(caught.value)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_a_clear_error_or_a_shorter_one(bundle, path, tmp_path, data):
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        broken = whole[:at]
    else:
        broken = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    (tmp_path / "x.mcap").write_bytes(broken)
    try:
        report = replay([tmp_path / "x.mcap"], bundle)
    except RecordingError as error:
        assert "x.mcap" in str(error)
    else:
        assert report.different == 0

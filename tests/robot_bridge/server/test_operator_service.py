"""What operators ask for: models, beliefs, status. Without sockets."""

import os
from typing import Any

import msgspec
import numpy as np
import pytest

from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.protocol import codec
from robot_bridge.protocol.messages import Begin, Flag, Kind, Mode, Outcome, Ready, Stop
from robot_bridge.protocol.operator_messages import (
    BeliefRequest,
    EpisodeRecord,
    ModelRequest,
    Reply,
    StageStatus,
    Status,
)
from tests.support import tiny_bundle
from tests.support.bridge.bridge_without_sockets import Post

ARM, LEG, BOSS = b"arm", b"leg", b"boss"
OUTCOME = Outcome(True, 3, 0.15, "done")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("bundles")
    tiny_bundle.write(made / "one")
    tiny_bundle.write(made / "other", seed=1)
    # Another idea of what is unknown: as many fields, but three latents.
    tiny_bundle.write(made / "wide", seed=2, latent_size=3)
    tiny_bundle.write(made / "foreign", observation_size=7)
    return made


@pytest.fixture
def post(folder):
    made = Post(
        PolicyBundle.load(folder / "one"),
        stages=lambda: [StageStatus("answer", 5, 1e-4, 2e-4, 3e-4, 4e-4)],
    )
    made.join(ARM, simulated_time=True)
    made.join(BOSS, role="operator")
    yield made
    made.peers.dismiss("done")


def reply(post, number):
    """The answer to a request, once it is there."""

    def found():
        replies = [codec.decode_message(f, Reply) for f in post.frames(BOSS, Kind.REPLY)]
        return [one for one in replies if one.number == number]

    post.settle(found)
    return found()[0]


def ask(post, action: Any, number, **fields: Any):
    if action in ("keep", "restore", "forget"):
        post.say(BOSS, BeliefRequest(number, fields.pop("robot", "arm"), action, **fields))
    else:
        post.say(BOSS, ModelRequest(number, action, **fields))
    return reply(post, number)


def load(post, path):
    answer = ask(post, "load", 100, path=str(path))
    assert answer.done, answer.text
    return PolicyBundle.load(path)


def status(post) -> Any:
    post.ask(BOSS, Kind.STATUS)
    return codec.decode_message(post.frames(BOSS, Kind.STATUS)[-1], Status)


def robot(post, name=ARM):
    return post.peers.robots()[name.decode()].robot


def walk(post, steps, address=ARM):
    """An episode's first steps; every one after the first teaches."""
    commands = [post.observe(address, 0.1, Flag.FIRST)]
    commands += [post.observe(address, 0.1 * (n + 2)) for n in range(steps - 1)]
    return commands


def expected(bundle, command, latent, value):
    """What the bundle's policy commands for such an observation."""
    observation = np.full((1, 6), value, np.float32)
    mean = bundle.policy.run(observation=observation, latent=latent[None])["mean"][0]
    return np.tanh(mean) * [0.001, 0.001, 0.02]


def test_a_model_loaded_beside_the_other_changes_nothing_until_it_is_swapped(post, folder):
    walk(post, 3)
    before = robot(post).episodes.digest
    other = load(post, folder / "other")
    assert post.observe(ARM).mode is Mode.TRACK
    assert robot(post).episodes.digest == before
    found = status(post)
    assert (found.served.digest, found.candidate.digest) == (before, other.digest)
    (event,) = post.events(BOSS, "model_loaded")
    assert other.digest in event.text


def test_a_swap_waits_for_the_episodes_end(post, folder):
    one = robot(post).episodes.digest
    walk(post, 3)
    other = load(post, folder / "other")
    assert ask(post, "swap", 1).done
    assert (robot(post).episodes.digest, robot(post).episodes.next_digest) == (one, other.digest)
    post.observe(ARM, 0.5, Flag.LAST)
    post.say(ARM, OUTCOME)
    post.peers.tend()
    assert (robot(post).episodes.digest, robot(post).episodes.next_digest) == (other.digest, "")
    command = post.observe(ARM, 0.3, Flag.FIRST)
    latent = robot(post).policy.adapter.latent
    np.testing.assert_allclose(command.payload, expected(other, command, latent, 0.3), atol=1e-6)
    # From now on new robots are welcomed by the new one.
    post.join(LEG, simulated_time=True)
    assert robot(post, LEG).episodes.digest == other.digest


def test_a_swap_at_once_acts_with_the_next_observation_and_the_record_says_so(post, folder):
    post.say(BOSS, Begin("arm", 0, 0, 7, True))
    post.say(ARM, Ready())
    walk(post, 4)
    wide = load(post, folder / "wide")
    assert ask(post, "swap", 1, when="now").done
    command = post.observe(ARM, 0.3)
    latent = robot(post).policy.adapter.latent
    assert latent.shape == (3,)
    # The rate is the robot's, and holds across the swap.
    wanted = expected(wide, command, latent, 0.3)
    np.testing.assert_allclose(command.payload[2], wanted[2], atol=1e-6)
    post.observe(ARM, 0.2, Flag.LAST)
    post.say(ARM, OUTCOME)
    post.peers.tend()
    (frame,) = post.frames(BOSS, Kind.EPISODE_RECORD)
    record = codec.decode_message(frame, EpisodeRecord)
    assert any("model_swapped" in event for event in record.events)
    assert {len(point.mean) for point in record.belief_trace} == {3}
    assert len(record.arrays()["steps"]) == 5


def test_one_call_takes_a_model_back_with_what_it_believed(post, folder):
    walk(post, 4)
    one, believed = robot(post).episodes.digest, robot(post).policy.belief
    other = load(post, folder / "other")
    ask(post, "swap", 1, when="now")
    assert robot(post).policy.belief.count == 0
    for value in (0.4, 0.5, 0.6):
        post.observe(ARM, value)
    answer = ask(post, "rollback", 2)
    assert answer.done
    assert robot(post).episodes.digest == one
    belief = robot(post).policy.belief
    assert belief.count == believed.count == 3
    np.testing.assert_array_equal(belief.mean, believed.mean)
    assert post.observe(ARM).mode is Mode.TRACK
    assert status(post).candidate.digest == other.digest
    assert "no model to go back to" in ask(post, "rollback", 3).text


def test_what_cannot_be_is_refused_by_name_and_changes_nothing(post, folder):
    walk(post, 2)
    before = robot(post).episodes.digest
    assert "no model is loaded" in ask(post, "swap", 1).text
    answer = ask(post, "load", 2, path=str(folder / "foreign"))
    assert not answer.done
    assert "observation field 'tip_position': shape" in answer.text
    assert post.events(BOSS, "model_refused")
    assert "no such bundle" in ask(post, "load", 3, path="/nowhere").text
    assert robot(post).episodes.digest == before
    assert post.observe(ARM).mode is Mode.TRACK


def test_a_file_whose_name_is_no_text_is_named_and_ends_nothing(post, tmp_path):
    path = tiny_bundle.write(tmp_path / "stray")
    (path / os.fsdecode(b"\xff")).write_bytes(b"")
    answer = ask(post, "load", 1, path=str(path))
    assert not answer.done
    assert r"\udcff is not listed in the manifest" in answer.text
    (event,) = post.events(BOSS, "model_refused")
    assert event.text == answer.text
    # As the door tells of clients/\xff.toml.
    post.peers.announce("key_unreadable", os.fsdecode(b"clients/\xff.toml: nonsense"))
    (event,) = post.events(BOSS, "key_unreadable")
    assert event.text == r"clients/\udcff.toml: nonsense"
    assert status(post).events[-1] == event
    assert post.observe(ARM, 0.1, Flag.FIRST).mode is Mode.TRACK


def test_a_stop_is_sent_with_any_name_in_its_reason(post):
    post.peers._operators.give_stop("arm", os.fsdecode(b"state/\xff"))
    (frame,) = post.frames(ARM, Kind.STOP)
    assert codec.decode_message(frame, Stop).reason == r"state/\udcff"


def test_a_driver_made_for_one_digest_keeps_it(post, folder):
    post.join(LEG, digest=robot(post).episodes.digest, simulated_time=True)
    load(post, folder / "other")
    answer = ask(post, "swap", 1)
    assert not answer.done
    assert "leg" in answer.text
    assert (
        robot(post).episodes.digest
        == robot(post, LEG).episodes.digest
        == status(post).served.digest
    )


def test_a_swap_waits_for_a_worker_that_is_at_it(post, folder):
    # In real time, so that learning has a thread of its own.
    post.join(LEG)
    walk(post, 3, LEG)
    other = load(post, folder / "other")
    # As an observe under way on another thread has it.
    with robot(post, LEG).policy.adapter._memory_lock:
        ask(post, "swap", 1, when="now")
        assert post.observe(LEG).mode is Mode.TRACK
        assert robot(post, LEG).episodes.digest != other.digest
    post.settle(lambda: robot(post, LEG).episodes.digest == other.digest)
    assert post.observe(LEG).mode is Mode.TRACK


def test_every_episode_leaves_a_belief_to_go_back_to(post):
    for episode in range(2):
        walk(post, 3)
        post.observe(ARM, 0.9, Flag.LAST)
        post.say(ARM, OUTCOME)
        post.peers.tend()
        assert robot(post).policy.belief.count == 3 * (episode + 1)
    kept = status(post).robots[0].kept
    assert [(one.number, one.count) for one in kept] == [(1, 3), (2, 6)]


def test_a_belief_is_kept_and_restored_in_the_midst_of_an_episode(post):
    walk(post, 4)
    assert "3 transitions" in ask(post, "keep", 1).text
    kept = robot(post).policy.belief
    for value in (0.9, 0.2, 0.7):
        post.observe(ARM, value)
    spoilt = robot(post).policy.belief
    answer = ask(post, "restore", 2, kept=1)
    assert answer.done, answer.text
    belief = robot(post).policy.belief
    np.testing.assert_array_equal(belief.mean, kept.mean)
    assert belief.version > spoilt.version
    command = post.observe(ARM, 0.2)
    assert command.mode is Mode.TRACK
    assert command.belief_version == belief.version
    # What was replaced can be had again.
    number = status(post).robots[0].kept[-1].number
    ask(post, "restore", 3, kept=number)
    np.testing.assert_array_equal(robot(post).policy.belief.mean, spoilt.mean)
    assert [event.name for event in post.events(BOSS)][-1] == "belief_restored"


def test_forgetting_leads_to_the_prior_and_back(post):
    walk(post, 4)
    learnt = robot(post).policy.belief
    assert ask(post, "forget", 1).done
    belief = robot(post).policy.belief
    assert belief.count == 0
    assert (belief.mean.tolist(), belief.variance.tolist()) == ([0.0, 0.0], [1.0, 1.0])
    ask(post, "restore", 2, kept=status(post).robots[0].kept[-1].number)
    np.testing.assert_array_equal(robot(post).policy.belief.mean, learnt.mean)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kept": 9}, "belief 9 is not kept; there are 1"),
        ({"kept": 1, "robot": "nose"}, "no such robot: 'nose'"),
    ],
)
def test_a_belief_that_is_not_there(post, fields, words):
    walk(post, 3)
    ask(post, "keep", 1)
    answer = ask(post, "restore", 2, **fields)
    assert not answer.done
    assert words in answer.text


def test_another_models_belief_is_not_restored(post, folder):
    walk(post, 3)
    ask(post, "keep", 1)
    load(post, folder / "other")
    ask(post, "swap", 2, when="now")
    answer = ask(post, "restore", 3, kept=1)
    assert not answer.done
    assert "is of the model" in answer.text


def test_what_is_kept_is_bounded(post):
    walk(post, 3)
    for number in range(1, 41):
        ask(post, "keep", number)
    kept = status(post).robots[0].kept
    assert [one.number for one in kept] == list(range(21, 41))


def test_status_says_how_the_bridge_fares(post):
    walk(post, 3)
    post.join(LEG)
    found = status(post)
    assert [one.name for one in found.robots] == ["arm", "leg"]
    arm, leg = found.robots
    assert (arm.mode, arm.episode, arm.step, arm.count) == ("TRACK", "open", 3, 2)
    assert (arm.simulated_time, leg.simulated_time) == (True, False)
    assert (leg.mode, leg.episode, leg.rate, leg.waiting) == ("", "none", 0.0, 0)
    assert arm.belief.mean == tuple(robot(post).policy.belief.mean.tolist())
    assert arm.inside
    assert arm.trusted
    assert found.operators == ("boss",)
    assert [event.name for event in found.events] == ["robot_connected"] * 2
    assert found.stages[0].p99 == 2e-4
    # Every answer can be read.
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=Status) == found


def test_a_robot_may_ask_none_of_it(post):
    post.say(ARM, ModelRequest(1, "swap"))
    post.ask(ARM, Kind.STATUS)
    assert not post.frames(ARM, Kind.REPLY)
    assert not post.frames(ARM, Kind.STATUS)
    assert len(post.frames(ARM, Kind.REFUSED)) == 2

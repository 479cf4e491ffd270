"""Trials over real processes: a bridge, a toy robot, an operator; and the page that comes of it."""

import signal
import subprocess
import sys
import time
from itertools import pairwise

import msgspec
import numpy as np
import pytest

import acclimate
from adapt.prior import MeasuredPrior, MeasuredQuantity
from robot_bridge.client.operator_client import OperatorClient
from robot_bridge.errors import BridgeLost, RobotLost, TrialError
from robot_bridge.trial import runner as trial
from robot_bridge.trial.folder import TrialWriter, clear, read_arrays, read_header, read_lines
from robot_bridge.trial.runner import TrialSettings
from tests.support.bridge.local_bridge import ROOT, bridge
from tests.support.client import toy_robot


def start_toy(endpoint, bundle, *words):
    process = subprocess.Popen(
        [sys.executable, ROOT / "tests/support/client/toy_robot.py", endpoint, bundle, *words],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    return process


def end(process):
    process.send_signal(signal.SIGINT)
    try:
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, said


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return toy_robot.write_point_bundle(tmp_path_factory.mktemp("point") / "bundle")


@pytest.fixture(scope="module")
def endpoint(bundle, tmp_path_factory):
    address = f"ipc://{tmp_path_factory.mktemp('bridge')}/b"
    with bridge(bundle, address):
        yield address


@pytest.fixture(scope="module")
def done(bundle, endpoint, tmp_path_factory):
    """A trial of 12 tasks × 4 episodes, and the same again."""
    toy = start_toy(endpoint, bundle)
    folders = [tmp_path_factory.mktemp("trial") / name for name in ("one", "two")]
    try:
        rows = [
            trial.run(TrialSettings(endpoint=endpoint, out=folder, tasks=12, episodes=4))
            for folder in folders
        ]
    finally:
        code, said = end(toy)
    assert code == 130, said
    return folders, rows


def test_adaptation_shows(done):
    _, (rows, _) = done
    assert [row.episode for row in rows] == [0, 1, 2, 3]
    assert [row.tasks for row in rows] == [12] * 4
    assert rows[3].successes >= rows[0].successes + 4


def test_a_seed_gives_the_same_trial_again(done):
    (one, two), _ = done
    for first, second in zip(read_lines(one), read_lines(two), strict=True):
        assert first.outcome == second.outcome
        # Versions count on through a session; what is believed must not differ.
        assert first.belief_after.mean == second.belief_after.mean
        a, b = read_arrays(one, first), read_arrays(two, second)
        np.testing.assert_array_equal(a["commands"], b["commands"])


def test_a_task_whose_prior_was_measured_succeeds_from_the_first_episode_on(
    done, bundle, endpoint, tmp_path
):
    (folder, _), (wide, _) = done
    for line in read_lines(folder):
        measured = [
            MeasuredQuantity(name, "m", "linear", mean, std=0.02)
            for name, mean in line.truth.items()
        ]
        data = msgspec.json.encode(MeasuredPrior("acclimate-prior-1", measured))
        (tmp_path / f"{line.task}.json").write_bytes(data)
    toy = start_toy(endpoint, bundle)
    try:
        settings = TrialSettings(
            endpoint=endpoint, out=tmp_path / "out", tasks=12, episodes=1, prior=tmp_path
        )
        (row,) = trial.run(settings)
    finally:
        code, said = end(toy)
    assert code == 130, said
    assert wide[0].successes <= 8
    assert row.successes == 12


def test_the_belief_is_kept_within_a_task_and_forgotten_after_it(done):
    (folder, _), _ = done
    lines = read_lines(folder)
    for before, after in pairwise(lines):
        if after.task == before.task:
            assert after.belief_before.mean == before.belief_after.mean
        else:
            assert after.belief_before.mean == (0.0, 0.0)
            assert after.belief_before.variance == (1.0, 1.0)


def test_the_belief_is_the_exact_posterior_of_what_was_measured(done):
    (folder, _), _ = done
    line = next(line for line in read_lines(folder) if line.episode == 0 and line.outcome.steps > 5)
    n = line.outcome.steps
    precision = 1 + n * (toy_robot.SPREAD / toy_robot.NOISE) ** 2
    np.testing.assert_allclose(line.belief_after.variance, 1 / precision, rtol=1e-5)
    for name, mean in zip(("goal_x", "goal_y"), line.belief_after.mean, strict=True):
        assert (
            abs(mean * toy_robot.SPREAD - line.truth[name]) < 5 * toy_robot.SPREAD * precision**-0.5
        )


def test_arrays_hold_what_went_over_the_wire(done):
    (folder, _), _ = done
    line = read_lines(folder)[-1]
    arrays = read_arrays(folder, line)
    steps = line.outcome.steps
    assert arrays["steps"].tolist() == list(range(steps))
    assert arrays["observations"].shape == (steps, 7)
    assert np.abs(arrays["commands"]).max() <= toy_robot.STEP
    moved = np.diff(arrays["observations"][:, :2], axis=0)
    np.testing.assert_allclose(moved, arrays["commands"][:-1], atol=1e-6)


def test_the_real_clock_adapts_too(bundle, endpoint, tmp_path):
    toy = start_toy(endpoint, bundle, "--realtime", "--name", "real")
    try:
        settings = TrialSettings(
            endpoint=endpoint, out=tmp_path / "t", robot="real", first_task=1, tasks=1, episodes=2
        )
        trial.run(settings)
    finally:
        end(toy)
    first, second = read_lines(tmp_path / "t")
    assert first.belief_after.variance[0] < 0.2
    assert second.belief_before.mean == first.belief_after.mean


def test_a_frozen_belief_stays_the_prior(bundle, endpoint, tmp_path):
    toy = start_toy(endpoint, bundle, "--name", "frozen")
    try:
        settings = TrialSettings(
            endpoint=endpoint,
            out=tmp_path / "t",
            robot="frozen",
            tasks=1,
            episodes=2,
            adapting=False,
        )
        trial.run(settings)
    finally:
        end(toy)
    assert all(line.belief_after.variance == (1.0, 1.0) for line in read_lines(tmp_path / "t"))


def test_a_robot_that_dies_ends_the_trial_with_what_there_was(bundle, endpoint, tmp_path):
    toy = start_toy(endpoint, bundle, "--mute-after", "20", "--name", "mute")
    try:
        settings = TrialSettings(
            endpoint=endpoint, out=tmp_path / "t", robot="mute", tasks=9, episodes=9
        )
        with pytest.raises(RobotLost, match="robot 'mute': robot_l"):
            trial.run(settings)
    finally:
        end(toy)
    assert read_header(tmp_path / "t").robot == "mute"
    assert len(read_lines(tmp_path / "t")) < 81
    assert (tmp_path / "t/summary.json").exists()


def test_a_trial_that_is_ended_by_a_signal_leaves_its_robot_stopped(bundle, endpoint, tmp_path):
    toy = start_toy(endpoint, bundle, "--realtime", "--name", "left")
    words = ["trial", f"out={tmp_path}/t", f"endpoint={endpoint}", "robot=left", "tasks=500"]
    process = subprocess.Popen(
        [sys.executable, ROOT / "acclimate.py", *words], stdout=subprocess.DEVNULL
    )
    try:
        with OperatorClient(endpoint) as operator:
            operator.connect()

            def left():
                robots = [one for one in operator.status().robots if one.name == "left"]
                return robots[0] if robots else None

            until(lambda: (one := left()) is not None and one.episode == "open")
            process.terminate()
            assert process.wait(30) == 128 + signal.SIGTERM
            until(lambda: (one := left()) is not None and one.stop != "")
    finally:
        process.kill()
        end(toy)
    assert (tmp_path / "t/summary.json").exists()


def until(so):
    """Wait for it: how long anything takes says nothing here."""
    deadline = time.monotonic() + 30
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_folder_in_use_is_not_overwritten_unless_asked(done, tmp_path):
    (folder, _), _ = done
    with pytest.raises(TrialError, match="say overwrite=true"):
        trial.run(TrialSettings(endpoint=f"ipc://{tmp_path}/nowhere", out=folder))
    assert len(read_lines(folder)) == 48
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(TrialError, match="holds no trial"):
        clear(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.tex").exists()


def test_without_a_bridge_the_older_trial_stays(done, tmp_path):
    (folder, _), _ = done
    with pytest.raises(BridgeLost):
        trial.run(
            TrialSettings(endpoint=f"ipc://{tmp_path}/b", out=folder, overwrite=True, wait=0.1)
        )
    assert len(read_lines(folder)) == 48


def test_a_disk_that_takes_nothing_more_and_a_damaged_file_are_told_in_one_line(done, tmp_path):
    (folder, _), _ = done
    writer = TrialWriter(tmp_path / "t", read_header(folder))
    (tmp_path / "t/summary.json").mkdir()
    with writer, pytest.raises(TrialError, match="t: Is a directory"):
        writer.summarise([])
    (tmp_path / "file").touch()
    with pytest.raises(TrialError, match="file/demo: Not a directory"):
        clear(tmp_path / "file" / "demo", overwrite=True)
    line = read_lines(folder)[0]
    whole = (folder / line.arrays).read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[:60] + bytes(20) + whole[80:]):
        (tmp_path / "t" / line.arrays).write_bytes(damaged)
        with pytest.raises(TrialError, match=line.arrays):
            read_arrays(tmp_path / "t", line)


def test_a_misspelt_setting_and_an_absent_bridge_are_told_in_one_line(tmp_path, capsys):
    for words, expected in (
        (["trial", f"out={tmp_path}/t", "taks=3"], "taks"),
        (["trial", f"out={tmp_path}/t", f"endpoint=ipc://{tmp_path}/b", "wait=0.1"], "no bridge"),
        (["report", f"folder={tmp_path}/none"], "trial.json"),
    ):
        assert acclimate.main(words) == 2
        told = capsys.readouterr().err
        assert expected in told
        assert "Traceback" not in told


def test_arrays_from_outside_the_folder_are_refused(done):
    (folder, _), _ = done
    line = msgspec.structs.replace(read_lines(folder)[0], arrays="../../x.npz")
    with pytest.raises(TrialError, match="outside the folder"):
        read_arrays(folder, line)

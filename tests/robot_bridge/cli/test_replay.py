"""`acclimate replay`, and recordings of bridges that are processes of their own."""

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import acclimate
from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.cli.replay import replay
from robot_bridge.trial import runner as trial
from robot_bridge.trial.folder import read_lines
from robot_bridge.trial.runner import TrialSettings
from tests.support import tiny_bundle
from tests.support.bridge.recorded import record, rewrite, salvage, wait_for
from tests.support.client import toy_robot

ROOT = Path(__file__).resolve().parents[3]


def test_the_command_tells_and_returns_what_it_found(tmp_path, capsys):
    folder = tiny_bundle.write(tmp_path / "tiny", hold=3)
    path = record(PolicyBundle.load(folder), tmp_path / "rec")
    rewrite(path, tmp_path / "forged 'n so.mcap", lambda topic, row: [row | {"latent": [1.0, 2.0]}])
    (tmp_path / "noise.mcap").write_bytes(bytes(5000))
    for file, code, text in (
        (path, 0, "60 commands replayed in 3 episodes"),
        (
            tmp_path / "forged 'n so.mcap",
            1,
            "DIFFERENT in 60 steps, first at sequence 3: latent[0]",
        ),
        (tmp_path / "noise.mcap", 2, "noise.mcap: "),
        (tmp_path / "none.mcap", 2, "No such file"),
    ):
        assert acclimate.main(["replay", str(file), f"bundle={folder}"]) == code
        said = capsys.readouterr()
        assert text in said.out + said.err


def start(*words, **options):
    return subprocess.Popen([sys.executable, ROOT / words[0], *words[1:]], cwd=ROOT, **options)


def start_bridge(bundle, endpoint, recordings, **options):
    # However late a busy machine makes the answers: that is not what is tested here.
    patient = ["pace.slipping=1", "pace.lost=1"]
    words = [f"bundle={bundle}", f"endpoint={endpoint}", f"record={recordings}", *patient]
    return start("acclimate.py", "bridge", *words, **options)


def start_toy(endpoint, bundle, *words):
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return start("tests/support/client/toy_robot.py", endpoint, bundle, *words, **quiet)


def end(*processes):
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in processes:
        try:
            process.wait(30)
        finally:
            process.kill()


def serving(recordings):
    """The file of a bridge that has begun to serve."""
    return wait_for(lambda: sorted(recordings.glob("*.mcap")))[0]


@pytest.fixture(scope="module")
def point(tmp_path_factory):
    return toy_robot.write_point_bundle(tmp_path_factory.mktemp("point") / "bundle")


@pytest.fixture
def private(tmp_path):
    tmp_path.chmod(0o700)
    return tmp_path


def test_what_two_robots_did_replays_to_the_last_bit(point, private):
    endpoint, recordings = f"ipc://{private}/b", private / "rec"
    bridge = start_bridge(point, endpoint, recordings)
    path = serving(recordings)
    toys = [
        start_toy(endpoint, point, "--name", "simulated"),
        start_toy(endpoint, point, "--name", "real", "--realtime"),
    ]
    try:
        for name in ("simulated", "real"):
            chosen = TrialSettings(
                endpoint=endpoint,
                out=private / name,
                robot=name,
                tasks=2,
                episodes=2,
                seed=5,
                wait=30,
            )
            trial.run(chosen)
    finally:
        end(*toys, bridge)
    report = replay([path], PolicyBundle.load(point))
    assert not report.cut
    for name in ("simulated", "real"):
        tally = report.robots[name]
        assert (tally.episodes, tally.different, dict(tally.left_out)) == (4, 0, {})
        assert tally.replayed >= 4
        # On a busy machine the real robot may hold for its spacing, and learns nothing across that.
        assert tally.learnt >= (tally.replayed - 4 if name == "simulated" else 1)
    assert {event.name for event in report.events} >= {"robot_connected"}


def test_a_killed_bridge_leaves_what_replays(point, private):
    endpoint, recordings = f"ipc://{private}/b", private / "rec"
    bridge = start_bridge(point, endpoint, recordings)
    path = serving(recordings)
    toy = start_toy(endpoint, point, "--realtime")
    words = [f"endpoint={endpoint}", f"out={private}/trial", "wait=30", "tasks=500"]
    operator = start("acclimate.py", "trial", *words, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: len(salvage(path).get("/point/end", [])) >= 3)
        bridge.kill()
    finally:
        end(bridge, toy, operator)
    report = replay([path], PolicyBundle.load(point))
    (cut,) = report.cut
    assert "there is no summary" in cut
    assert report.different == 0
    assert report.robots["point"].episodes >= 3
    assert report.robots["point"].replayed >= 3


def test_a_disk_that_fills_stops_the_recording_and_not_the_robot(point, private):
    endpoint, recordings = f"ipc://{private}/b", private / "rec"
    with (private / "said").open("w") as said:
        bridge = start_bridge(point, endpoint, recordings, stderr=said)
    path = serving(recordings)
    toy = start_toy(endpoint, point, "--name", "simulated")
    try:
        wait_for(lambda: salvage(path).get("/events"))
        room = path.stat().st_size + 2000
        resource.prlimit(bridge.pid, resource.RLIMIT_FSIZE, (room, room))
        chosen = TrialSettings(
            endpoint=endpoint, out=private / "t", robot="simulated", tasks=8, episodes=3, wait=30
        )
        trial.run(chosen)
        wait_for(lambda: "recording_failed" in (private / "said").read_text())
        assert bridge.poll() is None
    finally:
        end(toy, bridge)
    reasons = {line.outcome.reason for line in read_lines(private / "t")}
    assert len(read_lines(private / "t")) == 24
    assert reasons <= {"reached", "time is up"}
    assert path.stat().st_size <= room
    assert "EndOfFile" in salvage(path)[""][0]["error"]

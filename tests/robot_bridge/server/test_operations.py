"""Operating a running bridge: commands, restarts, and a log without a reader."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

import acclimate
from adapt.bundle.policy_bundle import read_manifest
from robot_bridge.client.operator_client import OperatorClient
from robot_bridge.client.robot_client import RobotClient
from robot_bridge.errors import BridgeError
from robot_bridge.protocol.messages import Mode, Outcome
from robot_bridge.transport.server_socket import PeerConnection, ServerSocket
from tests.support import tiny_bundle

ROOT = Path(__file__).resolve().parents[3]
PERIOD = 0.05
GOOD = np.full(6, 0.1, np.float32)
F_SETPIPE_SZ = 1031
DEADLINE = 30.0


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    for number, name in enumerate(("one", "two")):
        tiny_bundle.write(folder / name, seed=number)
    return folder


@pytest.fixture
def endpoint(tmp_path):
    return f"ipc://{tmp_path}/b"


@contextmanager
def bridge(bundles, endpoint, *settings, **options: Any):
    """A bridge in a process of its own, from the moment on that it answers."""
    words = ["bridge", f"bundle={bundles / 'one'}", f"endpoint={endpoint}", *settings]
    command = [sys.executable, str(ROOT / "acclimate.py"), *words]
    chosen: dict[str, Any] = {"stderr": subprocess.DEVNULL} | options
    process = subprocess.Popen(command, cwd=ROOT, **chosen)
    try:
        with OperatorClient(endpoint) as operator:
            operator.connect(DEADLINE)
        yield process
    finally:
        process.kill()
        process.wait()


def client(bundles, endpoint):
    manifest, _ = read_manifest(bundles / "one")
    return RobotClient(
        endpoint,
        "arm",
        manifest.observation,
        manifest.action,
        PERIOD,
        simulated_time=True,
        patience=DEADLINE,
    )


def episode(robot, steps=4):
    assert robot.exchange(GOOD, first=True).mode is Mode.TRACK
    for step in range(steps):
        robot.exchange(GOOD * step)
    robot.exchange(GOOD, last=True)
    robot.end_episode(Outcome(True, steps, steps * PERIOD, "done"))


def fares(endpoint, so):
    """The bridge's status, once something is so."""
    deadline = time.monotonic() + DEADLINE
    while True:
        with OperatorClient(endpoint) as operator:
            operator.connect(DEADLINE)
            status = operator.status(DEADLINE)
        if so(status):
            return status
        assert time.monotonic() < deadline, status
        time.sleep(0.02)


def command(capsys, *words):
    """Run `acclimate` and return what it prints."""
    assert acclimate.main(list(words)) == 0
    return capsys.readouterr().out


def test_a_model_is_swapped_and_taken_back_while_a_robot_runs(bundles, endpoint, capsys):
    at = ("--endpoint", endpoint)
    with bridge(bundles, endpoint), client(bundles, endpoint) as robot:
        first, second = (read_manifest(bundles / name)[1] for name in ("one", "two"))
        robot.exchange(GOOD, first=True)
        said = command(capsys, "model", "load", str(bundles / "two"), *at)
        assert f"loaded and verified: {second}" in said
        assert robot.exchange(GOOD).mode is Mode.TRACK
        assert "acts at once" in command(capsys, "model", "swap", "--now", *at)
        assert robot.exchange(GOOD).mode is Mode.TRACK
        page = command(capsys, "model", "status", *at)
        assert f"serves  tiny  {second[:12]}" in page
        assert f"before  tiny  {first[:12]}" in page
        assert "robot arm  TRACK, step 3" in page
        assert "model_swapped" in page
        assert first[:12] in command(capsys, "model", "rollback", *at)
        assert robot.exchange(GOOD).mode is Mode.TRACK
        assert '"kept"' in command(capsys, "model", "status", "--json", *at)


def test_a_belief_is_kept_and_restored_by_command(bundles, endpoint, capsys):
    at = ("--endpoint", endpoint)
    with bridge(bundles, endpoint), client(bundles, endpoint) as robot:
        robot.exchange(GOOD, first=True)
        robot.exchange(GOOD)
        assert "belief 1: 1 transitions" in command(capsys, "belief", "keep", *at)
        robot.exchange(GOOD)
        command(capsys, "belief", "forget", "--robot", "arm", *at)
        listed = command(capsys, "belief", "list", *at)
        assert "of 0 transitions" in listed
        assert "before forget" in listed
        assert "belief 1 again" in command(capsys, "belief", "restore", "1", *at)
        assert acclimate.main(["belief", "restore", "77", *at]) == 2
        assert "belief 77 is not kept" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_beliefs_survive_the_end_of_the_bridge(bundles, endpoint, tmp_path, number):
    state = tmp_path / "state"
    settings = f"state={state}"
    with bridge(bundles, endpoint, settings) as process:
        with client(bundles, endpoint) as robot:
            episode(robot)
            fares(endpoint, lambda status: status.robots[0].kept)
            # On the disk a moment later; a kill before that costs this episode.
            deadline = time.monotonic() + DEADLINE
            while not list(state.glob("*.belief")):
                assert time.monotonic() < deadline
                time.sleep(0.02)
        process.send_signal(number)
        process.wait(DEADLINE)
    with bridge(bundles, endpoint, settings), client(bundles, endpoint):
        status = fares(endpoint, lambda status: status.robots)
        assert status.robots[0].count == 5
        assert "belief_restored" in [event.name for event in status.events]


def test_a_state_folder_has_one_bridge(bundles, endpoint, tmp_path):
    state = f"state={tmp_path / 'state'}"
    with bridge(bundles, endpoint, state):
        other = subprocess.run(
            [
                sys.executable,
                str(ROOT / "acclimate.py"),
                "bridge",
                f"bundle={bundles / 'one'}",
                f"endpoint=ipc://{tmp_path}/other",
                state,
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=DEADLINE * 2,
        )
        assert other.returncode == 2
        assert "in use by another bridge" in other.stderr
        assert "Traceback" not in other.stderr


def chatter(endpoint, times):
    """Make the bridge write lines: each visit is at least one, of 50 characters or more."""
    for number in range(times):
        with OperatorClient(endpoint, f"visitor-{number}-{'x' * 50}") as operator:
            operator.connect(DEADLINE)


def test_a_log_without_a_reader_delays_no_robot(bundles, endpoint):
    read, write = os.pipe()
    fcntl.fcntl(write, F_SETPIPE_SZ, 4096)
    try:
        with bridge(bundles, endpoint, stderr=write) as process:
            chatter(endpoint, 60)
            with client(bundles, endpoint) as robot:
                episode(robot)
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE) == 0
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.parametrize("when", ["at the start", "later"])
def test_a_closed_journal_ends_nothing(bundles, endpoint, when):
    read, write = os.pipe()
    options: dict[str, Any] = (
        {"stderr": write} if when == "later" else {"preexec_fn": lambda: os.close(2)}
    )
    with bridge(bundles, endpoint, **options) as process:
        os.close(read)
        os.close(write)
        chatter(endpoint, 3)
        with client(bundles, endpoint) as robot:
            episode(robot)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0


def test_a_peer_that_sends_too_much_waits_its_turn(tmp_path, monkeypatch):
    router = ServerSocket(f"ipc://{tmp_path}/b")
    # Who it is, the kernel says of a connection, and here is none.
    monkeypatch.setattr(
        router, "_learn", lambda address, frame: PeerConnection("", None, 20.0, 0.0)
    )
    # Within one process and without a thread in between: what is sent has arrived.
    router._socket.bind("inproc://turns")
    peers = [router._context.socket(zmq.DEALER) for _ in range(3)]
    try:
        for peer, count in zip(peers, (90, 90, 5), strict=True):
            peer.set(zmq.LINGER, 0)
            peer.set(zmq.SNDHWM, 1000)
            peer.connect("inproc://turns")
            for _ in range(count):
                peer.send(b"%d" % count, zmq.NOBLOCK)
        order = [data for _ in range(4) for _, data in router.receive(0)]
        last = max(place for place, data in enumerate(order) if data == b"5")
        # The last of its five frames has waited for no more than five of each other.
        assert last < 3 * 5 + 3
    finally:
        for peer in peers:
            peer.close()
        router.close()


def test_an_operator_hears_why_not(bundles, endpoint):
    with bridge(bundles, endpoint), OperatorClient(endpoint) as operator:
        operator.connect(DEADLINE)
        with pytest.raises(BridgeError, match="no model is loaded"):
            operator.swap_model()
        with pytest.raises(BridgeError, match="no such bundle"):
            operator.load_model("/nowhere")
        assert operator.status().robots == ()

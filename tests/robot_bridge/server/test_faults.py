"""The fault matrix, first part: processes, cables and keys. Each fault meets a robot in motion.

Every test says by `matrix` how many control periods the robot took to its safe state, and what
names the fault afterwards; benchmarks/bench_faults.py makes a table of it.
"""

import shutil
import signal
import time
from contextlib import closing

import pytest

from robot_bridge.errors import BridgeError, BridgeLost, HandshakeError
from robot_bridge.protocol.messages import Mode, Outcome
from tests.support.bridge import bridge_keys
from tests.support.bridge.bridge_process import PATIENCE
from tests.support.bridge.faults import (
    HOLDS,
    STOPS,
    Moving,
    belief,
    driver,
    entries,
    lossless,
    moving,
    robot,
    served,
    told,
)
from tests.support.bridge.faulty_wires import Cable


@pytest.fixture(scope="module")
def bundle(tiny_folder):
    return tiny_folder


def test_the_bridge_is_killed(bundle, tmp_path, matrix):
    settings = f"state={tmp_path / 'state'}"
    with served(tmp_path, bundle, settings) as bridge:
        with moving(bundle, bridge.endpoint, "arm") as arm:
            arm.client.exchange(arm.measure(), last=True)
            arm.client.end_episode(Outcome(True, 6, 0.3, "done"))
            deadline = time.monotonic() + PATIENCE
            while not list((tmp_path / "state").glob("*arm*")):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            known = belief(bridge.endpoint, "arm")
            arm._first = True
            arm.steady()
            last = arm.client._sequence
            # Chunks go to the disk every 0.4 s; what was on its way is what a kill may cost.
            lossless(tmp_path, bundle, "arm", last)
            bridge.process.kill()
            periods = arm.goes_silent()
            matrix("SIGKILL of the bridge", "HOLD", periods, HOLDS, arm.client.state.reason)
            assert "no answer for" in arm.client.state.reason
    lossless(tmp_path, bundle, "arm", last)
    # The one that comes after it knows what was learnt, and is no release.
    with served(tmp_path, bundle, settings) as bridge:
        with closing(robot(bundle, bridge.endpoint, "arm")) as client:
            client.connect(PATIENCE)
            assert told(tmp_path, "belief_restored", "arm")
            assert belief(bridge.endpoint, "arm") == known


def test_the_bridge_is_stopped_and_goes_on(bundle, tmp_path, matrix):
    with served(tmp_path, bundle) as bridge, moving(bundle, bridge.endpoint, "arm") as arm:
        bridge.process.send_signal(signal.SIGSTOP)
        periods = arm.goes_silent()
        bridge.process.send_signal(signal.SIGCONT)
        # Its late answers are no leave to move.
        assert [arm.step() for _ in range(3)] == [Mode.STOP] * 3
        event = told(tmp_path, "robot_stopped", "arm")
        assert "no answer for" in event.text
        matrix("SIGSTOP of the bridge", "HOLD", periods, HOLDS, event.name)
        arm.release()
        arm.steady()
        lossless(tmp_path, bundle, "arm", arm.client._sequence)


def test_the_driver_is_killed(bundle, house, matrix):
    with driver(bundle, f"ipc://{house}/b", "killed") as made:
        made.process.kill()
        made.process.wait()
        # No driver follows commands any more: the robot's own controller moves it.
        event = told(house, "robot_lost", "killed")
    matrix("SIGKILL of the driver", "gone", 0, 0, event.name)
    lossless(house, bundle, "killed")
    # It is unknown whether it had stopped: the next one begins stopped, until a release.
    with closing(robot(bundle, f"ipc://{house}/b", "killed")) as client:
        client.connect(PATIENCE)
        arm = Moving(client, f"ipc://{house}/b", (-1.0, 1.0))
        assert [arm.step() for _ in range(3)] == [Mode.STOP] * 3
        arm.release()
        arm.steady()


def test_the_driver_is_stopped_and_goes_on(bundle, house, matrix):
    with driver(bundle, f"ipc://{house}/b", "paused") as made:
        made.process.send_signal(signal.SIGSTOP)
        # The bridge notices either by the connection's own signs of life or by the robot's.
        event = told(house, "robot_lost", "paused")
        made.drain()
        made.process.send_signal(signal.SIGCONT)
        lines = [made.next()]
        while lines[-1]["mode"] != "STOP":
            lines.append(made.next())
    # At most what it had said before the signal; then it finds that it was given up.
    followed = [line for line in lines if line["mode"] == "TRACK"]
    matrix("SIGSTOP of the driver", "STOP", len(lines), STOPS + 1, event.name)
    assert len(followed) <= 2
    lossless(house, bundle, "paused")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return bridge_keys.make(tmp_path_factory.mktemp("keys") / "keys")


@pytest.fixture(scope="module")
def far(bundle, keys, tmp_path_factory):
    """A folder and a bridge over tcp that records there."""
    folder = tmp_path_factory.mktemp("far")
    endpoint = f"tcp://127.0.0.1:{bridge_keys.free_port()}"
    with served(folder, bundle, f"keys={keys}", endpoint=endpoint) as bridge:
        yield folder, bridge


def test_the_cable_is_pulled(bundle, keys, far, matrix):
    folder, bridge = far
    cable = Cable(bridge.endpoint)
    with closing(cable), moving(bundle, cable.endpoint, "arm", keys=keys) as arm:
        cable.pulled = True
        periods = arm.goes_silent()
        matrix("cable pulled", "HOLD", periods, HOLDS, told(folder, "robot_lost", "arm").name)
        cable.pulled = False
        # The bridge has given the connection up; the robot hears so, and stays stopped.
        deadline = time.monotonic() + PATIENCE
        with pytest.raises(BridgeError):
            while time.monotonic() < deadline:
                assert arm.step() is Mode.STOP
                arm.client.wait_reset(0.0)
    lossless(folder, bundle, "arm")


def test_a_key_that_is_not_known(bundle, keys, far, matrix, tmp_path):
    folder, bridge = far
    stranger = bridge_keys.make(tmp_path / "keys")
    certificate = tmp_path / "stranger.key"
    # It knows the bridge, and the bridge does not know it.
    lines = (stranger / "certificates/arm.key").read_text().splitlines()
    mine = (keys / "certificates/arm.key").read_text().splitlines()
    server = next(line for line in mine if line.startswith("server"))
    text = [server if line.startswith("server") else line for line in lines]
    certificate.write_text("\n".join(text) + "\n")
    certificate.chmod(0o600)
    with closing(robot(bundle, bridge.endpoint, "arm", keys=certificate)) as client:
        with pytest.raises(HandshakeError, match="unknown there or revoked"):
            client.connect(PATIENCE)
        assert client.state.mode is Mode.HOLD
    matrix("wrong key of the robot", "never moves", 0, 0, told(folder, "peer_refused").name)
    shutil.copy(stranger / "certificates/arm.key", certificate)
    with closing(robot(bundle, bridge.endpoint, "arm", keys=certificate)) as client:
        with pytest.raises(BridgeLost, match="does not answer"):
            client.connect(2.0)
        assert client.state.mode is Mode.HOLD


def test_two_drivers_claim_one_robot(bundle, house, matrix):
    endpoint = f"ipc://{house}/b"
    with moving(bundle, endpoint, "claimed") as made:
        with closing(robot(bundle, endpoint, "claimed")) as second:
            with pytest.raises(HandshakeError, match="'claimed' is connected already"):
                second.connect(PATIENCE)
        event = told(house, "peer_refused", "claimed")
        modes = [made.step() for _ in range(5)]
        assert Mode.STOP not in modes
        matrix("two drivers for one robot", "second refused", 0, 0, event.name)
        lossless(house, bundle, "claimed", made.client._sequence)


def test_nothing_is_left_behind(house):
    """Of all that went on in this house, the bridge itself never failed."""
    assert (house / "b").exists()
    for entry in entries(house):
        assert getattr(entry.row, "name", "") not in ("bridge_fault", "answer_failed")

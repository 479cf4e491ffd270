"""`acclimate stop` and `acclimate release`, with a bridge as a process of its own."""

import threading

import numpy as np
import pytest

import acclimate
from robot_bridge.protocol.messages import Mode
from tests.support.bridge.local_bridge import bridge, client

GOOD = np.zeros(6, np.float32)


@pytest.fixture(scope="module")
def bundle(tiny_folder):
    return tiny_folder


@pytest.fixture(scope="module")
def endpoint(bundle, tmp_path_factory):
    address = f"ipc://{tmp_path_factory.mktemp('bridge')}/b"
    with bridge(bundle, address):
        yield address


def while_it_runs(words, robot):
    """The command's exit code, while the robot goes on listening."""
    codes = []
    thread = threading.Thread(target=lambda: codes.append(acclimate.main(words)))
    thread.start()
    while thread.is_alive():
        robot.wait_reset(0.05)
    thread.join()
    return codes[0]


def test_by_hand(bundle, endpoint, capsys):
    at = [f"endpoint={endpoint}"]
    with client(bundle, endpoint) as robot:
        assert robot.exchange(GOOD, first=True).mode is Mode.TRACK
        assert while_it_runs(["stop", *at, "reason=smoke"], robot) == 0
        assert "every robot: operator 'stop': smoke" in capsys.readouterr().out
        while not robot.stopped:
            robot.wait_reset(0.05)
        assert "smoke" in robot.state.reason
        assert robot.exchange(GOOD).mode is Mode.STOP
        assert while_it_runs(["release", "arm", *at], robot) == 0
        assert "released; it was stopped: operator 'stop': smoke" in capsys.readouterr().out
        assert robot.exchange(GOOD, first=True).mode is Mode.TRACK
        assert while_it_runs(["release", "arm", *at], robot) == 0
        assert "it was not stopped" in capsys.readouterr().out
        assert robot.exchange(GOOD).mode is Mode.TRACK


def test_a_robot_that_is_not_there_is_named(endpoint, capsys):
    assert acclimate.main(["release", "nobody", f"endpoint={endpoint}"]) == 2
    assert "no robot named 'nobody'" in capsys.readouterr().err


def test_a_stop_of_a_robot_that_is_not_there_is_an_error(bundle, endpoint, capsys):
    with client(bundle, endpoint) as robot:
        for words in (["stop", "amr"], ["stop", "robot=amr"], ["stop", "--robot", "amr"]):
            assert while_it_runs([*words, f"endpoint={endpoint}"], robot) == 2
            said = capsys.readouterr().err
            assert "no robot named 'amr' is connected" in said and "connected: arm" in said

"""A bridge over tcp as a process of its own: what a key allows, and what strangers cost."""

import signal
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest

from robot_bridge.client.operator_client import OperatorClient
from robot_bridge.errors import BridgeError, HandshakeError
from robot_bridge.protocol import codec
from robot_bridge.protocol.messages import Mode
from robot_bridge.trial import runner as trial
from tests.support.bridge import bridge_keys
from tests.support.bridge.bridge_process import PATIENCE, ROOT, Bridge, bridge, robot
from tests.support.client import toy_robot

GOOD = np.zeros(6, np.float32)


@pytest.fixture(scope="module")
def bundle(tiny_folder):
    return tiny_folder


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return bridge_keys.make(tmp_path_factory.mktemp("keys") / "keys", robots=("arm", "leg"))


@pytest.fixture(scope="module")
def served(bundle, keys):
    with bridge(bundle, keys) as made:
        yield made


def test_a_robot_and_its_operator_work_over_tcp(bundle, served, keys):
    with (
        robot(bundle, served.endpoint, keys) as arm,
        OperatorClient(served.endpoint, keys=keys) as operator,
    ):
        operator.connect(PATIENCE)
        assert operator.wait_robot("arm", PATIENCE) == "arm"
        assert arm.exchange(GOOD, first=True).mode is Mode.TRACK


def forged(keys, tmp_path, old, new):
    """A certificate that says something else than the bridge's record of its key."""
    path = tmp_path / "forged.key"
    path.write_text((keys / "certificates/arm.key").read_text().replace(old, new))
    path.chmod(0o600)
    return path


def test_a_robots_key_cannot_come_as_another_robot(bundle, served, keys, tmp_path):
    certificate = forged(keys, tmp_path, 'name = "arm"', 'name = "leg"')
    with pytest.raises(HandshakeError, match=r"the key was made for robot 'arm' \(key \w{32}\)"):
        robot(bundle, served.endpoint, certificate, name="leg").connect(PATIENCE)
    assert "it came as robot 'leg'" in served.wait_line("peer_refused")


def test_a_robots_key_cannot_come_as_an_operator(served, keys, tmp_path):
    certificate = forged(keys, tmp_path, 'role = "robot"', 'role = "operator"')
    with pytest.raises(HandshakeError, match="it came as operator 'boss'"):
        OperatorClient(served.endpoint, "boss", certificate).connect(PATIENCE)


def test_unknown_peers_delay_no_robot(bundle, served, keys):
    port = int(served.endpoint.rpartition(":")[2])
    over = threading.Event()

    def pester(seed):
        rng = np.random.default_rng(seed)
        while not over.is_set():
            with socket.create_connection(("127.0.0.1", port)) as stranger:
                try:
                    stranger.sendall(rng.bytes(int(rng.integers(1, 2000))))
                    stranger.settimeout(0.05)
                    stranger.recv(64)
                except OSError:
                    continue

    strangers = [threading.Thread(target=pester, args=(seed,)) for seed in range(8)]
    with robot(bundle, served.endpoint, keys) as arm:
        for stranger in strangers:
            stranger.start()
        try:
            assert arm.exchange(GOOD, first=True).mode is Mode.TRACK
            for _ in range(200):
                assert arm.exchange(GOOD).mode is Mode.TRACK
            with robot(bundle, served.endpoint, keys, name="leg") as leg:
                assert leg.exchange(GOOD, first=True).mode is Mode.TRACK
        finally:
            over.set()
            for stranger in strangers:
                stranger.join()
    served.wait_line("peer_refused")
    assert served.process.poll() is None


def test_a_peer_that_sends_garbage_is_expelled_and_the_others_stay(bundle, served, keys, link):
    with robot(bundle, served.endpoint, keys, name="leg") as leg:
        pest = link(served.endpoint, "robot", "arm", keys)
        assert leg.exchange(GOOD, first=True).mode is Mode.TRACK
        for _ in range(100):
            pest.tell(b"garbage")
        with pytest.raises(HandshakeError, match="refused: frame of 7 bytes"):
            pest.receive(PATIENCE)
        # Each is answered, and the last answer says why there will be no more.
        refusals = [codec.decode(pest._socket.recv()).payload for _ in range(20)]
        assert any(b"20 frames in a row could not be read" in payload for payload in refusals)
        assert leg.exchange(GOOD).mode is Mode.TRACK
    served.wait_line("peer_expelled")


def test_a_trial_runs_over_tcp(tmp_path):
    point = toy_robot.write_point_bundle(tmp_path / "point")
    keys = bridge_keys.make(tmp_path / "keys", robots=("point",))
    with bridge(point, keys) as served:
        toy = subprocess.Popen(
            [sys.executable, ROOT / "tests/support/client/toy_robot.py", served.endpoint, point],
            cwd=ROOT,
            env={
                "PYTHONPATH": str(ROOT),
                "PATH": "",
                "ACCLIMATE_KEYS": str(keys),
            },
            stdout=subprocess.DEVNULL,
        )
        try:
            settings = trial.TrialSettings(
                endpoint=served.endpoint,
                out=tmp_path / "trial",
                tasks=1,
                episodes=2,
                wait=PATIENCE,
                keys=keys / "certificates/operator.key",
            )
            assert [row.tasks for row in trial.run(settings)] == [1, 1]
        finally:
            toy.send_signal(signal.SIGINT)
            toy.wait(PATIENCE)


def test_without_keys_there_is_no_tcp(bundle, tmp_path):
    made = Bridge(bundle, "tcp://127.0.0.1:5", f"keys={tmp_path}/none")
    assert made.exit_code() == 2
    made.end()
    assert "no such folder; `acclimate keys server` makes it" in made.wait_line("none")
    with pytest.raises(BridgeError, match="no such folder"):
        OperatorClient("tcp://127.0.0.1:5", keys=tmp_path / "none")

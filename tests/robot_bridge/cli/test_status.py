"""`acclimate status` against a bridge that runs, and none."""

import json
import time
from pathlib import Path

import pytest

from acclimate import main
from robot_bridge.cli.status import main as status
from robot_bridge.client.operator_client import OperatorClient
from robot_bridge.errors import BridgeLost
from tests.support.bridge.local_bridge import GOOD, bridge, client


@pytest.fixture(scope="module")
def bundle(tiny_folder):
    return tiny_folder


@pytest.fixture(scope="module")
def endpoint(bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bridge")
    folder.chmod(0o700)
    address = f"ipc://{folder}/b"
    with bridge(bundle, address):
        yield address


def until(text, endpoint, capsys):
    """The page once it holds text; metrics and heartbeats take a moment."""
    deadline = time.monotonic() + 30
    while True:
        assert status([f"endpoint={endpoint}"]) == 0
        page = capsys.readouterr().out
        if text in page:
            return page
        assert time.monotonic() < deadline, page
        time.sleep(0.1)


def test_robots_beliefs_latencies_and_clocks_are_told(bundle, endpoint, capsys):
    with client(bundle, endpoint) as robot:
        robot.exchange(GOOD, first=True)
        for _ in range(3):
            robot.exchange(GOOD)
        # Clocks travel with heartbeats, which a driver sends as it goes on.
        deadline = time.monotonic() + 30
        while robot.clock_offset is None or "clock " not in until("robot arm", endpoint, capsys):
            robot.exchange(GOOD)
            assert time.monotonic() < deadline
        page = until("answer ", endpoint, capsys)
    assert "serves  tiny" in page
    assert "robot arm  TRACK, step " in page
    assert "latency [ms]" in page
    offset = page.partition("the bridge's is ")[2].partition(" s from")[0]
    # Both are on this machine's clock.
    assert abs(float(offset)) < 0.1


def test_json(endpoint, capsys):
    assert main(["status", f"endpoint={endpoint}", "json=true"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["served"]["name"] == "tiny"
    assert "status" in found["operators"]


def test_every_asks_again(endpoint, capsys, monkeypatch):
    asked = []
    real = OperatorClient.status

    def counted(self):
        asked.append(self)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return real(self)

    monkeypatch.setattr(OperatorClient, "status", counted)
    assert main(["status", f"endpoint={endpoint}", "every=0.01"]) == 130
    assert capsys.readouterr().out.count("bridge  up") == 2


def test_without_a_bridge_it_says_so(tmp_path: Path, monkeypatch):
    tmp_path.chmod(0o700)
    real = OperatorClient.connect
    monkeypatch.setattr(OperatorClient, "connect", lambda self, _: real(self, 0.1))
    with pytest.raises(BridgeLost, match=r"no bridge answers within 0\.1 s"):
        status([f"endpoint=ipc://{tmp_path}/b"])


def test_settings_are_checked(capsys):
    assert main(["status", "endpoint=local", "every=-1"]) == 2
    assert "every" in capsys.readouterr().err

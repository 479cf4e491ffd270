"""The bridge's process: addresses in use, signals, and bridges that are killed or closed."""

import os
import signal
import socket
import time

import msgspec
import pytest

from adapt.bundle.fields import Limit
from adapt.bundle.policy_bundle import PolicyBundle, write_bundle
from robot_bridge.client.operator_client import OperatorClient
from robot_bridge.errors import (
    BridgeError,
    BridgeLost,
    EndpointError,
    LimitError,
)
from robot_bridge.protocol.messages import Mode
from robot_bridge.server.server import BridgeSettings, Daemon
from robot_bridge.transport.endpoint import resolve
from tests.support import tiny_bundle
from tests.support.bridge import bridge_keys
from tests.support.bridge.local_bridge import (
    GOOD,
    bridge,
    client,
    finish,
    finish_by_itself,
    first_line,
    start,
)


@pytest.fixture(scope="module")
def bundle(tiny_folder):
    return tiny_folder


@pytest.fixture(scope="module")
def endpoint(bundle, tmp_path_factory):
    address = f"ipc://{tmp_path_factory.mktemp('bridge')}/b"
    with bridge(bundle, address):
        yield address


def test_an_address_in_use_stays_with_its_owner(bundle, endpoint):
    code, said = finish_by_itself(start(bundle, endpoint))
    assert code == 2
    assert "in use by another process" in said
    assert "Traceback" not in said
    with client(bundle, endpoint) as robot:
        assert robot.exchange(GOOD, first=True).mode is Mode.TRACK


def test_a_tcp_port_in_use_and_a_bundle_that_is_not_there(bundle, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        keys = bridge_keys.make(tmp_path / "keys")
        first = start(bundle, f"tcp://127.0.0.1:{port}", f"keys={keys}")
        second = start(tmp_path / "nothing", f"ipc://{tmp_path}/b")
        for process, words in ((first, "in use by another process"), (second, "nothing")):
            code, said = finish_by_itself(process)
            assert code == 2
            assert words in said
            assert "Traceback" not in said
    assert not (tmp_path / "b").exists()


def test_limits_that_nothing_can_keep_are_refused_before_a_robot_comes(tmp_path):
    manifest, graphs, golden = tiny_bundle.build()
    limit = Limit("rate", "translation", 0.1, 1.0, "m/s", "never still")
    write_bundle(
        tmp_path / "odd", msgspec.structs.replace(manifest, limits=[limit]), graphs, golden
    )
    settings = BridgeSettings(tmp_path / "odd", f"ipc://{tmp_path}/b")
    with pytest.raises(LimitError, match="either side of 0"):
        Daemon(PolicyBundle.load(settings.bundle), settings).close("no limits")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("delay", [0.05, 0.25, 0.5, None])
def test_signals_at_any_time_leave_nothing_behind(bundle, tmp_path, delay):
    # None: once it serves. Before that the interpreter itself may still be starting.
    paths = [tmp_path / "int", tmp_path / "term"]
    processes = [start(bundle, f"ipc://{path}") for path in paths]
    if delay is None:
        for process in processes:
            first_line(process)
    else:
        time.sleep(delay)
    codes = [
        finish(process, number)[0]
        for process, number in zip(processes, (signal.SIGINT, signal.SIGTERM), strict=True)
    ]
    assert list(tmp_path.iterdir()) == []
    if delay is None:
        assert codes == [130, 0]
    else:
        # Python itself exits with 1 when Ctrl-C meets its own start.
        assert codes[0] in (130, 1, -signal.SIGINT)
        assert codes[1] in (0, -signal.SIGTERM)


def test_what_a_killed_bridge_left_is_no_obstacle(bundle, tmp_path):
    endpoint = f"ipc://{tmp_path}/b"
    with bridge(bundle, endpoint) as process:
        assert (tmp_path / "b").stat().st_mode & 0o777 == 0o600
        process.kill()
        process.wait()
    assert (tmp_path / "b").exists()
    with bridge(bundle, endpoint), client(bundle, endpoint) as robot:
        assert robot.exchange(GOOD, first=True).mode is Mode.TRACK


def test_when_the_bridge_is_killed_the_client_holds_damps_and_stops(bundle, tmp_path):
    endpoint = f"ipc://{tmp_path}/b"
    with (
        bridge(bundle, endpoint) as process,
        client(bundle, endpoint, simulated_time=False) as robot,
    ):
        assert robot.exchange(GOOD, first=True).mode in (Mode.TRACK, Mode.HOLD)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        modes = [robot.exchange(GOOD).mode for _ in range(14)]
        assert sorted(modes) == modes
        assert {Mode.HOLD, Mode.DAMP, Mode.STOP} <= set(modes)
        # A new bridge at the same address is no release.
        with bridge(bundle, endpoint):
            assert robot.exchange(GOOD).mode is Mode.STOP
            with pytest.raises(BridgeError):
                while True:
                    robot.wait_reset(0.1)
            assert robot.stopped


def test_a_closing_bridge_stops_its_robots(bundle, tmp_path):
    endpoint = f"ipc://{tmp_path}/b"
    with bridge(bundle, endpoint) as process, client(bundle, endpoint) as robot:
        robot.exchange(GOOD, first=True)
        assert finish(process, signal.SIGINT)[0] == 130
        command = robot.exchange(GOOD)
        assert command.mode is Mode.STOP
        assert "the bridge closed: SIGINT" in robot.state.reason


def test_a_client_without_a_bridge_says_how_to_start_one(tmp_path):
    with pytest.raises(BridgeLost, match=r"no bridge answers within 0\.1 s; start one with"):
        OperatorClient(f"ipc://{tmp_path}/b").connect(0.1)


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("ipc://here", "not absolute"),
        ("ipc:///" + "x" * 200, "at most 107"),
        ("tcp://5555", "expected local, ipc:///ABSOLUTE/PATH or tcp://HOST:PORT"),
        ("tcp://-h:1", "expected local"),
        ("tcp://a b:1", "expected local"),
        ("tcp://host:1/", "expected local"),
        ("tcp://127.0.0.1:70000", "port 70000"),
        ("udp://127.0.0.1:1", "expected local"),
    ],
)
def test_endpoints_that_make_no_sense(endpoint, words):
    with pytest.raises(EndpointError, match=words):
        resolve(endpoint)


def test_a_file_at_the_address_is_left_alone(bundle, tmp_path):
    (tmp_path / "b").write_text("precious")
    code, said = finish_by_itself(start(bundle, f"ipc://{tmp_path}/b"))
    assert code == 2
    assert "a file of another kind" in said
    assert (tmp_path / "b").read_text() == "precious"

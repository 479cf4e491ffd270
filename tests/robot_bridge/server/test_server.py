"""The bridge as a process of its own, and peers that behave badly."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zmq

from adapt.bundle.fields import Limit
from adapt.bundle.policy_bundle import PolicyBundle, read_manifest, write_bundle
from robot_bridge.client.operator_client import OperatorClient
from robot_bridge.client.robot_client import RobotClient
from robot_bridge.errors import (
    BridgeError,
    BridgeLost,
    EndpointError,
    HandshakeError,
    LimitError,
    RobotLost,
)
from robot_bridge.protocol.codec import HEADER, decode, decode_message, encode_message
from robot_bridge.protocol.handshake import specs
from robot_bridge.protocol.messages import Begin, FieldSpec, Hello, Mode, Outcome, Refused
from robot_bridge.server.server import BridgeSettings, Daemon
from robot_bridge.transport.endpoint import resolve
from tests.support import tiny_bundle
from tests.support.bridge import bridge_keys
from tests.support.bridge.unpaced import CALM, LOOSE

ROOT = Path(__file__).resolve().parents[3]
PERIOD = 0.05
GOOD = np.zeros(6, np.float32)


def start(bundle, endpoint, *settings):
    """Start a bridge and return the process at once."""
    words = ["bridge", f"bundle={bundle}", f"endpoint={endpoint}", *settings]
    return subprocess.Popen(
        [sys.executable, ROOT / "acclimate.py", *words],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, number=signal.SIGTERM):
    """End a bridge by a signal; its exit code and what it said."""
    if process.poll() is None:
        process.send_signal(number)
    try:
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, said


def first_line(process):
    """Blocks until the process says something: it serves, or why not."""
    return process.stderr.readline()


@contextmanager
def bridge(bundle, endpoint):
    # However late a busy machine makes the answers: no test here is about that.
    process = start(bundle, endpoint, *CALM)
    try:
        line = first_line(process)
        assert "serving" in line, line
        yield process
    finally:
        if process.poll() is None:
            finish(process)
        if process.stderr is not None:
            process.stderr.close()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle.write(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="module")
def endpoint(bundle, tmp_path_factory):
    address = f"ipc://{tmp_path_factory.mktemp('bridge')}/b"
    with bridge(bundle, address):
        yield address


def client(bundle, endpoint, name="arm", **changes):
    manifest, digest = read_manifest(bundle)
    settings = {
        "observation": manifest.observation,
        "action": manifest.action,
        "control_period": PERIOD,
        "digest": digest,
        "simulated_time": True,
        "spacing": LOOSE,
    }
    return RobotClient(endpoint, name, **(settings | changes))


def renamed(fields, **changes):
    first, *rest = specs(fields)
    new = {"name": first.name, "shape": first.shape, "unit": first.unit} | changes
    return [FieldSpec(**new), *rest]


def test_an_agreeing_robot_learns_what_is_served(bundle, endpoint):
    with client(bundle, endpoint, digest="") as robot:
        manifest, digest = read_manifest(bundle)
        assert robot.welcome is not None
        assert robot.welcome.digest == digest
        assert robot.welcome.observation == tuple(manifest.observation)
        assert robot.welcome.limits == tuple(manifest.limits)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (lambda m: {"digest": "0" * 64}, r"bundle digest: expected \w{64}, found 0{64}"),
        (
            lambda m: {"observation": renamed(m.observation, name="nose")},
            "observation fields: expected tip_position, wrench; found nose, wrench",
        ),
        (
            lambda m: {"observation": list(reversed(m.observation))},
            "found wrench, tip_position",
        ),
        (
            lambda m: {"action": renamed(m.action, shape=(5,))},
            r"action field 'translation': shape: expected \(2,\), found \(5,\)",
        ),
        (
            lambda m: {"action": renamed(m.action, unit="mm")},
            "action field 'translation': unit: expected m, found mm",
        ),
        (lambda m: {"control_period": 0.02}, "control period: expected 0.05 s, found 0.02 s"),
    ],
)
def test_each_disagreement_is_refused_by_name(bundle, endpoint, changes, message):
    manifest, _ = read_manifest(bundle)
    with (
        pytest.raises(HandshakeError, match=message),
        client(bundle, endpoint, **changes(manifest)),
    ):
        pytest.fail("the bridge welcomed it")


def test_all_disagreements_are_named_together(bundle, endpoint):
    with (
        pytest.raises(HandshakeError) as caught,
        client(bundle, endpoint, digest="0" * 64, control_period=0.02),
    ):
        pytest.fail("the bridge welcomed it")
    assert "digest" in str(caught.value)
    assert "period" in str(caught.value)


@contextmanager
def raw(endpoint):
    """A socket without a client around it."""
    context = zmq.Context()
    peer = context.socket(zmq.DEALER)
    peer.set(zmq.LINGER, 0)
    peer.set(zmq.RCVTIMEO, 3000)
    peer.connect(endpoint)
    try:
        yield peer
    finally:
        peer.close()
        context.term()


def refusal(data):
    return decode_message(decode(data), Refused).reasons[0]


def test_another_protocol_version_is_refused(endpoint):
    data = encode_message(Hello("operator", "o"), version=99)
    with raw(endpoint) as peer:
        peer.send(data)
        assert refusal(peer.recv()) == "protocol version 99; this bridge speaks 1"


def test_noise_harms_nobody(bundle, endpoint):
    rng = np.random.default_rng(0)
    whole = encode_message(Hello("operator", "o"))
    with raw(endpoint) as peer:
        for size in (0, 1, HEADER.size, 500):
            peer.send(rng.bytes(size))
        peer.send(whole[:-1])
        peer.send(encode_message(Outcome(True, 1, 1.0, "")))
        # Each of them is answered, so that the author of a client learns what is wrong.
        reasons = [refusal(peer.recv()) for _ in range(6)]
        assert "frame of 0 bytes; a header alone has 40" in reasons[0]
        assert "HELLO: payload length" in reasons[4]
        assert "does not know this session" in reasons[5]
    with raw(endpoint) as peer:
        peer.send_multipart([b"", b"\xff", whole])
        assert "several parts" in refusal(peer.recv())
    with raw(endpoint) as peer:
        peer.send(bytes(1_000_000))
    with client(bundle, endpoint) as robot:
        assert robot.exchange(GOOD, first=True).mode is Mode.TRACK


def test_a_second_robot_of_the_same_name_waits_for_the_first_to_leave(bundle, endpoint):
    with client(bundle, endpoint) as first:
        with pytest.raises(HandshakeError, match="a robot named 'arm' is connected already"):
            client(bundle, endpoint).connect()
        with client(bundle, endpoint, name="other"):
            assert first.exchange(GOOD, first=True).mode is Mode.TRACK
    with client(bundle, endpoint) as second:
        assert second.exchange(GOOD, first=True).mode is Mode.TRACK


@pytest.mark.parametrize(
    ("observation", "reward", "text"),
    [
        (
            np.array([0, np.nan, 0, 0, 0, 0]),
            0.0,
            r"not finite: tip_position\[1\] is nan m; expected -10 to 10",
        ),
        (np.array([0, 0, 0, 0, np.inf, 0]), 0.0, r"wrench\[1\] is inf N"),
        (np.array([0, 0, 0, 0, 0, 11.0]), 0.0, r"wrench\[2\] is 11 N; expected -10 to 10"),
        (np.zeros(7), 0.0, "too many numbers: 7; the bundle's fields have 6"),
        (np.zeros(0), 0.0, "too few numbers: 0"),
        (np.zeros(6), np.nan, "not finite: the reward is nan"),
    ],
)
def test_a_senseless_observation_is_held_and_named_and_forgotten(
    bundle, endpoint, observation, reward, text
):
    with client(bundle, endpoint) as robot:
        assert robot.exchange(GOOD, first=True).mode is Mode.TRACK
        assert robot.exchange(observation, reward).mode is Mode.HOLD
        command = robot.exchange(GOOD)
        assert command.mode is Mode.TRACK
        # The event was sent after the answer to the bad observation.
        assert [event.name for event in robot.events] == ["observation_invalid"]
        assert re.search(text, robot.events[0].text)


def test_a_fault_stops_the_robot_until_an_operator_releases_it(bundle, endpoint):
    with client(bundle, endpoint) as robot, OperatorClient(endpoint) as operator:
        operator.connect()
        robot.exchange(GOOD, first=True)
        assert robot.exchange(GOOD, faults=1).mode is Mode.STOP
        assert robot.exchange(GOOD).mode is Mode.STOP
        robot.end_episode(Outcome(False, 2, 0.1, "stopped"))
        # Begin is no release: a reset moves the robot too.
        with pytest.raises(RobotLost, match="robot_stopped"):
            while True:
                begin = Begin("arm", 0, 0, 0, True)
                operator._link.send(begin)
                assert robot.wait_reset(0.3) is None
                operator.run(begin, 0.3)
        operator.release("arm")
        while robot.stopped:
            assert robot.wait_reset(0.1) is None
        assert robot.state.mode is Mode.HOLD
        assert robot.exchange(GOOD, first=True).mode is Mode.TRACK


def test_an_operator_can_stop_a_robot(bundle, endpoint):
    with client(bundle, endpoint) as robot, OperatorClient(endpoint) as operator:
        operator.connect()
        robot.exchange(GOOD, first=True)
        operator.stop("enough")
        deadline = time.monotonic() + 3
        while robot.exchange(GOOD).mode is not Mode.STOP:
            assert time.monotonic() < deadline
        assert "enough" in robot.state.reason
        # A stop stands for whoever bears that name, until it is released.
        with pytest.raises(BridgeError, match=r"robot_stopped|begin_refused"):
            operator.run(Begin("arm", 0, 0, 0, True), 30.0)
        operator.release("arm")
        while robot.stopped:
            robot.wait_reset(0.1)


def test_asking_for_a_robot_that_is_not_there(endpoint):
    with OperatorClient(endpoint) as operator:
        operator.connect()
        with pytest.raises(BridgeError, match="no robot named 'leg'; connected: none"):
            operator.run(Begin("leg", 0, 0, 0, True), 3.0)
        with pytest.raises(RobotLost, match=r"no robot connected within 0\.1 s"):
            operator.wait_robot("", 0.1)


def test_an_address_in_use_stays_with_its_owner(bundle, endpoint):
    code, said = finish_by_itself(start(bundle, endpoint))
    assert code == 2
    assert "in use by another process" in said
    assert "Traceback" not in said
    with client(bundle, endpoint) as robot:
        assert robot.exchange(GOOD, first=True).mode is Mode.TRACK


def finish_by_itself(process):
    try:
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, said


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


def test_nobody_there(tmp_path):
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

"""The bridge as a process: handshakes, bad frames and observations, stops and releases."""

import re
import time
from contextlib import contextmanager

import numpy as np
import pytest
import zmq

from adapt.bundle.policy_bundle import read_manifest
from robot_bridge.client.operator_client import OperatorClient
from robot_bridge.errors import (
    BridgeError,
    HandshakeError,
    RobotLost,
)
from robot_bridge.protocol.codec import HEADER, decode, decode_message, encode_message
from robot_bridge.protocol.handshake import specs
from robot_bridge.protocol.messages import Begin, FieldSpec, Hello, Mode, Outcome, Refused
from tests.support.bridge.local_bridge import GOOD, bridge, client


@pytest.fixture(scope="module")
def bundle(tiny_folder):
    return tiny_folder


@pytest.fixture(scope="module")
def endpoint(bundle, tmp_path_factory):
    address = f"ipc://{tmp_path_factory.mktemp('bridge')}/b"
    with bridge(bundle, address):
        yield address


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


def test_noise_harms_no_other_peer(bundle, endpoint):
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
        # A stop holds for every robot of that name, until it is released.
        with pytest.raises(BridgeError, match=r"robot_stopped|begin_refused"):
            operator.run(Begin("arm", 0, 0, 0, True), 30.0)
        operator.release("arm")
        deadline = time.monotonic() + 10
        while robot.stopped:
            assert time.monotonic() < deadline
            robot.wait_reset(0.1)


def test_asking_for_a_robot_that_is_not_there(endpoint):
    with OperatorClient(endpoint) as operator:
        operator.connect()
        with pytest.raises(BridgeError, match="no robot named 'leg'; connected: none"):
            operator.run(Begin("leg", 0, 0, 0, True), 3.0)
        with pytest.raises(RobotLost, match=r"no robot connected within 0\.1 s"):
            operator.wait_robot("", 0.1)

"""The client against a bridge that is not to be trusted."""

import threading
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq

from adapt.bundle.fields import Limit
from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.client.robot_client import RobotClient
from robot_bridge.errors import BridgeError, BridgeLost, CodecError, HandshakeError
from robot_bridge.protocol import codec
from robot_bridge.protocol.handshake import welcome
from robot_bridge.protocol.messages import Command, Event, Flag, Kind, Mode, Outcome, Stop
from tests.support.bridge.unpaced import LOOSE

GOOD = np.zeros(6, np.float32)
SESSION = 5


class Impostor(threading.Thread):
    """Welcomes every peer, then answers each observation with the next of its replies."""

    def __init__(self, bundle, endpoint):
        super().__init__(daemon=True)
        self.replies = []
        self.seen = []
        self._bundle = bundle
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.set(zmq.LINGER, 0)
        self._socket.bind(endpoint)
        self._done = threading.Event()

    def run(self):
        while not self._done.is_set():
            if not self._socket.poll(20):
                continue
            peer, data = self._socket.recv_multipart()
            frame = codec.decode(data)
            if frame.kind is Kind.HELLO:
                reply = codec.encode_message(welcome(self._bundle, SESSION, []))
                self._socket.send_multipart([peer, reply])
            elif frame.kind is Kind.OBSERVATION:
                self.seen.append(codec.decode_observation(frame))
                for reply in self.replies.pop(0)(frame.sequence):
                    self._socket.send_multipart([peer, reply])

    def end(self):
        self._done.set()
        self.join()
        self._socket.close()
        self._context.term()


def track(*numbers, ahead=0, validity_ns=10**12):
    payload = np.array(numbers, np.float32)
    return lambda sequence: [
        codec.encode_command(Command(sequence + ahead, validity_ns, Mode.TRACK, payload), SESSION)
    ]


def silence(sequence):
    return []


@pytest.fixture
def pair(bundle, tmp_path):
    """An impostor, and a client whose silence is counted in 50 ms."""
    endpoint = f"ipc://{tmp_path}/b"
    impostor = Impostor(bundle, endpoint)
    impostor.start()
    manifest = bundle.manifest
    fields = manifest.observation, manifest.action, manifest.control_period
    try:
        with RobotClient(endpoint, "arm", *fields, patience=0.05, spacing=LOOSE) as client:
            # No test here asserts how long anything takes; only silence is told by the clock.
            yield impostor, client
    finally:
        impostor.end()


def test_a_command_beyond_its_margins_is_clamped_and_not_learnt_from(pair):
    impostor, client = pair
    impostor.replies += [track(9, -9, 9), track(0, 0, 0)]
    command = client.exchange(GOOD, first=True)
    if command.mode is Mode.TRACK:
        np.testing.assert_allclose(command.payload, [0.001, -0.001, 0.02])
    client.exchange(GOOD)
    assert impostor.seen[1].flags & Flag.UNAPPLIED


@pytest.mark.parametrize("numbers", [(np.nan, 0, 0), (0, np.inf, 0), (0, 0), (0, 0, 0, 0), ()])
def test_a_command_that_makes_no_sense_moves_nothing(pair, numbers):
    impostor, client = pair
    impostor.replies += [track(*numbers)]
    command = client.exchange(GOOD, first=True)
    assert command.mode >= Mode.HOLD
    assert command.payload.tolist() == [0, 0, 0]


@pytest.mark.parametrize("ahead", [-1, 1, 1000])
def test_an_answer_to_another_observation_is_none(pair, ahead):
    impostor, client = pair
    impostor.replies += [track(0.001, 0, 0, ahead=ahead)]
    assert client.exchange(GOOD, first=True).mode is Mode.HOLD


def test_garbage_is_no_answer(pair):
    impostor, client = pair
    whole = track(0.001, 0, 0)
    impostor.replies += [lambda sequence: [b"", b"x" * 99, whole(sequence)[0][:-1]]]
    assert client.exchange(GOOD, first=True).mode is Mode.HOLD


def test_a_stop_wins_over_every_command_after_it(pair):
    impostor, client = pair
    stop = codec.encode_message(Stop("button"))
    impostor.replies += [
        lambda sequence: [stop, *track(0, 0, 0)(sequence)],
        track(0, 0, 0),
        track(0, 0, 0),
    ]
    client.exchange(GOOD, first=True)
    while not client.stopped:
        impostor.replies.append(track(0, 0, 0))
        client.exchange(GOOD)
    assert client.exchange(GOOD).mode is Mode.STOP
    impostor.replies += [track(0, 0, 0)] * 2
    assert client.exchange(GOOD, first=True).mode is Mode.STOP
    assert "button" in client.state.reason


def test_a_stop_whose_words_cannot_be_read_stops(pair):
    impostor, client = pair
    endless = codec.encode_message(Stop("x" * 5000))
    impostor.replies += [lambda sequence: [endless]] * 2
    client.exchange(GOOD, first=True)
    assert client.exchange(GOOD).mode is Mode.STOP


def test_silence_repeats_a_valid_command_then_holds_damps_and_stops(pair):
    impostor, client = pair
    impostor.replies += [track(0.001, 0, 0)] + [silence] * 40
    client.exchange(GOOD, first=True)
    modes = []
    while not client.stopped:
        modes.append(client.exchange(GOOD).mode)
    assert modes == sorted(modes)
    assert {Mode.HOLD, Mode.DAMP, Mode.STOP} <= set(modes)


def test_numbers_that_are_none_are_refused_before_they_are_sent(pair):
    _, client = pair
    with pytest.raises(BridgeError, match="truth: x is nan"):
        client.ready({"x": float("nan")})


def test_a_reward_beyond_float32_is_for_the_bridge_to_refuse(pair):
    impostor, client = pair
    impostor.replies += [track(0, 0, 0)] * 2
    client.exchange(GOOD, first=True)
    client.exchange(GOOD, reward=1e300)
    assert impostor.seen[1].reward == np.inf


@pytest.mark.parametrize(
    "wrong",
    [
        {"reward": None},
        {"reward": "x"},
        {"faults": -1},
        {"faults": 1.5},
        {"observation": ["a"] * 6},
        {"observation": np.zeros(20_000)},
    ],
    ids=str,
)
def test_what_no_frame_can_carry_is_named_and_stops(pair, wrong):
    impostor, client = pair
    impostor.replies += [track(0, 0, 0)]
    client.exchange(GOOD, first=True)
    with pytest.raises(BridgeError, match=r"exchange: .*expected numbers as observation"):
        arguments: dict[str, Any] = {"observation": GOOD} | wrong
        client.exchange(**arguments)
    assert client.check() is Mode.STOP


@pytest.mark.parametrize("seconds", [0.0, -0.05, np.nan, np.inf])
@pytest.mark.parametrize("what", ["control_period", "patience"])
def test_a_period_that_is_none_is_refused_by_name(what, seconds):
    settings: dict[str, Any] = {"control_period": 0.05} | {what: seconds}
    with pytest.raises(BridgeError, match=f"{what} is .*; expected seconds"):
        RobotClient("ipc:///nowhere", "arm", [], [], **settings)


def test_the_end_of_an_episode_takes_numbers_of_numpy(pair):
    _, client = pair
    numbers: dict[str, Any] = {"success": np.bool_(True), "steps": np.int64(3)}
    numbers |= {"duration": np.float64(0.15), "measures": {"force": np.float32(2.0)}}
    client.end_episode(Outcome(reason="done", **numbers))
    for wrong in ({"steps": None}, {"duration": "x"}, {"measures": {"force": "x"}}):
        outcome = msgspec.structs.replace(Outcome(True, 3, 0.15, "done"), **wrong)
        with pytest.raises(BridgeError, match=r"outcome: .* expected a finite number"):
            client.end_episode(outcome)
    judged = msgspec.structs.replace(outcome, measures={"force": 2.0}, judged_by="return")
    with pytest.raises(BridgeError, match=r"judged_by is 'return'; expected .* \['force'\]"):
        client.end_episode(judged)


def test_a_closed_client_stops_and_says_so(pair):
    impostor, client = pair
    impostor.replies += [track(0, 0, 0)]
    client.exchange(GOOD, first=True)
    client.close()
    assert client.exchange(GOOD).mode is Mode.STOP
    assert "closed" in client.state.reason
    assert client.check() is Mode.STOP
    for call in (client.ready, lambda: client.wait_reset(0.1), lambda: client.stop_all("x")):
        with pytest.raises(BridgeLost, match="closed"):
            call()


def test_unread_events_do_not_pile_up(pair):
    impostor, client = pair
    event = codec.encode_message(Event("adaptation_problem", "arm", "behind"))
    impostor.replies += [lambda sequence: [event] * 300 + track(0, 0, 0)(sequence)] * 2
    client.exchange(GOOD, first=True)
    client.exchange(GOOD)
    assert 0 < len(client.events) <= 100


def test_a_welcome_to_something_else_is_refused_by_the_robot_too(pair, bundle):
    _, client = pair
    manifest = bundle.manifest
    endpoint = client._link.endpoint
    other = RobotClient(endpoint, "leg", manifest.observation, manifest.action, 0.02)
    with pytest.raises(HandshakeError, match="control period: expected"):
        other.connect()


def test_what_the_bridge_would_drop_unread_is_refused_before_it_is_sent(pair):
    _, client = pair
    with pytest.raises(CodecError, match=r"EPISODE_END: .* `\$\.reason`"):
        client.end_episode(Outcome(False, 1, 0.1, "x" * 5000))
    # What a stop says fits an outcome that quotes it.
    client.halt("x" * 5000)
    client.end_episode(Outcome(False, 1, 0.1, f"stopped: {client.state.reason}"))


def test_a_name_that_no_bridge_would_take_is_not_taken_for_a_bridge_that_is_gone(tmp_path):
    with pytest.raises(CodecError, match=r"HELLO: .* `\$\.name`"):
        RobotClient(f"ipc://{tmp_path}/b", "x" * 200, [], [], 0.05).connect(0.1)


def test_a_measured_force_beyond_its_limit_damps(bundle, tmp_path):
    endpoint = f"ipc://{tmp_path}/b"
    limit = Limit("force", "wrench", -5.0, 5.0, "N", "the pins bend")
    manifest = msgspec.structs.replace(bundle.manifest, limits=[limit])
    strict = PolicyBundle(manifest, bundle.digest, bundle.graphs, 0.0)
    impostor = Impostor(strict, endpoint)
    impostor.replies += [track(0, 0, 0)] * 2
    impostor.start()
    fields = manifest.observation, manifest.action, manifest.control_period
    try:
        with RobotClient(endpoint, "arm", *fields, simulated_time=True) as client:
            assert client.exchange(GOOD, first=True).mode is Mode.TRACK
            pressed = np.array([0, 0, 0, 0, 0, 6], np.float32)
            assert client.exchange(pressed).mode is Mode.DAMP
            assert "the pins bend" in client.state.reason
    finally:
        impostor.end()

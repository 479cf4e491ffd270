"""What observers are told, and that their errors do not reach the caller."""

import io

import numpy as np
import pytest

from robot_bridge.protocol import codec
from robot_bridge.protocol.handshake import specs
from robot_bridge.protocol.messages import NO_FLAGS, Flag, Hello, Kind, Mode, Observation, Welcome
from robot_bridge.server.dispatcher import Dispatcher
from robot_bridge.system.log import Journal
from robot_bridge.telemetry.observers import Taps


class Kept:
    """A tap that keeps everything."""

    def __init__(self):
        self.steps, self.adaptations, self.events, self.closed = [], [], [], 0

    def step(self, record):
        self.steps.append(record)

    def adapted(self, record):
        self.adaptations.append(record)

    def event(self, record):
        self.events.append(record)

    def close(self):
        self.closed += 1


class Broken(Kept):
    """A tap that raises in one of its calls."""

    def __init__(self, call):
        super().__init__()
        setattr(self, call, self.fail)

    def fail(self, *records):
        raise OSError("no space left on device")


class Connected:
    """One robot, simulated unless told otherwise, behind a Peers with these taps."""

    def __init__(self, bundle, *taps, simulated_time=True):
        self.sent = []
        self.taps = Taps(taps)
        self.peers = Dispatcher(bundle, self._send, 0, 1, Journal(io.StringIO()), self.taps)
        manifest = bundle.manifest
        fields = specs(manifest.observation), specs(manifest.action)
        self.session = 0
        self.say(
            codec.encode_message(
                Hello(
                    "robot",
                    "arm",
                    "",
                    *fields,
                    manifest.control_period,
                    simulated_time=simulated_time,
                )
            )
        )
        welcome = codec.decode_message(self.sent[0], Welcome)
        self.session = welcome.session
        self.sequence = 0

    def _send(self, address, data):
        self.sent.append(codec.decode(data))
        return True

    def say(self, data):
        self.peers.take(b"arm", data)

    def observe(self, value, flags=NO_FLAGS):
        self.sequence += 1
        payload = np.full(6, value, np.float32)
        seen = Observation(self.sequence, 1000 + self.sequence, payload, 0.25, flags)
        self.say(codec.encode_observation(seen, self.session))

    def commands(self):
        return [codec.decode_command(f) for f in self.sent if f.kind is Kind.COMMAND]


def test_a_step_is_told_with_all_that_explains_it(bundle):
    tap = Kept()
    robot = Connected(bundle, tap)
    robot.observe(0.1, Flag.FIRST)
    robot.observe(0.2)
    robot.observe(np.nan)
    first, second, third = tap.steps
    for record, command in zip(tap.steps, robot.commands(), strict=True):
        np.testing.assert_array_equal(record.command, command.payload)
        assert record.sequence == command.sequence
        assert record.mode is command.mode
        assert record.received_ns <= record.decided_ns <= record.sent_ns
        assert record.digest == bundle.digest
    assert (first.belief_version, first.belief_count, first.flags) == (0, 0, Flag.FIRST)
    assert (second.belief_count, second.latent_version, second.robot_time_ns) == (1, 0, 1002)
    assert (second.belief_variance < first.belief_variance).all()
    np.testing.assert_array_equal(second.latent, first.latent)
    # The second command may differ from the first by no more than the bundle's rate.
    assert np.abs(second.wanted).max() <= 0.02
    assert (third.mode, third.wanted) == (Mode.HOLD, None)


def test_the_answer_goes_out_before_anybody_is_told(bundle):
    counts = []

    class Counting(Kept):
        def step(self, record):
            counts.append(len(robot.commands()))

    robot = Connected(bundle, Counting())
    robot.observe(0.1, Flag.FIRST)
    robot.observe(0.2)
    assert counts == [1, 2]


def test_every_transition_and_every_event_is_told(bundle):
    tap = Kept()
    robot = Connected(bundle, tap)
    robot.observe(0.1, Flag.FIRST)
    robot.observe(0.2)
    robot.observe(0.3)
    assert [record.belief_version for record in tap.adaptations] == [1, 2]
    assert all(r.took_ns > 0 and not r.problem for r in tap.adaptations)
    robot.observe(np.nan)
    assert [record.name for record in tap.events] == ["robot_connected", "observation_invalid"]
    assert "nan" in tap.events[1].text


@pytest.mark.parametrize("call", ["step", "adapted", "event", "close"])
def test_a_tap_that_raises_is_dropped_and_named(bundle, call):
    broken, sound = Broken(call), Kept()
    robot = Connected(bundle, broken, sound)
    robot.observe(0.1, Flag.FIRST)
    for value in (0.2, 0.3, np.nan):
        robot.observe(value)
    robot.peers.tend()
    robot.observe(0.4)
    robot.taps.close()
    assert len(robot.commands()) == len(sound.steps) == 5
    assert len(sound.adaptations) == 2
    assert sound.closed == 1
    failures = [record.text for record in sound.events if record.name == "tap_failed"]
    if call == "close":
        failures = robot.taps.problems()
    assert len(failures) == 1
    assert "Broken is no longer told anything" in failures[0]
    assert "no space left" in failures[0]

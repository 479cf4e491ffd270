"""A client and a bridge over a wire that loses, doubles, holds back and reorders their frames."""

import functools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.client import robot_client as module
from robot_bridge.client.robot_client import RobotClient
from robot_bridge.errors import BridgeError
from robot_bridge.protocol import codec
from robot_bridge.protocol.messages import (
    STOP_GIVEN,
    STOPPED,
    Begin,
    Event,
    Heartbeat,
    Hello,
    Kind,
    Mode,
    Outcome,
    Release,
    Stop,
    Welcome,
)
from robot_bridge.server.dispatcher import Dispatcher
from tests.support import tiny_bundle
from tests.support.client.fake_socket import FakeSocket

ROBOT, OPERATOR = b"robot", b"operator"
# What becomes of a frame; what is held back comes with the next one that is not.
FATE = st.sampled_from(["pass", "lose", "double", "hold"])
FATES = st.one_of(st.just([]), st.lists(FATE, max_size=8))
ONE = st.lists(FATE, min_size=1, max_size=1)


@functools.cache
def the_bundle():
    with tempfile.TemporaryDirectory() as folder:
        return PolicyBundle.load(tiny_bundle.write(Path(folder) / "tiny"))


class Line:
    """One direction of the wire. deliver: where frames come out."""

    def __init__(self, deliver):
        self.deliver = deliver
        self.fates = []
        self.held = []

    def carry(self, data):
        fate = self.fates.pop(0) if self.fates else "pass"
        if fate == "hold":
            self.held.append(data)
        elif fate != "lose":
            # The newer one overtakes what was held back.
            frames = [data] * (2 if fate == "double" else 1) + self.held
            self.held = []
            for frame in frames:
                self.deliver(frame)


class Pair(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.loaded = the_bundle()
        self.peers = Dispatcher(self.loaded, self.post, 0, 10**12, lambda *words, **more: None)
        self.session = 0
        self.now_ns = 0
        self.stop, self.latch = 0, 0  # known to the operator
        self.given = 0  # how often anybody has stopped the robot, as far as the bridge or it knows
        self.answered = {}  # sequence → whether a stop stood when the bridge answered it
        self.arrived = set()  # sequences whose answers came through to the client
        self.heard = 0  # highest stop of the bridge that a frame has brought to the client
        self.releases = []  # numbers that operators have given, with what had latched by then
        self.up = Line(self.to_bridge)
        self.link = FakeSocket(self.up.carry)
        self.down = Line(self.to_robot)

    @initialize()
    def connect(self):
        manifest = self.loaded.manifest
        fields = manifest.observation, manifest.action, manifest.control_period
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "ClientSocket", lambda *arguments: self.link)
            self.client = RobotClient(
                "ipc:///x", "arm", *fields, simulated_time=True, now_ns=lambda: self.now_ns
            )
        self.client.connect()
        hello = Hello("operator", "person")
        self.peers.take(OPERATOR, codec.encode_message(hello))
        self.peers.take(OPERATOR, self.say(Begin("arm", 0, 0, 0, True)))

    # The wire

    def post(self, address, data):
        frame = codec.decode(data)
        if address == OPERATOR:
            self.learn(frame)
            return True
        if frame.kind is Kind.COMMAND:
            self.answered[frame.sequence] = self.peers._stops.standing("arm")
        # No robot moves before the handshake; a lost HELLO only delays it.
        if frame.kind is Kind.WELCOME:
            self.link.inbox.append(data)
        else:
            self.down.carry(data)
        return True

    def to_bridge(self, data):
        self.peers.take(ROBOT, data)

    def to_robot(self, data):
        self.link.inbox.append(data)
        frame = codec.decode(data)
        if frame.kind is Kind.COMMAND:
            self.arrived.add(frame.sequence)
        elif frame.kind is Kind.STOP:
            self.heard = max(self.heard, codec.decode_message(frame, Stop).number)
        elif frame.kind is Kind.HEARTBEAT:
            self.heard = max(self.heard, codec.decode_message(frame, Heartbeat).stop)

    def learn(self, frame):
        if frame.kind is Kind.WELCOME:
            self.session = codec.decode_message(frame, Welcome).session
        elif frame.kind is Kind.EVENT:
            event = codec.decode_message(frame, Event)
            if event.name == STOP_GIVEN:
                self.stop = max(self.stop, event.number)
            elif event.name == STOPPED:
                self.latch = max(self.latch, event.number)

    def say(self, message):
        return codec.encode_message(message, session=self.session)

    # What people and the robot do

    @rule(up=FATES, down=FATES, first=st.booleans(), faults=st.sampled_from([0] * 9 + [2]))
    def exchange(self, up, down, first, faults):
        self.up.fates, self.down.fates = up, down
        before = self.client.state
        command = self.client.exchange(np.zeros(6, np.float32), first=first, faults=faults)
        self.now_ns += round(module.SIMULATED_PATIENCE * 1e9)
        self.check_opening(before)
        if command.mode is Mode.TRACK:
            assert not self.client.stopped
            assert not faults
            # Of the bridge's own answers, only one that it gave while nothing was stopped. Where
            # stop and answer are both lost, what was commanded before still holds for a while.
            sequence = self.client._sequence
            assert sequence not in self.arrived or not self.answered[sequence]

    @rule(up=FATES, down=FATES)
    def look(self, up, down):
        self.up.fates, self.down.fates = up, down
        before = self.client.state
        assert self.client.check() is not Mode.TRACK or before.mode is Mode.TRACK
        self.check_opening(before)

    @precondition(lambda self: not self.client.stopped)
    @rule()
    def halt(self):
        self.client.halt("by hand")

    @precondition(lambda self: self.client.stopped)
    @rule()
    def halt_again(self):
        self.client.halt("a hand in the cell")

    @rule(up=FATES)
    def end(self, up):
        self.up.fates = up
        before = self.client.state
        self.client.end_episode(Outcome(False, 1, 0.1, "x"))
        assert self.client.state.mode >= before.mode

    @rule(down=ONE, robot=st.sampled_from(["", "arm", "arm", "leg"]))
    def press(self, down, robot):
        self.down.fates = down
        self.peers.take(OPERATOR, self.say(Stop("button", robot=robot)))

    @rule()
    def give_release(self):
        self.releases.append((self.stop, self.latch))

    @precondition(lambda self: self.releases)
    @rule(down=ONE, which=st.integers(0, 50))
    def release_arrives(self, down, which):
        """One of those given: the latest, or one from long ago, or the same again."""
        self.down.fates = down
        # Seldom an old one: 0 is the latest.
        stop, latch = self.releases[-1 - max(0, which - 40) % len(self.releases)]
        self.peers.take(OPERATOR, self.say(Release("arm", stop, latch)))

    @precondition(lambda self: self.client.stopped)
    @rule()
    def recover(self):
        """An operator releases and begins, so that the robot moves again after each stop."""
        self.heartbeat([])
        self.look([], [])
        self.give_release()
        self.release_arrives([], 0)
        self.look([], [])
        self.exchange([], [], True, 0)

    @precondition(lambda self: self.client.stopped)
    @rule()
    def recover_once_more(self):
        """The same, so that it comes as often as stops do."""
        self.recover()

    @rule(down=FATES)
    def heartbeat(self, down):
        self.down.fates = down
        self.peers._heartbeat_due = 0.0
        self.peers.tend()

    @rule(down=FATES, new=st.booleans())
    def begin(self, down, new):
        self.down.fates = down
        self.peers.take(OPERATOR, self.say(Begin("arm", 1, 0, 0, new)))

    @rule()
    def wait(self):
        before = self.client.state
        try:
            request = self.client.wait_reset(0.0)
        except BridgeError:
            return
        self.check_opening(before)
        assert request is None or not self.client.stopped

    # What must hold

    def check_opening(self, before):
        """A latch opened only by a release that answers all that the robot had heard of."""
        if before.mode is not Mode.STOP or self.client.stopped:
            return
        answering = [
            (stop, latch)
            for stop, latch in self.releases
            if stop >= before.stop and latch >= before.latch
        ]
        assert answering

    @invariant()
    def a_stop_that_was_heard_is_kept_until_it_is_answered(self):
        if not hasattr(self, "client") or self.link.inbox:
            return
        # All frames have been read, so the state holds what they reported.
        assert self.client.state.stop >= self.heard
        unanswered = all(stop < self.heard for stop, _ in self.releases)
        if self.heard and unanswered:
            assert self.client.stopped

    def teardown(self):
        # In every case: when the wire is cut, silence stops the robot.
        if hasattr(self, "client"):
            self.up.fates = self.down.fates = []
            self.link.inbox.clear()
            self.link.post = lambda data: None
            self.client.exchange(np.zeros(6, np.float32), first=True)
            for _ in range(10):
                self.now_ns += round(module.SIMULATED_PATIENCE * 1e9)
                self.client.exchange(np.zeros(6, np.float32))
            assert self.client.stopped
        self.peers.dismiss("done")


TestPair = Pair.TestCase
TestPair.settings = settings(max_examples=120, stateful_step_count=50, deadline=None)

"""RobotClient: what a driver links against.

    with RobotClient(endpoint, "arm", observation, action, period) as robot:
        while (reset := robot.wait_reset(60.0)) is not None:
            ...                                       # move to the start
            robot.ready()
            command = robot.exchange(measured(), first=True)
            while not done():
                follow(command)                       # by command.mode
                command = robot.exchange(measured(), reward)
            robot.exchange(measured(), reward, last=True)
            robot.end_episode(Outcome(success, steps, duration, reason))

The client guards last: it clamps commands to the bundle's margins, and on silence goes hold → damp
→ latched stop, whatever the bridge does.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from msgspec import structs

from adapt.manifest import Field
from robot_bridge import safety
from robot_bridge.clock import Offset, OffsetEstimator
from robot_bridge.codec import (
    Frame,
    decode_command,
    decode_message,
    decode_stop,
    encode_message,
    encode_observation,
)
from robot_bridge.errors import BridgeError, BridgeLost, CodecError, HandshakeError, LimitError
from robot_bridge.handshake import specs
from robot_bridge.limits import Limits
from robot_bridge.link import LIVENESS, Link
from robot_bridge.messages import (
    FLAGS,
    RELEASE_REFUSED,
    RELEASED,
    STOPPED,
    Command,
    Event,
    FieldSpec,
    Flag,
    Float32,
    Heartbeat,
    Hello,
    Kind,
    Mode,
    Observation,
    Outcome,
    Ready,
    Release,
    ResetRequest,
    Stop,
    Welcome,
)

# A simulated clock waits for its answer, so its silence is counted by the wall: a busy machine may
# take this long, a bridge that is gone takes longer [s].
SIMULATED_PATIENCE = 2.0
CONNECT = 10.0  # [s]
GLANCE = 0.1  # between looks at the bridge's signs of life [s]
EVENTS = 100  # a driver that never looks at them runs for months
HEARTBEAT = 0.5  # between signs of life to the bridge [s]
# Frames looked through after the answer, for a stop among them: as many as libzmq keeps. A bridge
# that sends more within a period has gone mad, and the rest waits for the next one.
BACKLOG = 1000
COUNTED = 2**62  # the largest number of a stop that a frame holds; a bridge may welcome us with it
REASON = 1000  # characters kept of why a stop latched, so that an Outcome can quote it


class RobotClient:
    """One robot's connection to a bridge. Belongs to one thread.

    observation, action: the driver's fields in order, as FieldSpec or bundle fields.
    control_period [s]. digest: of the bundle that the driver was made for; "" for any with these
    fields. simulated_time: the robot's clock waits for answers. patience: how long `exchange`
    waits, and what silence is counted in [s]; one control period unless given, or
    SIMULATED_PATIENCE for a simulated clock. now_ns: the monotonic clock [ns]. keys: for tcp, a
    folder of keys or one certificate; None for the default folder.
    """

    def __init__(
        self,
        endpoint: str,
        name: str,
        observation: Sequence[Field | FieldSpec],
        action: Sequence[Field | FieldSpec],
        control_period: float,
        *,
        digest: str = "",
        simulated_time: bool = False,
        patience: float | None = None,
        staleness: safety.Staleness | None = None,
        now_ns: Callable[[], int] = time.monotonic_ns,
        keys: Path | None = None,
    ) -> None:
        self._hello = Hello(
            role="robot",
            name=name,
            digest=digest,
            observation=_specs(observation),
            action=_specs(action),
            control_period=control_period,
            simulated_time=simulated_time,
        )
        if patience is None:
            patience = SIMULATED_PATIENCE if simulated_time else control_period
        self._patience = patience
        self._rules = safety.Rules(round(patience * 1e9), staleness or safety.Staleness())
        self._now_ns = now_ns
        self._link = Link(endpoint, "robot", name, keys)
        self._limits: Limits | None = None
        self._clock = OffsetEstimator()
        self._faults = 0
        self._request: ResetRequest | None = None  # heard, not yet handed on
        self._heartbeat_due_ns = 0
        self._sequence = 0
        self._asked_ns = 0  # when the latest observation was sent
        self._last: Command | None = None  # the last good command, as followed
        self._unapplied = False
        self._measured: Float32 | None = None  # a period ago, if that made sense
        self.state = safety.State()
        self.welcome: Welcome | None = None
        # What a bridge in shadow mode would have commanded (n_a,), for a driver's own records.
        self.proposal: Float32 | None = None
        # From the bridge, about this robot, the latest EVENTS of them.
        self.events: deque[Event] = deque(maxlen=EVENTS)

    def connect(self, timeout: float = CONNECT) -> Welcome:
        """Shake hands within timeout [s]; returns what the bridge serves.

        Raises BridgeLost when nobody answers, HandshakeError with every difference, CodecError for
        a name or field that no bridge would take.
        """
        welcome = self._link.introduce(self._hello, timeout)
        self._limits = Limits(
            welcome.observation, welcome.action, welcome.limits, welcome.control_period
        )
        self.welcome = welcome
        latch = welcome.latches.get(self._hello.name, 0)
        self._occur(safety.Connected(welcome.stop, latch, welcome.stopped))
        return welcome

    @property
    def shadow(self) -> bool:
        """Whether the bridge only watches: it computes, and every command is to hold at least."""
        return self.welcome is not None and self.welcome.shadow

    @property
    def clock_offset(self) -> Offset | None:
        """The bridge's clock minus the robot's; None before the first answer."""
        return self._clock.estimate(self._now_ns())

    @property
    def stopped(self) -> bool:
        """Whether the stop is latched: the robot must not move, nor be reset."""
        return self.state.mode is Mode.STOP

    def wait_reset(self, timeout: float) -> ResetRequest | None:
        """The next episode's request within timeout [s], or None; the driver then moves the robot
        to the start. While the stop is latched none is handed on. Raises BridgeLost.

        A driver that moves for longer than a second looks at `check` meanwhile: a stop may come.
        """
        deadline = time.monotonic() + timeout
        while True:
            # A stop right behind the request: the driver must not set out.
            self._drain()
            request, self._request = self._request, None
            if request is not None:
                self._occur(safety.Reset())
                return request
            self._beat()
            left = deadline - time.monotonic()
            try:
                frame = self._link.receive(max(0.0, min(GLANCE, left)))
                if frame is None:
                    self._link.check_alive()
            except (BridgeLost, HandshakeError) as error:
                self._occur(safety.Halt(str(error)[:REASON]))
                raise
            except CodecError:
                # The bridge's own heartbeats will tell whether it still makes sense.
                continue
            if frame is not None:
                self._hear(frame)
            elif left <= 0:
                return None

    def ready(self, truth: Mapping[str, float] | None = None) -> None:
        """The robot stands at the start. truth: hidden quantities by factor name [SI], for reports.
        Raises BridgeError for a number that is not finite, BridgeLost without a bridge."""
        self._link.send(Ready(_finite("truth", truth or {})))

    def exchange(
        self,
        observation: Float32,
        reward: float = 0.0,
        *,
        first: bool = False,
        last: bool = False,
        terminal: bool = False,
        faults: int = 0,
    ) -> Command:
        """Send what was measured (n_o,), return what to do; blocks for at most `patience`.

        reward: measured for the previous command. first, last: of the episode. terminal: the task
        ended here by itself. faults: `Fault` bits. Never raises for a bridge that is silent, gone
        or wrong: the returned mode says what is safe, and `state.reason` why.
        """
        if first:
            self._occur(safety.Start())
            self._last, self._unapplied, self._measured = None, False, None
        # Once for each new fault: whoever releases the robot has to know of it.
        if faults & ~self._faults or (faults and not self.stopped):
            self._occur(safety.Halt(f"the robot reports fault {faults:#x}"))
        self._faults = faults
        self._sequence += 1
        sent = Observation(
            self._sequence,
            self._now_ns(),
            # A copy: the driver may measure into the same array again.
            np.array(observation, np.float32).reshape(-1),
            reward,
            _flags(first, last, terminal, self._unapplied),
            faults,
        )
        # Even while stopped: the bridge and its operators go on seeing the robot.
        self._link.tell(encode_observation(sent, self._link.session))
        self._asked_ns = sent.time_ns
        self._occur(safety.Asked(sent.time_ns))
        # Whatever need not wait for the answer, while the bridge is at it.
        self._beat()
        violation = self._judge(sent.payload)
        command = self._guard(self._await_answer(), violation)
        if last:
            self._occur(safety.Finish())
        return command

    def check(self) -> Mode:
        """What is safe right now, without asking the bridge: for a driver's faster inner loop, and
        while it moves to the start. Hears stops, and shows the bridge that the robot lives."""
        self._drain()
        self._occur(safety.Tick(self._now_ns()))
        if not self.stopped and self._link.quiet() > LIVENESS:
            self._occur(safety.Halt(f"nothing from the bridge for {self._link.quiet():.1f} s"))
        self._beat()
        return self.state.mode

    def halt(self, reason: str) -> None:
        """Latch the stop from the driver's side."""
        self._occur(safety.Halt(reason[:REASON]))

    def stop_all(self, reason: str) -> None:
        """Stop this robot, and every robot of the bridge. Raises BridgeLost, stopped, when only
        this one could be."""
        self.halt(reason)
        self._link.send(Stop(reason[:REASON]))

    def end_episode(self, outcome: Outcome) -> None:
        """Say how the episode ended. Raises BridgeError for a number that is not finite or a text
        that is too long, BridgeLost without a bridge."""
        _finite("outcome", outcome.measures | {"duration": outcome.duration})
        self._occur(safety.Finish())
        self._link.send(outcome)

    def close(self) -> None:
        """Say goodbye and let go of the socket."""
        self._link.close()

    def __enter__(self) -> Self:
        try:
            self.connect()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _await_answer(self) -> Command | None:
        """The answer to the latest observation, or None after `patience`."""
        deadline = time.monotonic() + self._patience
        # While stopped too: that is when a release may come.
        while (left := deadline - time.monotonic()) > 0:
            try:
                frame = self._link.receive(left)
                if frame is None:
                    break
                if frame.kind is not Kind.COMMAND:
                    self._hear(frame)
                    continue
                command = decode_command(frame)
            except (BridgeLost, HandshakeError) as error:
                self._occur(safety.Halt(str(error)[:REASON]))
                break
            except CodecError:
                # A frame that cannot be read is no answer; the silence speaks for it.
                continue
            if command.sequence == self._sequence:
                self._take(command)
                # A stop that has arrived behind the command wins over it, now and not next period.
                self._drain()
                return command
        self._occur(safety.Tick(self._now_ns()))
        return None

    def _take(self, command: Command) -> None:
        now_ns = self._now_ns()
        self._clock.add(self._asked_ns, command.received_ns, command.sent_ns, now_ns)
        self.proposal = command.payload if command.shadow else None
        mode = command.mode
        if self.shadow or command.shadow:
            # Whichever of the two is wrong, nobody has agreed to motion.
            mode = max(mode, Mode.HOLD)
        self._occur(safety.Answered(now_ns, mode, command.validity_ns))

    def _drain(self) -> None:
        """Hear what has arrived, without waiting. Never raises: what is lost stops the robot."""
        for _ in range(BACKLOG):
            try:
                frame = self._link.receive(0.0)
                if frame is None:
                    return
                self._hear(frame)
            except (BridgeLost, HandshakeError) as error:
                if not self.stopped:
                    self._occur(safety.Halt(str(error)[:REASON]))
                return
            except CodecError:
                continue

    def _beat(self) -> None:
        """Show the bridge that the robot lives, and how it stands, when that is due."""
        now_ns = self._now_ns()
        if now_ns < self._heartbeat_due_ns:
            return
        self._heartbeat_due_ns = now_ns + round(HEARTBEAT * 1e9)
        offset = self._clock.estimate(now_ns)
        heartbeat = Heartbeat(
            self.state.stop,
            min(self.state.latch, COUNTED),
            self.stopped,
            offset.offset_ns if offset else None,
            offset.round_trip_ns if offset else None,
        )
        self._link.tell(encode_message(heartbeat, session=self._link.session))

    def _judge(self, observation: Float32) -> safety.Violation | None:
        """What an observation breaks; it counts once the answer is in, or is not coming."""
        limits = self._limits
        if limits is None:
            raise BridgeError("exchange before connect")
        if invalid := limits.invalid(observation):
            self._measured = None
            return safety.Violation(Mode.HOLD, invalid)
        broken = limits.broken(observation, self._measured)
        self._measured = observation
        return safety.Violation(*broken) if broken is not None else None

    def _guard(self, answer: Command | None, violation: safety.Violation | None) -> Command:
        """The command to follow: within the margins, and no more than the state allows."""
        limits = self._limits
        if limits is None:
            raise BridgeError("exchange before connect")
        if violation is not None:
            self._occur(violation)
        # Without an answer the last command stands for as long as the state says TRACK.
        command = answer if answer is not None else self._last
        clipped: tuple[str, ...] = ()
        if command is not None and self.state.mode is Mode.TRACK:
            try:
                before = self._last.payload if self._last is not None else None
                payload, clipped = limits.clamp(command.payload, before)
                command = structs.replace(command, sequence=self._sequence, payload=payload)
            except LimitError as error:
                self._occur(safety.Violation(Mode.HOLD, str(error)))
        self._unapplied = answer is None or bool(clipped) or self.state.mode is not Mode.TRACK
        if command is None or self.state.mode is not Mode.TRACK:
            self._last = None
            still = np.zeros(limits.action_size, np.float32)
            version = command.belief_version if command is not None else 0
            return Command(self._sequence, 0, self.state.mode, still, version)
        self._last = command
        return command

    def _hear(self, frame: Frame) -> None:
        """Everything the bridge says unasked."""
        if frame.kind is Kind.STOP:
            stop = decode_stop(frame)
            self._occur(safety.Stopped(stop.number, stop.reason[:REASON]))
        elif frame.kind is Kind.HEARTBEAT:
            number = decode_message(frame, Heartbeat).stop
            if number > self.state.stop:
                # The stop itself was lost on the way.
                self._occur(safety.Stopped(number, f"the bridge has given stop {number}"))
        elif frame.kind is Kind.RELEASE:
            release = decode_message(frame, Release)
            self._occur(safety.Release(release.stop, release.latch))
        elif frame.kind is Kind.RESET:
            request = decode_message(frame, ResetRequest)
            if self.stopped:
                self._say_stopped()
            else:
                self._request = request
        elif frame.kind is Kind.EVENT:
            self.events.append(decode_message(frame, Event))

    def _occur(self, event: safety.Occurrence) -> None:
        before = self.state
        self.state = safety.step(before, event, self._rules)
        if self.stopped:
            # A release is no leave to follow what was asked for before the stop.
            self._request = None
        if self.stopped and (self.state.stop, self.state.latch, Mode.STOP) != (
            before.stop,
            before.latch,
            before.mode,
        ):
            self._say_stopped()
        elif isinstance(event, safety.Release):
            if self.stopped:
                text = f"it answers {_numbers(event)}; the robot has {_numbers(before)}"
                self._say(RELEASE_REFUSED, text)
            elif before.mode is Mode.STOP:
                self._say(RELEASED, f"released; it was stopped: {before.reason}")
            else:
                self._say(RELEASED, "it was not stopped")

    def _say_stopped(self) -> None:
        self._say(STOPPED, self.state.reason)

    def _say(self, name: str, text: str) -> None:
        try:
            self._link.send(Event(name, self._hello.name, text, min(self.state.latch, COUNTED)))
        except (BridgeLost, HandshakeError):
            # Nobody to tell; the stop stands all the same.
            return


def _numbers(stops: safety.State | safety.Release) -> str:
    return f"stop {stops.stop} of the bridge and {stops.latch} of its own"


def _specs(fields: Sequence[Field | FieldSpec]) -> tuple[FieldSpec, ...]:
    return tuple(field if isinstance(field, FieldSpec) else specs([field])[0] for field in fields)


def _flags(first: bool, last: bool, terminal: bool, unapplied: bool) -> Flag:
    return FLAGS[first | last << 1 | terminal << 2 | unapplied << 3]


def _finite(where: str, numbers: Mapping[str, float]) -> dict[str, float]:
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise BridgeError(f"{where}: {name} is {value}; expected a finite number")
    return {name: float(value) for name, value in numbers.items()}

"""RobotClient: what a driver links against.

    with RobotClient(endpoint, "arm", observation, action, period) as robot:
        while (reset := robot.wait_reset(60.0)) is not None:
            ...                                       # move to the start
            robot.ready()
            command = robot.exchange(measured(), first=True)
            while not done():
                follow(command)                       # by command.mode
                rate.wait()                           # once per control period
                command = robot.exchange(measured(), reward)
            robot.exchange(measured(), reward, last=True)
            robot.end_episode(Outcome(success, steps, duration, reason))

The client guards last: it clamps commands to the bundle's limits, holds while the driver keeps
another period than the bundle's, and on silence goes hold → damp → latched stop, even if
the bridge does nothing.

A client is one connection. `wait_reset`, `ready` and `end_episode` raise BridgeLost when the bridge
is gone and HandshakeError when it was started anew and does not know this connection; `exchange`
answers STOP. To connect again, close the client and make a new one; README.md shows the loop.
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from adapt.bundle.fields import Field, Limit
from robot_bridge.client.command_filter import CommandFilter
from robot_bridge.client.receiver import REASON, Receiver
from robot_bridge.client.safety_monitor import SafetyMonitor, clipped
from robot_bridge.errors import BridgeError, BridgeLost, CodecError, HandshakeError
from robot_bridge.protocol.codec import encode_message, encode_observation
from robot_bridge.protocol.handshake import specs
from robot_bridge.protocol.messages import (
    FLAGS,
    Command,
    FieldSpec,
    Flag,
    Float32,
    Heartbeat,
    Hello,
    Mode,
    Observation,
    Outcome,
    Ready,
    ResetRequest,
    Stop,
    Welcome,
    fault_names,
)
from robot_bridge.protocol.probe_messages import ProbeTarget
from robot_bridge.protocol.timing import BRIDGE_LOST, HEARTBEAT
from robot_bridge.safety import state_machine as safety
from robot_bridge.safety.limits import Limits
from robot_bridge.safety.spacing import SpacingMonitor, SpacingSettings
from robot_bridge.system.clock import Offset
from robot_bridge.system.log import speakable
from robot_bridge.transport.client_socket import ClientSocket

# A simulated clock waits for its answer, so its silence is counted by the wall: a busy machine may
# take this long, a bridge that is gone takes longer [s].
SIMULATED_PATIENCE = 2.0
CONNECT = 10.0  # [s]
LONGEST = 1e6  # control period or patience [s]
GLANCE = 0.1  # between looks at the bridge's signs of life [s]


class RobotClient:
    """One robot's connection to a bridge. Belongs to one thread.

    observation, action: the driver's fields in order, as FieldSpec or bundle fields.
    control_period [s]. digest: of the bundle that the driver was made for; "" for any with these
    fields. simulated_time: the robot's clock waits for answers. patience: how long `exchange`
    waits, and what silence is counted in [s]; one control period unless given, or
    SIMULATED_PATIENCE for a simulated clock. spacing: how far from control_period two observations
    may be apart before the robot holds. now_ns: the monotonic clock [ns]. keys: for tcp, a
    folder of keys or one certificate; None for the default folder. probes: whether the driver
    performs probing episodes: it tells `ready` the target, its reference follows wherever the
    episode's limits allow, and it ends the episode when a command says `over`.
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
        spacing: SpacingSettings | None = None,
        now_ns: Callable[[], int] = time.monotonic_ns,
        keys: Path | None = None,
        probes: bool = False,
    ) -> None:
        self._hello = Hello(
            role="robot",
            name=name,
            digest=digest,
            observation=_specs(observation),
            action=_specs(action),
            control_period=control_period,
            simulated_time=simulated_time,
            probes=probes,
        )
        if patience is None:
            patience = SIMULATED_PATIENCE if simulated_time else control_period
        for what, seconds in (("control_period", control_period), ("patience", patience)):
            if not 0.0 < seconds <= LONGEST:
                raise BridgeError(f"{what} is {seconds}; expected seconds, up to {LONGEST:g}")
        # A clock that waits for answers has no spacing of its own.
        self._spacing = None if simulated_time else SpacingMonitor(control_period, spacing)
        self._now_ns = now_ns
        self._link = ClientSocket(endpoint, "robot", name, keys)
        rules = safety.Rules(round(patience * 1e9), staleness or safety.Staleness())
        self._monitor = SafetyMonitor(rules, self._link, name)
        self._occur = self._monitor.occur
        self._receiver = Receiver(self._link, self._monitor, patience, now_ns)
        self._filter: CommandFilter | None = None  # from the welcome on
        self._faults = 0
        self._heartbeat_due_ns = 0
        self._sequence = 0
        self.welcome: Welcome | None = None
        # From the bridge, about this robot, the latest of them.
        self.events = self._receiver.events

    def connect(self, timeout: float = CONNECT) -> Welcome:
        """Shake hands within timeout [s]; returns what the bridge serves.

        Raises BridgeLost without an answer, HandshakeError with every difference, CodecError for
        a name or field that no bridge would take.
        """
        welcome = self._link.introduce(self._hello, timeout)
        self.welcome = welcome
        self._filter = CommandFilter(_limits(welcome, welcome.limits), self._monitor, self._spacing)
        self._receiver.shadow = welcome.shadow
        latch = welcome.latches.get(self._hello.name, 0)
        self._occur(safety.Connected(welcome.stop, latch, welcome.stopped))
        return welcome

    @property
    def state(self) -> safety.State:
        """What the robot may do, and why."""
        return self._monitor.state

    @property
    def shadow(self) -> bool:
        """Whether the bridge only watches: it computes, and every command is to hold at least."""
        return self._receiver.shadow

    @property
    def proposal(self) -> Float32 | None:
        """What a bridge in shadow mode would have commanded (n_a,), for a driver's own records."""
        return self._receiver.proposal

    @property
    def clock_offset(self) -> Offset | None:
        """The bridge's clock minus the robot's; None before the first answer."""
        return self._receiver.clock.estimate(self._now_ns())

    @property
    def stopped(self) -> bool:
        """Whether the stop is latched: the robot must not move, nor be reset."""
        return self._monitor.stopped

    def wait_reset(self, timeout: float) -> ResetRequest | None:
        """The next episode's request within timeout [s], or None; the driver then moves the robot
        to the start. While the stop is latched none is handed on. Raises BridgeLost.

        A driver that moves for longer than a second looks at `check` meanwhile: a stop may come.
        """
        deadline = time.monotonic() + timeout
        while True:
            # A stop right behind the request: the driver must not set out.
            self._receiver.drain()
            request, self._monitor.request = self._monitor.request, None
            if request is not None and self._admits(request):
                self._occur(safety.Reset())
                return request
            self._beat()
            left = deadline - time.monotonic()
            try:
                frame = self._link.receive(max(0.0, min(GLANCE, left)))
                if frame is None:
                    self._link.check_alive()
                else:
                    self._receiver.hear(frame)
            except (BridgeLost, HandshakeError) as error:
                self.halt(str(error))
                raise
            except CodecError:
                # The bridge's own heartbeats will tell whether it still makes sense.
                continue
            if frame is None and left <= 0:
                return None

    def _admits(self, request: ResetRequest) -> bool:
        """Take over the limits of the episode that is asked for; a driver that does not probe
        stops where it is asked to."""
        welcome, command_filter = self.welcome, self._filter
        if welcome is None or command_filter is None:
            return False
        if request.limits and not self._hello.probes:
            self.halt("asked to probe, which this driver has not said it can")
            return False
        command_filter.use(_limits(welcome, request.limits or welcome.limits))
        return True

    def ready(
        self, truth: Mapping[str, float] | None = None, target: ProbeTarget | None = None
    ) -> None:
        """The robot stands at the start. truth: hidden quantities by factor name [SI], for reports.
        target: of a probing episode. Raises BridgeError for a number that is not finite, BridgeLost
        without a bridge."""
        self._link.send(Ready(_finite("truth", truth or {}), target))

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
        or wrong: the returned mode says what is safe, and `state.reason` why. Raises BridgeError,
        with the stop latched, for arguments of another kind, such as a reward of None.
        """
        command_filter = self._filter
        if command_filter is None:
            raise BridgeError("exchange before connect")
        if first:
            self._occur(safety.Start())
            command_filter.restart()
        else:
            command_filter.resume()
        self._sequence += 1
        flags = _flags(first, last, terminal, command_filter.unapplied)
        sent, data = self._encoded(observation, reward, flags, faults)
        # Once for each new fault: the operator who releases the robot has to know of it.
        if faults & ~self._faults or (faults and not self.stopped):
            self._occur(safety.Halt(f"the robot reports {fault_names(faults)}"))
        self._faults = faults
        # Even while stopped: the bridge and its operators go on seeing the robot.
        self._link.tell(data)
        self._occur(safety.Asked(sent.time_ns))
        # While the bridge works: what needs no answer.
        self._beat()
        violation = command_filter.judge(sent.payload, sent.time_ns, first)
        answer = self._receiver.answer(sent.sequence, sent.time_ns)
        command = command_filter.guard(sent.sequence, answer, violation)
        if last:
            self._occur(safety.Finish())
        return command

    def _encoded(
        self, observation: Float32, reward: float, flags: Flag, faults: int
    ) -> tuple[Observation, bytes]:
        """What is sent, and its frame. Raises BridgeError, stopped."""
        now_ns = self._now_ns()
        try:
            # A copy: the driver may measure into the same array again.
            payload = np.array(observation, np.float32).reshape(-1)
            sent = Observation(self._sequence, now_ns, payload, reward, flags, faults)
            return sent, encode_observation(sent, self._link.session)
        except (TypeError, ValueError, struct.error, CodecError) as error:
            text = (
                f"exchange: {error}; expected numbers as observation, a number as reward (found "
                f"{reward!r}), bits from 0 to 2**32 - 1 as faults (found {faults!r}) and whole "
                f"nanoseconds of now_ns (found {now_ns!r})"
            )
            self.halt(text)
            raise BridgeError(text) from None

    def check(self) -> Mode:
        """What is safe right now, without asking the bridge: for a driver's faster inner loop, and
        while it moves to the start. Hears stops, and shows the bridge that the robot lives."""
        self._receiver.drain()
        self._occur(safety.Tick(self._now_ns()))
        if not self.stopped and self._link.quiet() > BRIDGE_LOST:
            self._occur(safety.Halt(f"nothing from the bridge for {self._link.quiet():.1f} s"))
        self._beat()
        return self.state.mode

    def halt(self, reason: str) -> None:
        """Latch the stop from the driver's side. Never raises; any text is a reason."""
        self._occur(safety.Halt(clipped(reason, REASON)))

    def stop_all(self, reason: str) -> None:
        """Stop every robot of the bridge, and this one even if the others cannot be reached. Raises
        BridgeLost or HandshakeError, stopped, when only this one could be."""
        try:
            self._link.send(Stop(clipped(reason, REASON)))
        finally:
            self.halt(reason)

    def end_episode(self, outcome: Outcome) -> None:
        """Say how the episode ended. Raises BridgeError for a number that is not finite, a text
        that is too long or a judged_by that is no measure, BridgeLost without a bridge."""
        numbers = _finite("outcome", {"steps": outcome.steps, "duration": outcome.duration})
        measures = _finite("outcome", outcome.measures)
        if outcome.judged_by and outcome.judged_by not in measures:
            raise BridgeError(
                f"outcome: judged_by is {outcome.judged_by!r}; expected a measure, one of "
                f"{sorted(measures)}, or nothing"
            )
        self._occur(safety.Finish())
        # numpy's numbers are taken, too. The reason may quote what no frame can carry; the end of
        # an episode is not lost over that.
        self._link.send(
            Outcome(
                bool(outcome.success),
                int(numbers["steps"]),
                numbers["duration"],
                speakable(str(outcome.reason)),
                measures,
                outcome.judged_by,
            )
        )

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

    def __exit__(self, *error: object) -> None:
        self.close()

    def _beat(self) -> None:
        """Show the bridge that the robot lives, and how it stands, when that is due."""
        now_ns = self._now_ns()
        if now_ns < self._heartbeat_due_ns:
            return
        self._heartbeat_due_ns = now_ns + round(HEARTBEAT * 1e9)
        offset = self._receiver.clock.estimate(now_ns)
        heartbeat = Heartbeat(
            self.state.stop,
            self._monitor.latch,
            self.stopped,
            offset.offset_ns if offset else None,
            offset.round_trip_ns if offset else None,
        )
        self._link.tell(encode_message(heartbeat, session=self._link.session))


def _limits(welcome: Welcome, limits: Sequence[Limit]) -> Limits:
    return Limits(welcome.observation, welcome.action, limits, welcome.control_period)


def _specs(fields: Sequence[Field | FieldSpec]) -> tuple[FieldSpec, ...]:
    return tuple(field if isinstance(field, FieldSpec) else specs([field])[0] for field in fields)


def _flags(first: bool, last: bool, terminal: bool, unapplied: bool) -> Flag:
    return FLAGS[first | last << 1 | terminal << 2 | unapplied << 3]


def _finite(where: str, numbers: Mapping[str, float]) -> dict[str, float]:
    for name, value in numbers.items():
        try:
            finite = math.isfinite(value)
        except TypeError:
            finite = False
        if not finite:
            raise BridgeError(f"{where}: {name} is {value!r}; expected a finite number")
    return {name: float(value) for name, value in numbers.items()}

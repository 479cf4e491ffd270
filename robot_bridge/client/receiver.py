"""What a robot hears from its bridge: answers, stops, releases, requests, events."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from robot_bridge.client.safety_monitor import SafetyMonitor
from robot_bridge.errors import BridgeLost, CodecError, HandshakeError
from robot_bridge.protocol.codec import Frame, decode_command, decode_message, decode_stop
from robot_bridge.protocol.messages import (
    Command,
    Event,
    Float32,
    Heartbeat,
    Kind,
    Mode,
    Release,
    ResetRequest,
)
from robot_bridge.safety import state_machine as safety
from robot_bridge.system.clock import OffsetEstimator
from robot_bridge.transport.client_socket import ClientSocket

EVENTS = 100  # a driver that never looks at them runs for months
# Frames looked through after the answer, for a stop among them: as many as libzmq keeps. More than
# that wait for the next period.
BACKLOG = 1000
REASON = 1000  # characters kept of why a stop latched, so that an Outcome can quote it


class Receiver:
    """Acts on every frame of one client's link, by its standing.

    patience: how long an answer is waited for [s]. now_ns: the monotonic clock [ns].
    """

    def __init__(
        self, link: ClientSocket, monitor: SafetyMonitor, patience: float, now_ns: Callable[[], int]
    ) -> None:
        self._link = link
        self._monitor = monitor
        self._occur = monitor.occur
        self._patience = patience
        self._now_ns = now_ns
        self.clock = OffsetEstimator()
        self.shadow = False  # whether the bridge has said that it only watches
        self.proposal: Float32 | None = None  # by the last answer of a shadow (n_a,)
        self.events: deque[Event] = deque(maxlen=EVENTS)

    def answer(self, sequence: int, asked_ns: int) -> Command | None:
        """The answer to the observation of that number, sent at asked_ns, or None after
        `patience`. Never raises: what is lost stops the robot."""
        deadline = time.monotonic() + self._patience
        # While stopped too: that is when a release may come.
        while (left := deadline - time.monotonic()) > 0:
            try:
                frame = self._link.receive(left)
                if frame is None:
                    break
                if frame.kind is not Kind.COMMAND:
                    self.hear(frame)
                    continue
                command = decode_command(frame)
            except (BridgeLost, HandshakeError) as error:
                self._occur(safety.Halt(str(error)[:REASON]))
                break
            except CodecError:
                # A frame that cannot be read is no answer; the silence speaks for it.
                continue
            if command.sequence == sequence:
                self._take(command, asked_ns)
                # A stop that has arrived behind the command wins over it, now and not next period.
                self.drain()
                return command
        self._occur(safety.Tick(self._now_ns()))
        return None

    def _take(self, command: Command, asked_ns: int) -> None:
        now_ns = self._now_ns()
        self.clock.add(asked_ns, command.received_ns, command.sent_ns, now_ns)
        self.proposal = command.payload if command.shadow else None
        mode = command.mode
        if self.shadow or command.shadow:
            # Motion needs the agreement of both.
            mode = max(mode, Mode.HOLD)
        self._occur(safety.Answered(now_ns, mode, command.validity_ns))

    def drain(self) -> None:
        """Hear what has arrived, without waiting. Never raises: what is lost stops the robot."""
        for _ in range(BACKLOG):
            try:
                frame = self._link.receive(0.0)
                if frame is None:
                    return
                self.hear(frame)
            except (BridgeLost, HandshakeError) as error:
                if not self._monitor.stopped:
                    self._occur(safety.Halt(str(error)[:REASON]))
                return
            except CodecError:
                continue

    def hear(self, frame: Frame) -> None:
        """Everything the bridge says unasked. Raises CodecError."""
        monitor = self._monitor
        if frame.kind is Kind.STOP:
            stop = decode_stop(frame)
            self._occur(safety.Stopped(stop.number, stop.reason[:REASON]))
        elif frame.kind is Kind.HEARTBEAT:
            number = decode_message(frame, Heartbeat).stop
            if number > monitor.state.stop:
                # The stop itself was lost on the way.
                self._occur(safety.Stopped(number, f"the bridge has given stop {number}"))
        elif frame.kind is Kind.RELEASE:
            release = decode_message(frame, Release)
            self._occur(safety.Release(release.stop, release.latch))
        elif frame.kind is Kind.RESET:
            request = decode_message(frame, ResetRequest)
            if monitor.stopped:
                monitor.say_stopped()
            else:
                monitor.request = request
        elif frame.kind is Kind.EVENT:
            self.events.append(decode_message(frame, Event))

"""What one robot may do right now, and what the client tells the bridge about it."""

from __future__ import annotations

from robot_bridge.errors import BridgeError
from robot_bridge.protocol.messages import (
    RELEASE_REFUSED,
    RELEASED,
    STOPPED,
    Event,
    Mode,
    ResetRequest,
)
from robot_bridge.safety import state_machine as safety
from robot_bridge.system.log import speakable
from robot_bridge.transport.client_socket import ClientSocket

COUNTED = 2**62  # the largest number of a stop that a frame holds; a bridge may welcome us with it
TEXT = 4096  # characters of a text that a frame holds


class SafetyMonitor:
    """The safety state machine of one client, whose stops and releases are said to the bridge.

    robot: its name. request: for the next episode, heard and not yet handed on; void by a stop.
    """

    def __init__(self, rules: safety.Rules, link: ClientSocket, robot: str) -> None:
        self._rules = rules
        self._link = link
        self._robot = robot
        self.state = safety.State()
        self.request: ResetRequest | None = None

    @property
    def stopped(self) -> bool:
        """Whether the stop is latched."""
        return self.state.mode is Mode.STOP

    @property
    def latch(self) -> int:
        """Number of the robot's own latest stop, as far as a frame holds it."""
        return min(self.state.latch, COUNTED)

    def occur(self, event: safety.Occurrence) -> None:
        """Go on by one event, and say what has come of it."""
        before = self.state
        self.state = state = safety.step(before, event, self._rules)
        stopped = state.mode is Mode.STOP
        if stopped:
            # A release is no leave to follow what was asked for before the stop.
            self.request = None
        if stopped and (state.stop, state.latch, Mode.STOP) != (
            before.stop,
            before.latch,
            before.mode,
        ):
            self.say_stopped()
        elif isinstance(event, safety.Release):
            if stopped:
                text = f"it answers {_numbers(event)}; the robot has {_numbers(before)}"
                self._say(RELEASE_REFUSED, text)
            elif before.mode is Mode.STOP:
                self._say(RELEASED, f"released; it was stopped: {before.reason}")
            else:
                self._say(RELEASED, "it was not stopped")

    def say_stopped(self) -> None:
        """Tell the bridge that the stop is latched, and why."""
        self._say(STOPPED, self.state.reason)

    def _say(self, name: str, text: str) -> None:
        try:
            self._link.send(Event(name, self._robot, clipped(text, TEXT), self.latch))
        except BridgeError:
            # The bridge cannot be told; the stop stands all the same.
            return


def clipped(text: str, most: int) -> str:
    """The first `most` characters, as a frame can carry them: the reason of a stop must never be
    why there is no stop."""
    return speakable(text[:most])[:most]


def _numbers(stops: safety.State | safety.Release) -> str:
    return f"stop {stops.stop} of the bridge and {stops.latch} of its own"

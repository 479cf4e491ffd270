"""The client's own check of measurements and commands, independent of the bridge's."""

from __future__ import annotations

import numpy as np
from msgspec import structs

from robot_bridge.client.safety_monitor import SafetyMonitor
from robot_bridge.errors import LimitError
from robot_bridge.protocol.messages import Command, Float32, Mode
from robot_bridge.safety import state_machine as safety
from robot_bridge.safety.limits import Limits
from robot_bridge.safety.spacing import SpacingMonitor


class CommandFilter:
    """Keeps one robot within its limits, from period to period.

    spacing: None for a robot whose clock waits for answers. unapplied: whether the latest command
    was not followed as it was sent.
    """

    def __init__(
        self, limits: Limits, monitor: SafetyMonitor, spacing: SpacingMonitor | None
    ) -> None:
        self._limits = limits
        self._spacing = spacing
        self._monitor = monitor
        self._last: Command | None = None  # the last good command, as followed
        self._measured: Float32 | None = None  # a period ago, if that made sense
        self.unapplied = False

    def use(self, limits: Limits) -> None:
        """Keep these from the next episode on."""
        self._limits = limits

    def restart(self) -> None:
        """An episode begins: nothing came before."""
        self._last, self.unapplied, self._measured = None, False, None

    def resume(self) -> None:
        """An episode goes on. Between two periods the mode only gets stricter, or a release opens a
        stop: a robot whose mode is not TRACK has stood still."""
        if self._monitor.state.mode is not Mode.TRACK:
            self._last, self.unapplied = None, True

    def judge(self, observation: Float32, time_ns: int, first: bool) -> safety.Violation | None:
        """What an observation (n_o,) breaks; it counts once the answer is in, or is not coming.
        time_ns: of the robot's clock. first: of an episode."""
        limits, spacing = self._limits, self._spacing
        trouble = spacing.note(time_ns, first)[1] if spacing else ""
        before, self._measured = self._measured, None
        elapsed = spacing.elapsed if spacing else 1.0
        if not limits.sound(observation, before, elapsed):
            if invalid := limits.invalid(observation):
                return safety.Violation(Mode.HOLD, invalid)
            if broken := limits.broken(observation, before, elapsed):
                self._measured = observation
                return safety.Violation(*broken)
        self._measured = observation
        return safety.Violation(Mode.HOLD, trouble) if trouble else None

    def guard(
        self, sequence: int, answer: Command | None, violation: safety.Violation | None
    ) -> Command:
        """The command to follow: within the margins, and no more than the state allows. sequence:
        of the observation. answer: the bridge's, None for its silence."""
        limits, monitor = self._limits, self._monitor
        if violation is not None:
            monitor.occur(violation)
        # Without an answer the last command stands for as long as the state says TRACK.
        command = answer if answer is not None else self._last
        clipped: tuple[str, ...] = ()
        if command is not None and monitor.state.mode is Mode.TRACK:
            try:
                before = self._last.payload if self._last is not None else None
                allowed = self._spacing.allowed if self._spacing else 1.0
                payload, clipped = limits.clamp(command.payload, before, allowed)
                command = structs.replace(command, sequence=sequence, payload=payload)
            except LimitError as error:
                monitor.occur(safety.Violation(Mode.HOLD, str(error)))
        mode = monitor.state.mode
        self.unapplied = answer is None or bool(clipped) or mode is not Mode.TRACK
        if command is None or mode is not Mode.TRACK:
            self._last = None
            still = np.zeros(limits.action_size, np.float32)
            version = command.belief_version if command is not None else 0
            over = answer is not None and answer.over
            return Command(sequence, 0, mode, still, version, over=over)
        self._last = command
        return command

"""How a family's world stands as one simulated robot: its bodies, its episodes' ends, its measures.

The twin and the film know every family by this alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from robot_bridge.protocol.probe_messages import ProbeTarget
from sim.core.worlds import Step


@dataclass(frozen=True)
class Measure:
    """A number read from a single world.

    unit: SI. of: (worlds, latest step) → value; the step is None before the first.
    full: the value that fills a film's bar. mark: a value that the bar marks.
    """

    unit: str
    of: Callable[[Any, Step | None], float]
    full: float = 1.0
    mark: float | None = None


def _reward(worlds: Any, step: Step | None) -> float:
    return 0.0 if step is None else float(step.measured_reward[0])


def _nothing(worlds: Any) -> None:
    """The default of `Embodiment.hold` and `relax`."""


@dataclass(frozen=True)
class Probing:
    """How a world is touched. target: worlds → what the cell is known to hold. allow: (worlds,
    whether) → the reference may leave the task's workspace, or no longer."""

    target: Callable[[Any], ProbeTarget]
    allow: Callable[[Any, bool], None]


@dataclass(frozen=True)
class Embodiment:
    """One simulated robot of a family.

    bodies: name → maker of one world; empty for the training world alone. The first is the default.
    measures: what an Outcome tells beside success, duration and return, read after the last step.
    gauge: name and measure of what a film shows in every period.
    succeeded, failed: the Outcome's reason where a terminal state ends an episode.
    hold: called before a step under HOLD. relax: called before a step under DAMP or STOP, so that
        stiffness holds the robot no longer. Under every mode but TRACK the action is 0.
    probing: None for a family that has nothing to touch.
    rest: control periods under `relax` after a stop or a failure, which may leave the robot in
        motion; the episode's outcome does not count them.
    """

    bodies: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    measures: Mapping[str, Measure] = field(default_factory=dict)
    gauge: tuple[str, Measure] = ("measured reward", Measure("1", _reward))
    succeeded: str = "succeeded"
    failed: str = "failed"
    hold: Callable[[Any], None] = _nothing
    relax: Callable[[Any], None] = _nothing
    probing: Probing | None = None
    rest: int = 0

    def ending(self, step: Step) -> str:
        """Why one world's episode ended with this step; "" if it goes on."""
        if not step.done[0]:
            return ""
        if step.diverged[0]:
            return "the simulation failed"
        if step.discount[0] == 0:
            return self.succeeded if step.success[0] else self.failed
        return "time is up"

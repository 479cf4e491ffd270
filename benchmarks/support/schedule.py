"""The cost of two learners' steps, and the time of a whole schedule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from adapt.errors import AcclimateError


@dataclass(frozen=True)
class Cost:
    """Seconds of one gradient step, of one step of the bare environment, of one collected step."""

    gradient: float
    environment: float
    collecting: float


@dataclass(frozen=True)
class Schedule:
    """A published configuration's schedule, in steps.

    first: environment steps before the first gradient step.
    steps, updates, evaluated: environment steps, gradient steps and environment steps of its own
        evaluations in each of `iterations`.
    """

    first: int
    steps: int
    updates: int
    evaluated: int
    iterations: int

    @classmethod
    def of(cls, config: dict[str, Any]) -> Schedule:
        c = config["algo_params"]
        visit = c["num_steps_prior"] + c["num_steps_posterior"] + c["num_extra_rl_steps_posterior"]
        # Three times over as many tasks as there are test tasks: training tasks with contexts from
        # the replay, training tasks as in a test, test tasks.
        each = (1 + 2 * c["num_evals"]) * c["num_steps_per_eval"]
        return cls(
            first=config["n_train_tasks"] * c["num_initial_steps"],
            steps=c["num_tasks_sample"] * visit,
            updates=c["num_train_steps_per_itr"],
            evaluated=config["n_eval_tasks"] * each,
            iterations=c["num_iterations"],
        )

    def until(self, steps: int) -> int:
        """Iterations after which it has collected so many environment steps, at most all."""
        return min(self.iterations, max(0, -(-(steps - self.first) // self.steps)))


def middle(costs: Sequence[Cost]) -> Cost:
    """Medians over turns, so that a short disturbance by another program has no effect."""
    return Cost(*map(float, np.median([astuple(c) for c in costs], axis=0)))


def ratios(theirs: Sequence[Cost], ours: Sequence[Cost], rows: float) -> dict[str, float]:
    """How many times as long the reference takes: medians over turns.

    rows: of its gradient step, over ours.
    """

    def of(field: str) -> float:
        each = [getattr(t, field) / getattr(o, field) for t, o in zip(theirs, ours, strict=True)]
        return float(np.median(each))

    return {
        "a gradient step": of("gradient"),
        "a gradient step, per row": of("gradient") / rows,
        "an environment step": of("environment"),
        "a collected step": of("collecting"),
    }


def hours(schedule: Schedule, cost: Cost, iterations: int) -> dict[str, float]:
    """Time of this many iterations of a schedule, from the cost of their steps [h]."""
    steps = schedule.first + iterations * schedule.steps
    return {
        "learning": iterations * schedule.updates * cost.gradient / 3600,
        "collecting": steps * cost.collecting / 3600,
        "its evaluations": iterations * schedule.evaluated * cost.collecting / 3600,
    }


def seconds_to(log: Sequence[dict[str, float]], level: float) -> float:
    """Wall-clock [s] of a run until a validation's last episode first returned at least `level`.

    log: the run's rows, from its first iteration. The time includes collecting, learning and
    validating. Raises AcclimateError if no validation reached the level.
    """
    total, best = 0.0, -np.inf
    for row in log:
        total += sum(value for name, value in row.items() if name.startswith("time/"))
        found = {int(k.rsplit("_", 1)[1]): v for k, v in row.items() if "/measured_" in k}
        if found:
            best = max(best, found[max(found)])
        if best >= level:
            return total
    raise AcclimateError(f"no validation returned {level:g}; the best returned {best:.1f}")

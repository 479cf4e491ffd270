"""What was measured of one run on one group of tasks, task by task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Belief = Literal["adapting", "prior"]


@dataclass(frozen=True)
class Row:
    """One group's results (K,), per episode, or per adaptation step where an algorithm adapts by
    steps; of a belief kept at the prior one column, over all of its episodes.

    behind: episodes of adaptation behind each column.
    success, steps, returns, measured: means over tasks.
    worst: mean measured return over the worst 5 % of the tasks, at least one, each episode's own.
    """

    group: str
    belief: str
    tasks: int
    behind: list[int]
    success: list[float]
    steps: list[float]
    returns: list[float]
    measured: list[float]
    worst: list[float]


@dataclass(frozen=True)
class Measured:
    """One group's results, of N tasks in each of K episodes or adaptation steps.

    belief: "adapting" to what is met, or kept at the "prior", where a new task starts.
    behind: (K,) episodes of adaptation behind each column; 0 throughout at the prior.
    tasks: (N, n_p) of the tasks' parameters, in their units.
    success, steps, returns, measured: (N, K).
    """

    group: str
    belief: Belief
    behind: list[int]
    tasks: np.ndarray
    success: np.ndarray
    steps: np.ndarray
    returns: np.ndarray
    measured: np.ndarray

    def judged(self, by: Literal["success", "return"]) -> np.ndarray:
        """What the family is judged by (N, K): success, or the return of the measured reward."""
        return self.success.astype(float) if by == "success" else self.measured

    def row(self) -> Row:
        def over_tasks(array: np.ndarray) -> list[float]:
            means = array.mean(0)
            return (means if self.belief == "adapting" else means.mean(keepdims=True)).tolist()

        tail = worst(self.measured)
        return Row(
            group=self.group,
            belief=self.belief,
            tasks=len(self.tasks),
            behind=self.behind if self.belief == "adapting" else [0],
            success=over_tasks(self.success),
            steps=over_tasks(self.steps),
            returns=over_tasks(self.returns),
            measured=over_tasks(self.measured),
            worst=over_tasks(tail[None]),
        )


def worst(returns: np.ndarray) -> np.ndarray:
    """Means (K,) over the worst 5 % of the tasks, at least one, of returns (B, K)."""
    n = max(1, round(0.05 * len(returns)))
    return np.sort(returns, axis=0)[:n].mean(axis=0)

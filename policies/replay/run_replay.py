"""Replay of runs: what a world met while it stayed on one task, in order.

A run is T consecutive control steps, several episodes, on one task. Contexts are prefixes of runs,
exactly what a robot has seen after so many steps; training rows come from any run of the task.
All arrays are allocated once, indexed [run, step], and a batch is one gather per field.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor


@dataclass
class Run:
    """W runs of T steps as collected; arrays (W, T, …), task (W,)."""

    task: np.ndarray
    observation: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    measured_reward: np.ndarray
    next_observation: np.ndarray
    discount: np.ndarray
    valid: np.ndarray


@dataclass(frozen=True)
class Rows:
    """Training rows: (N, ·) each.

    reward: of the row's step and of those that follow it, up to n_step in all, discounted.
    next_observation: after the last of them. discount: of the value there, less one γ, as for a
        single step; 0 after a fall.
    """

    observation: Tensor
    action: Tensor
    reward: Tensor
    next_observation: Tensor
    discount: Tensor


@dataclass
class RunReplay:
    """Ring of runs with an index from task to its runs.

    Args:
        capacity: runs kept; the oldest is overwritten.
        steps: T.
        n_o, n_a: sizes.
        tasks: number of training tasks.
        reward_in_context, next_in_context: what makes a transition row besides o and a.
        n_step: steps whose rewards a training row sums, where its episode has as many left.
        gamma: γ between them.
    """

    capacity: int
    steps: int
    n_o: int
    n_a: int
    tasks: int
    reward_in_context: bool = True
    next_in_context: bool = True
    n_step: int = 1
    gamma: float = 1.0
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    count: int = 0

    def __post_init__(self) -> None:
        shape = (self.capacity, self.steps)
        zeros = lambda *tail: np.zeros((*shape, *tail), np.float32)  # noqa: E731
        self.arrays = {
            "observation": zeros(self.n_o),
            "action": zeros(self.n_a),
            "next_observation": zeros(self.n_o),
            "reward": zeros(),
            "measured_reward": zeros(),
            "discount": zeros(),
            "valid": zeros(),
            "task": np.full(self.capacity, -1, np.int64),
        }
        # Each run's steps, the valid ones first, and how many of them those are.
        self._valid_first = np.zeros(shape, np.int64)
        self._valid_count = np.zeros(self.capacity, np.int64)

    @property
    def filled(self) -> int:
        return min(self.count, self.capacity)

    def add(self, run: Run) -> None:
        """Append W runs; one without a single valid step is left out."""
        kept = run.valid.any(axis=1)
        if not kept.all():
            run = Run(**{name: value[kept] for name, value in vars(run).items()})
        n = len(run.task)
        if run.observation.shape != (n, self.steps, self.n_o):
            raise ValueError(
                f"runs have shape {run.observation.shape}, expected {(n, self.steps, self.n_o)}"
            )
        slots = (self.count + np.arange(n)) % self.capacity
        for name, array in self.arrays.items():
            array[slots] = getattr(run, name)
        self._note_valid(slots)
        self.count += n

    def sample_runs(self, n: int, recent: int, rng: np.random.Generator) -> np.ndarray:
        """Indices (n,) of runs drawn from the newest `recent`."""
        newest = min(self.filled, recent)
        return (self.count - 1 - rng.integers(newest, size=n)) % self.capacity

    def context(self, runs: np.ndarray) -> tuple[Tensor, Tensor]:
        """Transitions (n, T, n_c) of whole runs and their validity (n, T)."""
        a = self.arrays
        parts = [a["observation"][runs], a["action"][runs]]
        if self.reward_in_context:
            parts.append(a["measured_reward"][runs][..., None])
        if self.next_in_context:
            parts.append(a["next_observation"][runs])
        return torch.from_numpy(np.concatenate(parts, -1)), torch.from_numpy(a["valid"][runs])

    def rows(self, runs: np.ndarray, n: int, rng: np.random.Generator) -> Rows:
        """n valid rows for each of the runs' tasks, task by task: (len(runs) · n, ·)."""
        a = self.arrays
        order, start, size = self._index()
        tasks = a["task"][runs]
        pick = start[tasks][:, None] + rng.integers(size[tasks][:, None], size=(len(runs), n))
        run = order[pick].ravel()
        step = self._valid_first[run, rng.integers(self._valid_count[run])]
        reward, discount, last = self._look_ahead(run, step)
        found = (
            a["observation"][run, step],
            a["action"][run, step],
            reward,
            a["next_observation"][run, last],
            discount,
        )
        return Rows(*map(torch.from_numpy, found))

    def _index(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Runs sorted by task, and each task's first place and count in that order."""
        task = self.arrays["task"][: self.filled]
        order = np.argsort(task, kind="stable")
        size = np.bincount(task, minlength=self.tasks)
        return order, np.concatenate([[0], np.cumsum(size)[:-1]]), size

    def state_dict(self) -> dict[str, object]:
        n = self.filled
        return {
            "count": self.count,
            "arrays": {k: torch.from_numpy(v[:n].copy()) for k, v in self.arrays.items()},
        }

    def load_state_dict(self, state: dict) -> None:
        self.count = int(state["count"])
        for name, array in self.arrays.items():
            array[: self.filled] = state["arrays"][name].numpy()
        self._note_valid(np.arange(self.filled))

    def _look_ahead(
        self, run: np.ndarray, step: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """From steps (N,) of runs (N,): the sum of n_step rewards, what it multiplies the value
        after them by, and the last step of them.

        An episode's end ends the sum, also where time alone ended it: the next step then begins
        where this one did not lead.
        """
        a = self.arrays
        last = step.copy()
        total, product = a["reward"][run, step], a["discount"][run, step]
        for ahead in range(1, self.n_step):
            following = np.minimum(last + 1, self.steps - 1)
            came, began = a["next_observation"][run, last], a["observation"][run, following]
            on = (last + 1 == step + ahead) & (following > last)
            on &= (came == began).all(-1) & (a["valid"][run, following] > 0)
            factor = np.float32(self.gamma) * product
            total = np.where(on, total + factor * a["reward"][run, following], total)
            product = np.where(on, factor * a["discount"][run, following], product)
            last = np.where(on, following, last)
        return total, product, last

    def _note_valid(self, slots: np.ndarray) -> None:
        valid = self.arrays["valid"][slots]
        self._valid_first[slots] = np.argsort(-valid, axis=1, kind="stable")
        self._valid_count[slots] = valid.sum(axis=1).astype(np.int64)

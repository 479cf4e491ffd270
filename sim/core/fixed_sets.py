"""Fixed task sets: every run trains on the same tasks and is evaluated on the same tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class FixedSets:
    """Numbers of training and held-out tasks, and the seed that they are drawn with.

    The two sets are independent draws from the same ranges, each from its own stream: the held-out
    set does not depend on the size of the training set.

    Attributes:
        train, held_out: numbers of tasks; held_out is 0 where training sees every possible task,
            train is 0 where no run may train on these tasks.
        seed: of both draws.
    """

    train: int
    held_out: int
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("train", "held_out", "seed"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(f"{name} must be a whole number from 0 up, got {value!r}")
        if not self.train + self.held_out:
            raise ValueError("train and held_out must not both be 0")

    def size(self, side: Literal["train", "held_out"]) -> int:
        return self.train if side == "train" else self.held_out

    def generator(self, side: Literal["train", "held_out"]) -> np.random.Generator:
        """The generator of one side's tasks."""
        streams = np.random.SeedSequence(self.seed).spawn(2)
        return np.random.default_rng(streams[0 if side == "train" else 1])

    def pick(
        self, n: int, side: Literal["train", "held_out"], rng: np.random.Generator
    ) -> np.ndarray:
        """Indices (n,) into one side's tasks, in shuffled passes: all are equally frequent."""
        size = self.size(side)
        passes = [rng.permutation(size) for _ in range(max(1, -(-n // size)))]
        return np.concatenate(passes)[:n]

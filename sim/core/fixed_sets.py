"""Task sets drawn once and for all, so that everyone trains and is judged on the same tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class FixedSets:
    """How many tasks there are on each side of the split, and what they are drawn with.

    The two sets are independent draws from the same ranges, each from a stream of its own: a
    longer training set leaves the held-out one as it was.

    Attributes:
        train, held_out: tasks; no held-out ones where training sees every task there is.
        seed: of both draws.
    """

    train: int
    held_out: int
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("train", 1), ("held_out", 0), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a whole number from {least} up, got {value!r}")

    def size(self, side: Literal["train", "held_out"]) -> int:
        return self.train if side == "train" else self.held_out

    def generator(self, side: Literal["train", "held_out"]) -> np.random.Generator:
        """What the side's tasks are drawn with."""
        streams = np.random.SeedSequence(self.seed).spawn(2)
        return np.random.default_rng(streams[0 if side == "train" else 1])

    def pick(
        self, n: int, side: Literal["train", "held_out"], rng: np.random.Generator
    ) -> np.ndarray:
        """Indices (n,) into the side's tasks, in shuffled passes: each as often as the others."""
        size = self.size(side)
        passes = [rng.permutation(size) for _ in range(max(1, -(-n // size)))]
        return np.concatenate(passes)[:n]

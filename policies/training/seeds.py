"""Independent random streams from a run's one seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Seeds:
    """One stream per use, so that a new use leaves the others alone."""

    tasks: np.random.Generator
    loop: np.random.Generator
    learner: int
    worlds: int
    validation: int

    @staticmethod
    def of(seed: int) -> Seeds:
        children = np.random.SeedSequence(seed).spawn(5)
        number = [int(c.generate_state(1)[0]) for c in children]
        return Seeds(
            np.random.default_rng(children[0]),
            np.random.default_rng(children[1]),
            number[2],
            number[3],
            number[4],
        )

"""Unknown quantities and what is believed of them before a recording is seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

WIDTH = 4.0
"""Standard deviations of the prior within which an estimate may lie."""


@dataclass(frozen=True)
class Prior:
    """One quantity: normal, or log-normal where it must be positive.

    name: such as "friction.elbow". unit: SI, "1" where there is none.
    mean: the nominal value; of a log-normal one, its median.
    std: in `unit` for scale "linear", of the logarithm for scale "log".
    nuisance: estimated so that it does not bias the others, and not reported.
    widen: what a posterior's standard deviation is multiplied by, where errors of the model look
        like this quantity.
    """

    name: str
    unit: str
    mean: float
    std: float
    scale: Literal["linear", "log"] = "linear"
    nuisance: bool = False
    widen: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and math.isfinite(self.std) and self.std > 0):
            raise ValueError(f"prior of {self.name}: expected a finite mean and std > 0")
        if not self.widen >= 1:
            raise ValueError(f"prior of {self.name}: expected widen of 1 or more")
        if self.scale == "log" and self.mean <= 0:
            raise ValueError(f"prior of {self.name}: a log scale needs mean > 0, got {self.mean:g}")


@dataclass(frozen=True)
class Priors:
    """Independent priors, in the order of every parameter vector x (n,).

    Solvers work in standard units: x = 0 is the prior's mean, and x = 1 is one of its standard
    deviations above it.
    """

    items: tuple[Prior, ...]

    @cached_property
    def names(self) -> list[str]:
        return [p.name for p in self.items]

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def log(self) -> np.ndarray:
        """Which of them (n,) have a logarithmic scale."""
        return np.array([p.scale == "log" for p in self.items])

    @cached_property
    def center(self) -> np.ndarray:
        """Means (n,) in the coordinates in which the priors are normal."""
        return np.array([math.log(p.mean) if p.scale == "log" else p.mean for p in self.items])

    @cached_property
    def std(self) -> np.ndarray:
        """Standard deviations (n,) in the same coordinates."""
        return np.array([p.std for p in self.items])

    @cached_property
    def nominal(self) -> np.ndarray:
        """Means (n,) in physical units."""
        return np.array([p.mean for p in self.items])

    def to_physical(self, x: np.ndarray) -> np.ndarray:
        """Values (..., n) in physical units from standard units (..., n)."""
        values = self.center + np.asarray(x, float) * self.std
        return np.where(self.log, np.exp(np.where(self.log, values, 0.0)), values)

    def to_standard(self, values: np.ndarray) -> np.ndarray:
        """Inverse of `to_physical`; a value not above 0 on a log scale becomes −`WIDTH`."""
        values = np.asarray(values, float)
        positive = self.log & (values > 0)
        linear = np.where(positive, np.log(np.where(positive, values, 1.0)), values)
        return np.where(self.log & ~positive, -WIDTH, (linear - self.center) / self.std)

    def sample(self, rng: np.random.Generator, limit: float = 2.0) -> np.ndarray:
        """Physical values (n,) drawn from the priors within ±`limit` standard deviations."""
        return self.to_physical(np.clip(rng.normal(size=len(self)), -limit, limit))

    def indices(self, names: Sequence[str]) -> np.ndarray:
        """Where the named ones stand."""
        return np.array([self.names.index(name) for name in names], int)

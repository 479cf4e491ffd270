"""A measured distribution over some of a task space's parameters: what a calibration found out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_ROUNDS = 1000
"""Rounds of draws before a distribution is declared to lie outside its range."""


@dataclass(frozen=True)
class Measured:
    """Jointly normal parameters, truncated to their ranges.

    A parameter on a logarithmic scale is normal in its natural logarithm, and mean and covariance
    are the logarithm's.

    Attributes:
        names: of k parameters of the space.
        mean: (k,), in each parameter's unit or its logarithm.
        covariance: (k, k), symmetric and positive semi-definite.
    """

    names: tuple[str, ...]
    mean: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        k = len(self.names)
        if len(set(self.names)) != k or k == 0:
            raise ValueError(f"expected at least one name, and none twice, got {self.names}")
        if len(self.mean) != k or [len(row) for row in self.covariance] != [k] * k:
            raise ValueError(f"expected a mean of {k} and a covariance of {k} × {k} numbers")
        matrix = np.array(self.covariance)
        if not (np.isfinite(self.mean).all() and np.isfinite(matrix).all()):
            raise ValueError("mean and covariance must be finite numbers")
        size = np.abs(matrix).max()
        if np.abs(matrix - matrix.T).max() > 1e-9 * size:
            raise ValueError("the covariance is not symmetric")
        if np.linalg.eigvalsh(matrix).min() < -1e-9 * size:
            raise ValueError("the covariance has a negative eigenvalue; it is no covariance")

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        low: np.ndarray,
        high: np.ndarray,
        log: np.ndarray,
    ) -> np.ndarray:
        """Draw n joint values (n, k), in the parameters' units.

        low, high (k,): the ranges, in those units. log (k,): which scales are logarithmic.
        Raises ValueError, naming the parameter, if hardly any draw is within the ranges.
        """
        root = _root(np.array(self.covariance))
        kept: list[np.ndarray] = []
        missed = np.zeros(len(self.names), int)
        count = 0
        for _ in range(MAX_ROUNDS):
            draws = np.array(self.mean) + rng.normal(size=(n, len(self.names))) @ root.T
            draws = np.where(log, np.exp(np.where(log, draws, 0.0)), draws)
            inside = (draws >= low) & (draws <= high)
            missed += np.count_nonzero(~inside, axis=0)
            kept.append(draws[inside.all(axis=1)])
            count += len(kept[-1])
            if count >= n:
                return np.concatenate(kept)[:n]
        worst = int(missed.argmax())
        raise ValueError(
            f"hardly any draw of {self.names[worst]!r} is within [{low[worst]:g}, "
            f"{high[worst]:g}]; the measurement contradicts the range"
        )

    def marginal(self, names: Sequence[str]) -> Measured:
        """Of some of its parameters alone."""
        at = [self.names.index(name) for name in names]
        return Measured(
            tuple(names),
            tuple(self.mean[i] for i in at),
            tuple(tuple(self.covariance[i][j] for j in at) for i in at),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain containers for YAML and JSON."""
        return {
            "names": list(self.names),
            "mean": list(self.mean),
            "covariance": [list(row) for row in self.covariance],
        }

    @staticmethod
    def from_dict(data: object) -> Measured:
        """Inverse of `to_dict`. Raises ValueError saying what is wrong."""
        keys = {"names", "mean", "covariance"}
        if not isinstance(data, Mapping) or set(data) != keys:
            raise ValueError(f"expected a mapping with keys {sorted(keys)}")
        names, mean, rows = data["names"], data["mean"], data["covariance"]
        if not _sequence(names) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"names must be a list of names, got {names!r}")
        if not _numbers(mean):
            raise ValueError(f"mean must be a list of numbers, got {mean!r}")
        if not _sequence(rows) or not all(_numbers(row) for row in rows):
            raise ValueError("covariance must be a list of rows of numbers")
        return Measured(
            tuple(names),
            tuple(float(v) for v in mean),
            tuple(tuple(float(v) for v in row) for row in rows),
        )


def _root(covariance: np.ndarray) -> np.ndarray:
    """A square root (k, k), also of a covariance that is singular."""
    sizes, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(sizes, 0.0))


def _sequence(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _numbers(value: Any) -> bool:
    return _sequence(value) and all(
        isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in value
    )

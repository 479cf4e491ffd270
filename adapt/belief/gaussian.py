"""Belief: a Gaussian over the latent, the product of its prior and one factor per transition.

With a prior N(m0, v0) and factors N(m_n, v_n), independent in each dimension:

    precision = 1/v0 + sum_n 1/v_n        mean = (m0/v0 + sum_n m_n/v_n) / precision

Precisions add, so a new transition costs O(n_z) and needs no gradient; a transition that leaves
the context is subtracted again (Rakelly et al. 2019, eq. 5, with an explicit prior).
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from adapt.belief.context import Ring, RingState
from adapt.errors import BeliefError, SnapshotError

Float64 = npt.NDArray[np.float64]

# A subtraction keeps 16 digits of what was taken away, not of what is left. Where the part taken
# away is this many times what is left, the sums are formed anew; up to there 12 digits stay.
MAX_CANCELLATION = 1e4


STATELESS = np.zeros(0, np.float32)
STATELESS.setflags(write=False)


class Belief(msgspec.Struct, frozen=True, eq=False):
    """What an adapter believes of its task.

    mean, variance: (n_z,), float64, read-only, what people and the guard read. count: transitions
    behind it. version: its number with the adapter that made it; no two beliefs of one adapter
    share one. state: (n_s,) float32, read-only, of a belief that a network carries on; else empty.
    """

    mean: Float64
    variance: Float64
    count: int
    version: int
    state: npt.NDArray[np.float32] = STATELESS

    def sample(self, rng: np.random.Generator, exploration: float = 1.0) -> npt.NDArray[np.float32]:
        """One latent (n_z,), read-only; `exploration` scales the standard deviations."""
        noise = exploration * rng.standard_normal(self.mean.size)
        latent = (self.mean + np.sqrt(self.variance) * noise).astype(np.float32)
        latent.setflags(write=False)
        return latent

    def statistics(self) -> npt.NDArray[np.float32]:
        """Mean and log variance (2 n_z,), read-only."""
        found = np.concatenate((self.mean, np.log(self.variance))).astype(np.float32)
        found.setflags(write=False)
        return found


class GaussianPrior(msgspec.Struct, frozen=True, eq=False):
    """What beliefs start from. mean, variance: (n_z,), float64, read-only."""

    mean: Float64
    variance: Float64

    def __post_init__(self) -> None:
        self.mean.setflags(write=False)
        self.variance.setflags(write=False)

    @staticmethod
    def of(mean: npt.ArrayLike, variance: npt.ArrayLike) -> GaussianPrior:
        """From any numbers (n_z,), in arrays of its own."""
        return GaussianPrior(np.array(mean, np.float64), np.array(variance, np.float64))

    def belief(self, version: int) -> Belief:
        """Before anything was observed."""
        return Belief(self.mean, self.variance, 0, version)

    def ratio(self, other: GaussianPrior) -> tuple[Float64, Float64]:
        """Precision and precision x mean (n_z,) by which a belief that started from `other` is
        multiplied to have started from this one. It is at least as sure in every dimension."""
        mine, theirs = (_natural(each.mean, each.variance) for each in (self, other))
        precision, information = (mine - theirs).reshape(2, -1)
        return np.maximum(precision, 0.0), information

    def encode(self) -> bytes:
        """(2 n_z,) little-endian float64: mean, then variance."""
        return np.concatenate((self.mean, self.variance)).astype("<f8").tobytes()

    @staticmethod
    def decode(data: bytes, size: int) -> GaussianPrior:
        """Inverse of `encode`; size: n_z. Raises SnapshotError."""
        if len(data) != 16 * size:
            raise SnapshotError(
                f"a prior of {size} dimensions takes {16 * size} bytes; found {len(data)}"
            )
        mean, variance = np.frombuffer(data, "<f8").astype(np.float64).reshape(2, size).copy()
        if not (np.isfinite(mean).all() and np.isfinite(variance).all() and (variance > 0).all()):
            raise SnapshotError("the stored prior is not a Gaussian")
        return GaussianPrior(mean, variance)


class AccumulatorState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An accumulator at rest: its factors, and both sums (2 n_z,), float64, little-endian."""

    factors: RingState
    sums: bytes


class Accumulator:
    """The product over the last `capacity` factors, in float64 natural parameters.

    prior_mean, prior_variance: (n_z,).
    """

    def __init__(
        self, prior_mean: npt.ArrayLike, prior_variance: npt.ArrayLike, capacity: int
    ) -> None:
        mean = np.asarray(prior_mean, np.float64)
        self._prior = _natural(mean, np.asarray(prior_variance, np.float64))
        self._size = mean.size
        # One row per factor and one row of sums: precision, then precision x mean. Held together,
        # both are updated by one addition.
        self._factors = Ring(capacity, 2 * self._size, np.float64)
        self._sums = self._prior.copy()

    def add(self, mean: npt.NDArray[np.floating], variance: npt.NDArray[np.floating]) -> None:
        """Multiply one factor (n_z,) in, and divide the oldest out if the ring is full.

        Raises BeliefError, unchanged, unless both are finite and the variance positive.
        """
        factor = _natural(mean.astype(np.float64), variance.astype(np.float64))
        dropped = self._factors.oldest()
        if dropped is None:
            self._factors.append(factor)
            self._sums += factor
            return
        left = self._sums - dropped
        precision = left[: self._size]
        lost = np.abs(dropped).reshape(2, self._size)
        self._factors.append(factor)
        # Each time round the ring the sums are formed anew, so that rounding never builds up.
        if self._factors.next == 0 or (lost > MAX_CANCELLATION * precision).any():
            self._sums = self._prior + self._factors.filled.sum(axis=0)
        else:
            self._sums = left + factor

    @property
    def count(self) -> int:
        """Factors in the product."""
        return self._factors.count

    def factors(self) -> tuple[Float64, Float64]:
        """Precision and precision x mean (n_z,) of the factors alone, without the prior."""
        precision, information = (self._sums - self._prior).reshape(2, self._size)
        # A difference of sums may end a rounding below 0.
        return np.maximum(precision, 0.0), information

    def belief(self, version: int) -> Belief:
        """The belief as it stands, in memory of its own."""
        precision, information = self._sums.reshape(2, self._size)
        variance = 1.0 / precision
        mean = information * variance
        mean.setflags(write=False)
        variance.setflags(write=False)
        return Belief(mean, variance, self._factors.count, version)

    def snapshot(self) -> AccumulatorState:
        return AccumulatorState(self._factors.snapshot(), self._sums.astype("<f8").tobytes())

    def restore(self, state: AccumulatorState) -> None:
        """Take over a state. Raises SnapshotError, unchanged, if it does not fit."""
        # The sums are stored, not formed anew, so that what follows agrees to the last bit.
        if len(state.sums) != self._sums.nbytes:
            raise SnapshotError(
                f"belief of {self._size} dimensions takes {self._sums.nbytes} bytes; found "
                f"{len(state.sums)}"
            )
        sums = np.frombuffer(state.sums, "<f8").astype(np.float64)
        if not (np.isfinite(sums).all() and (sums[: self._size] > 0).all()):
            raise SnapshotError("the stored belief is not a Gaussian")
        self._factors.restore(state.factors)
        self._sums = sums


def _natural(mean: Float64, variance: Float64) -> Float64:
    """Precision and precision x mean (2 n_z,)."""
    for index, (m, v) in enumerate(zip(mean.tolist(), variance.tolist(), strict=True)):
        # A NaN compares false, so this refuses it too.
        if not (0.0 < v < np.inf and -np.inf < m < np.inf):
            raise BeliefError(
                f"factor dimension {index} has mean {m:g} and variance {v:g}; expected finite "
                "numbers and a positive variance"
            )
    return np.concatenate((1.0 / variance, mean / variance))

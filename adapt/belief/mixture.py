"""MixtureBelief: several Gaussians over the latent, for what one Gaussian cannot say, such as "left
or right, but not in between".

    q(z) = sum_k w_k N(m_k, L_k L_k^T)

Its mean and variance are its moments. With a prior of components (w_k, m_k, v_k) and factors whose
product has precision P and precision x mean h, independent in each dimension, component k of the
posterior has precision 1/v_k + P and mean (m_k/v_k + h) / precision, and its weight is multiplied
by the evidence that the component gives to the factors. `MixtureBelief.times` is the same for full
covariances.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from adapt.belief.gaussian import STATELESS, Belief
from adapt.errors import BeliefError

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


class MixtureBelief(Belief, frozen=True, eq=False):
    """weights: (K,), which sum to 1. means: (K, n_z). roots: (K, n_z, n_z), lower triangular, the
    covariances' Cholesky factors. All float64, read-only."""

    weights: Float64 = STATELESS.astype(np.float64)
    means: Float64 = STATELESS.astype(np.float64)
    roots: Float64 = STATELESS.astype(np.float64)

    def sample(self, rng: np.random.Generator, exploration: float = 1.0) -> Float32:
        component = int(np.searchsorted(np.cumsum(self.weights), rng.random(), side="right"))
        # The sum may end a rounding below 1.
        component = min(component, self.weights.size - 1)
        noise = exploration * rng.standard_normal(self.mean.size)
        latent = (self.means[component] + self.roots[component] @ noise).astype(np.float32)
        latent.setflags(write=False)
        return latent

    def times(self, precision: Float64, information: Float64) -> MixtureBelief:
        """The product with a Gaussian factor, independent in each dimension, of this precision and
        precision x mean, (n_z,). Raises BeliefError where nothing finite is left."""
        m, r = self.means, self.roots
        # With S = I + Rᵀ P R a component's covariance R Rᵀ becomes R S⁻¹ Rᵀ.
        inner = np.eye(m.shape[1]) + r.mT @ (precision[:, None] * r)
        half = np.linalg.solve(np.linalg.cholesky(inner), r.mT)
        covariance = half.mT @ half
        off = information - precision * m
        moved = (covariance @ off[:, :, None])[:, :, 0]
        evidence = m @ information - 0.5 * (m**2) @ precision + 0.5 * (off * moved).sum(axis=1)
        log_weights = evidence - 0.5 * np.linalg.slogdet(inner)[1]
        log_weights[self.weights > 0.0] += np.log(self.weights[self.weights > 0.0])
        log_weights[self.weights == 0.0] = -np.inf
        weights = np.exp(log_weights - log_weights.max())
        roots = np.linalg.cholesky(covariance)
        return make_mixture(weights, m + moved, roots, self.count, self.version, self.state)


def make_mixture(
    weights: npt.NDArray[np.floating],
    means: npt.NDArray[np.floating],
    roots: npt.NDArray[np.floating],
    count: int,
    version: int,
    state: Float32 = STATELESS,
) -> MixtureBelief:
    """A belief from components in the shapes of `MixtureBelief`; weights of any positive sum.

    Raises BeliefError unless all numbers are finite, no weight is negative, one is positive, and
    every root has a positive diagonal and zeros above it.
    """
    w, m, r = (np.array(each, np.float64) for each in (weights, means, roots))
    diagonal = np.diagonal(r, axis1=-2, axis2=-1)
    if not (np.isfinite(w).all() and np.isfinite(m).all() and np.isfinite(r).all()):
        raise BeliefError("a component of the mixture is not finite")
    if not ((w >= 0.0).all() and w.sum() > 0.0):
        raise BeliefError(f"mixture weights are {w}; expected none below 0 and one above")
    if not (diagonal > 0.0).all() or np.triu(r, 1).any():
        raise BeliefError(
            "a component's covariance root is not lower triangular with a positive diagonal"
        )
    w /= w.sum()
    mean = w @ m
    # Within the components and between them.
    variance = w @ ((r**2).sum(axis=-1) + (m - mean) ** 2)
    for array in (w, m, r, mean, variance):
        array.setflags(write=False)
    return MixtureBelief(mean, variance, count, version, state, w, m, r)


class MixturePrior:
    """weights: (K,). means, variances: (K, n_z)."""

    def __init__(
        self,
        weights: Sequence[float],
        means: Sequence[Sequence[float]],
        variances: Sequence[Sequence[float]],
    ) -> None:
        self._log_weights = np.log(np.asarray(weights, np.float64))
        self._means = np.asarray(means, np.float64)
        self._variances = np.asarray(variances, np.float64)

    def times(
        self, precision: Float64, information: Float64, count: int, version: int
    ) -> MixtureBelief:
        """The posterior after factors whose product has this precision and precision x mean, both
        (n_z,), zero without factors."""
        m, v = self._means, self._variances
        total = 1.0 / v + precision
        moved = m / v + information
        evidence = moved**2 / total - m**2 / v - np.log(v * total)
        log_weights = self._log_weights + 0.5 * evidence.sum(axis=1)
        weights = np.exp(log_weights - log_weights.max())
        roots = np.sqrt(1.0 / total)[:, :, None] * np.eye(m.shape[1])
        return make_mixture(weights, moved / total, roots, count, version)

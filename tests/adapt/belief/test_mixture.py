"""A mixture belief: its moments, its samples, and its product with Gaussian factors."""

import numpy as np
import pytest

from adapt.belief.mixture import MixturePrior, make_mixture
from adapt.errors import BeliefError

WEIGHTS, MEANS = np.array([3.0, 1.0]), np.array([[-1.0, 0.0], [2.0, 1.0]])
ROOTS = np.array([[[0.5, 0.0], [0.2, 0.3]], [[0.1, 0.0], [-0.4, 0.6]]])


def test_samples_have_the_moments_that_are_shown():
    belief, rng = make_mixture(WEIGHTS, MEANS, ROOTS, 0, 0), np.random.default_rng(0)
    drawn = np.array([belief.sample(rng) for _ in range(40_000)])
    np.testing.assert_allclose(drawn.mean(axis=0), belief.mean, atol=0.03)
    np.testing.assert_allclose(drawn.var(axis=0), belief.variance, rtol=0.03)
    # Without spread, only the components' means are left, as often as their weights say.
    drawn = np.array([belief.sample(rng, 0.0) for _ in range(4000)])
    assert abs((drawn == MEANS[0].astype(np.float32)).all(axis=1).mean() - 0.75) < 0.03
    assert belief.weights.sum() == 1.0 and not belief.mean.flags.writeable


def test_a_posterior_is_prior_times_factors():
    """Against the densities on a grid."""
    weights, means, variances = [0.7, 0.3], [[-1.0], [1.5]], [[0.2], [0.5]]
    factors = [(0.4, 0.8), (0.9, 2.0), (1.1, 0.3)]
    precision = np.array([sum(1 / v for _, v in factors)])
    information = np.array([sum(m / v for m, v in factors)])
    belief = MixturePrior(weights, means, variances).times(precision, information, 3, 1)
    grid = np.linspace(-8.0, 8.0, 40_001)
    density = np.zeros_like(grid)
    for w, m, v in zip(weights, means, variances, strict=True):
        density += w * np.exp(-((grid - m[0]) ** 2) / (2 * v[0])) / np.sqrt(v[0])
    for mean, variance in factors:
        density = density * np.exp(-((grid - mean) ** 2) / (2 * variance))
    density /= density.sum()
    mean = (density * grid).sum()
    np.testing.assert_allclose(belief.mean, mean, atol=1e-6)
    np.testing.assert_allclose(belief.variance, (density * (grid - mean) ** 2).sum(), atol=1e-6)


def test_a_mixture_of_full_covariances_times_a_factor_is_their_product_on_a_grid():
    belief = make_mixture(WEIGHTS, MEANS, ROOTS, 4, 7)
    mean, variance = np.array([0.3, 0.8]), np.array([0.5, 0.2])
    found = belief.times(1 / variance, mean / variance)
    axis = np.linspace(-5.0, 5.0, 801)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    density = np.zeros(len(grid))
    for w, m, r in zip(belief.weights, MEANS, ROOTS, strict=True):
        off = np.linalg.solve(r, (grid - m).T)
        density += w * np.exp(-0.5 * (off**2).sum(0)) / np.prod(np.diag(r))
    density *= np.exp(-0.5 * ((grid - mean) ** 2 / variance).sum(1))
    density /= density.sum()
    np.testing.assert_allclose(found.mean, density @ grid, atol=1e-4)
    np.testing.assert_allclose(found.variance, density @ (grid - found.mean) ** 2, atol=1e-4)
    assert (found.count, found.version) == (4, 7)
    # Where it says nothing, nothing changes; also of a component without weight.
    for weights in (WEIGHTS, np.array([1.0, 0.0])):
        same = make_mixture(weights, MEANS, ROOTS, 0, 0)
        again = same.times(np.zeros(2), np.zeros(2))
        np.testing.assert_allclose(again.weights, same.weights)
        np.testing.assert_allclose(again.roots, same.roots, atol=1e-12)


def test_without_factors_the_posterior_is_the_prior():
    nothing = np.zeros(2)
    belief = MixturePrior([3.0, 1.0], MEANS.tolist(), [[1.0, 2.0]] * 2).times(
        nothing, nothing, 0, 0
    )
    np.testing.assert_allclose(belief.weights, [0.75, 0.25])
    np.testing.assert_allclose(belief.means, MEANS)


@pytest.mark.parametrize(
    ("weights", "roots", "why"),
    [
        ([1.0, np.nan], ROOTS, "not finite"),
        ([1.0, -0.5], ROOTS, "below 0"),
        ([0.0, 0.0], ROOTS, "one above"),
        (WEIGHTS, -ROOTS, "positive diagonal"),
        (WEIGHTS, ROOTS.transpose(0, 2, 1), "lower triangular"),
    ],
)
def test_what_is_no_mixture_is_refused(weights, roots, why):
    with pytest.raises(BeliefError, match=why):
        make_mixture(np.array(weights), MEANS, roots, 0, 0)

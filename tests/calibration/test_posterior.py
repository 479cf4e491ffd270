"""Noise, intervals and what the data cannot tell."""

import numpy as np
import pytest

from calibration.parameters import Prior, Priors
from calibration.posterior import Posterior, correlation_length, effective_noise, posterior

PRIORS = Priors(
    (
        Prior("a", "m", 0.0, 1.0),
        Prior("b", "m", 0.0, 1.0),
        Prior("c", "kg", 2.0, 0.5, "log"),
        Prior("n", "1", 0.0, 1.0, nuisance=True),
    )
)


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
def test_the_correlation_length_of_a_markov_series(rho: float):
    rng = np.random.default_rng(0)
    series = np.zeros((200_000, 1))
    noise = rng.normal(size=len(series))
    for k in range(1, len(series)):
        series[k] = rho * series[k - 1] + noise[k]
    assert correlation_length(series)[0] == pytest.approx((1 + rho) / (1 - rho), rel=0.1)


def test_the_noise_is_the_worse_of_fit_and_held_out_and_never_below_the_sensors():
    rng = np.random.default_rng(0)
    small, large = rng.normal(size=(2, 100_000, 12)) * np.array([[[1.0]], [[3.0]]])
    assert effective_noise([small], [large], np.ones(12)) == pytest.approx(np.full(12, 3), rel=0.1)
    assert effective_noise([large], [small], np.ones(12)) == pytest.approx(np.full(12, 3), rel=0.1)
    assert effective_noise([small], [], np.full(12, 9.0)) == pytest.approx(np.full(12, 9), rel=0.1)


def test_what_the_data_cannot_tell_keeps_its_prior_and_is_named():
    # Only the sum of a and b is seen, and c.
    rows = np.array([[10.0, 10.0, 0, 0], [0, 0, 10, 0]])
    result = Posterior(PRIORS, np.array([0.4, 0.6, 1.0, 0.3]), rows.T @ rows)
    assert result.identified.tolist() == [False, False, True, False]
    assert result.mean.tolist() == [0.0, 0.0, 1.0, 0.0]
    assert np.array_equal(result.reported[:2, :2], np.eye(2))
    assert result.interval(0) == pytest.approx((-1.645, 1.645), abs=1e-3)
    low, high = result.interval(2)
    assert low < 2 * np.exp(0.5) < high
    assert low * high == pytest.approx((2 * np.exp(0.5)) ** 2)
    assert result.unseen_directions() in (["0.7 a − 0.7 b"], ["0.7 b − 0.7 a"])


def test_a_nuisance_widens_what_it_resembles():
    rows = np.array([[10.0, 0, 0, 10.0], [0, 10, 0, 0]])
    result = Posterior(PRIORS, np.zeros(4), rows.T @ rows)
    assert result.std[0] > 0.7
    assert result.std[1] < 0.1
    assert any("a" in direction for direction in result.unseen_directions())


def test_noise_twice_as_large_makes_the_result_half_as_sure():
    rng = np.random.default_rng(0)
    jacobian = rng.normal(size=(12 * 50, 4)) * 100
    ones = np.ones(12)
    one, two = (posterior(PRIORS, np.zeros(4), jacobian, ones, k * ones) for k in (1.0, 2.0))
    np.testing.assert_allclose(two.std / one.std, 2.0, rtol=0.02)

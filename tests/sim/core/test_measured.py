"""Measured parameters: drawn jointly, within their ranges."""

import numpy as np
import pytest
import yaml

from sim.core.measured import Measured

PAIR = Measured(("a", "b"), (1.0, 0.0), ((0.04, 0.03), (0.03, 0.09)))
WIDE = np.array([-99.0, 1e-9]), np.array([99.0, 99.0])
LOG = np.array([False, True])


def test_draws_have_the_mean_and_the_covariance():
    draws = PAIR.sample(40_000, np.random.default_rng(0), *WIDE, LOG)
    draws[:, 1] = np.log(draws[:, 1])  # b is normal in its logarithm
    np.testing.assert_allclose(draws.mean(axis=0), PAIR.mean, atol=0.01)
    np.testing.assert_allclose(np.cov(draws.T), PAIR.covariance, atol=0.002)


def test_draws_stay_within_the_ranges():
    low, high = np.array([0.9, 0.8]), np.array([1.05, 1.2])
    draws = PAIR.sample(1000, np.random.default_rng(0), low, high, LOG)
    assert draws.shape == (1000, 2)
    assert (draws >= low).all()
    assert (draws <= high).all()


def test_a_quantity_known_exactly_is_drawn_so():
    exact = Measured(("a",), (2.0,), ((0.0,),))
    draws = exact.sample(3, np.random.default_rng(0), *(np.array([v]) for v in (0, 3, False)))
    assert draws.tolist() == [[2.0]] * 3


def test_a_measurement_outside_the_range_is_told():
    with pytest.raises(ValueError, match="hardly any draw of 'a' is within"):
        PAIR.sample(4, np.random.default_rng(0), np.array([50.0, 0]), WIDE[1], LOG)


def test_through_yaml_and_back():
    assert Measured.from_dict(yaml.safe_load(yaml.safe_dump(PAIR.to_dict()))) == PAIR


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"names": ["a", "a"]}, "none twice"),
        ({"names": "ab"}, "list of names"),
        ({"mean": [1.0]}, "mean of 2"),
        ({"mean": [1.0, True]}, "list of numbers"),
        ({"mean": [1.0, float("nan")]}, "list of numbers"),
        ({"covariance": [[1.0, 0.0]]}, "covariance of 2 × 2"),
        ({"covariance": [[1.0, 0.5], [0.4, 1.0]]}, "not symmetric"),
        ({"covariance": [[1.0, 2.0], [2.0, 1.0]]}, "negative eigenvalue"),
        ({"other": 1}, "keys"),
    ],
)
def test_what_is_no_distribution_is_refused(change, said: str):
    with pytest.raises(ValueError, match=said):
        Measured.from_dict(PAIR.to_dict() | change)

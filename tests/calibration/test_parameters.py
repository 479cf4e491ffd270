"""Priors: between physical and standard units."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.parameters import Prior, Priors

PRIORS = Priors((Prior("gain", "1", 2.0, 0.5, "log"), Prior("offset", "m", -1.0, 0.1)))
FINITE = st.floats(-4, 4)


@given(st.tuples(FINITE, FINITE))
def test_standard_units_and_back(point):
    x = np.array(point)
    np.testing.assert_allclose(PRIORS.to_standard(PRIORS.to_physical(x)), x, atol=1e-9)


def test_one_standard_unit_is_one_standard_deviation_of_the_prior():
    np.testing.assert_allclose(PRIORS.to_physical(np.zeros(2)), [2.0, -1.0])
    np.testing.assert_allclose(PRIORS.to_physical(np.ones(2)), [2.0 * np.exp(0.5), -0.9])


def test_a_value_that_a_log_scale_cannot_hold_lies_at_the_prior_s_edge():
    assert PRIORS.to_standard(np.array([-0.3, -1.0])).tolist() == [-4.0, 0.0]


@pytest.mark.parametrize("bad", [{"std": 0.0}, {"mean": np.nan}, {"mean": -1.0, "scale": "log"}])
def test_a_prior_that_is_none_is_refused(bad):
    with pytest.raises(ValueError, match="prior of gain"):
        Prior(**({"name": "gain", "unit": "1", "mean": 1.0, "std": 0.1} | bad))

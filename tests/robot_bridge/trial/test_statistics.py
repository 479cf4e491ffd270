"""The interval of a success rate."""

import numpy as np
import pytest

from robot_bridge.trial.statistics import wilson


@pytest.mark.parametrize("n", [1, 7, 200])
def test_wilson_contains_the_rate_and_stays_a_probability(n):
    for k in range(n + 1):
        low, high = wilson(k, n)
        assert 0 <= low <= k / n <= high <= 1
        assert low < high
        mirrored = wilson(n - k, n)
        np.testing.assert_allclose((1 - high, 1 - low), mirrored, atol=1e-12)
    # Newcombe 1998, Statistics in Medicine 17, table I: 81 of 263.
    np.testing.assert_allclose(wilson(81, 263), (0.2553, 0.3662), atol=5e-5)

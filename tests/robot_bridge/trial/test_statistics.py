"""The interval of a success rate."""

import numpy as np
import pytest

from robot_bridge.protocol.messages import Outcome
from robot_bridge.trial.statistics import spread, table, wilson


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


def test_a_means_interval_narrows_with_the_root_of_the_count_and_holds_the_mean():
    values = np.random.default_rng(0).normal(3.0, 2.0, 400).tolist()
    few, many = spread(values[:100]), spread(values)
    assert few.low < few.mean < few.high
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(2.0, rel=0.15)
    draws = [spread(np.random.default_rng(s).normal(3.0, 2.0, 50).tolist()) for s in range(300)]
    assert 0.91 < np.mean([found.low < 3.0 < found.high for found in draws]) < 0.98
    assert spread([2.0]).low == spread([2.0]).high == 2.0


def test_a_row_counts_the_tasks_that_were_touched_before_it():
    episodes = [(index, Outcome(index > 0, 1, 1.0, "")) for index in range(4) for _ in range(5)]
    # Before the first episode, before the second, twice before the fourth.
    assert [row.touched for row in table(episodes, [1, 0, 3, 3])] == [1, 2, 2, 4]
    assert [row.touched for row in table(episodes)] == [0] * 4


def test_a_row_is_judged_by_what_all_its_episodes_say():
    def outcome(judged_by, **measures):
        return Outcome(False, 1, 1.0, "fell", measures, judged_by)

    both = [outcome("return", **{"return": 1.0, "a": 2.0}), outcome("return", **{"return": 3.0})]
    (row,) = table((0, each) for each in both)
    assert (row.judged_by, list(row.measures)) == ("return", ["return"])
    assert row.measures["return"].mean == 2.0
    assert row.ends == {"fell": 2}
    # A measure that a robot names and does not give judges nothing.
    for mixed in ([both[0], outcome("", a=1.0)], [outcome("return", a=1.0)]):
        (row,) = table((0, each) for each in mixed)
        assert row.judged_by == ""

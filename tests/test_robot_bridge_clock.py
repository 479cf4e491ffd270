"""The rate keeper on a clock of its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_bridge.clock import Rate

PERIOD = 0.01
PERIOD_NS = 10_000_000


class FakeClock:
    def __init__(self) -> None:
        self.time_ns = 123

    def now_ns(self) -> int:
        return self.time_ns

    def sleep(self, seconds: float) -> None:
        self.time_ns += round(seconds * 1e9)


@given(st.lists(st.integers(0, 4 * PERIOD_NS), min_size=1, max_size=60))
def test_deadlines_stay_on_the_grid_whatever_the_work(works):
    clock = FakeClock()
    rate = Rate(PERIOD, clock.now_ns, clock.sleep)
    for work in works:
        clock.time_ns += work
        late = rate.wait()
        since = clock.time_ns - 123
        assert since % PERIOD_NS == round(late * 1e9) % PERIOD_NS
    periods = (clock.time_ns - 123) // PERIOD_NS
    assert periods == len(works) + rate.missed


def test_lag_is_reported_and_missed_periods_are_skipped_not_caught_up():
    clock = FakeClock()
    rate = Rate(PERIOD, clock.now_ns, clock.sleep)
    clock.time_ns += 35_000_000
    assert rate.wait() == pytest.approx(0.025)
    assert rate.missed == 2
    before = clock.time_ns
    assert rate.wait() == 0.0
    assert clock.time_ns - before == 5_000_000


def test_a_period_must_be_positive():
    with pytest.raises(ValueError, match="more than 0"):
        Rate(0.0)

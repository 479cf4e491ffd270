"""The rate keeper and the offset estimator, on clocks of their own."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from robot_bridge.system.clock import DRIFT_PPM, OffsetEstimator, Rate

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
def test_deadlines_stay_on_the_grid_with_any_work(works):
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


WAITS = st.integers(0, 5_000_000)
MINUTES_NS = 10 * 60 * 1_000_000_000
STEPS = st.tuples(st.integers(0, 2_000_000_000), WAITS, st.integers(0, 1_000_000), WAITS)


@given(
    st.integers(-(2**61), 2**61),
    st.integers(-DRIFT_PPM, DRIFT_PPM),
    st.lists(STEPS, min_size=1, max_size=60),
    st.integers(0, MINUTES_NS),
)
@example(0, 22, [(0, 0, 217_269, 5), (0, 0, 0, 9_999)], 0)
def test_the_true_offset_is_always_within_the_bound(offset, drift, steps, idle):
    def bridge(robot_ns):
        return robot_ns + offset + robot_ns * drift // 1_000_000

    estimator = OffsetEstimator()
    now = longest = 0
    bounds = []
    for pause, there, work, back in steps:
        asked = now + pause
        answered = asked + there + work + back
        assert estimator.add(
            asked, bridge(asked + there), bridge(asked + there + work), answered
        ) == (bridge(asked + there + work) - bridge(asked + there) <= answered - asked)
        now = answered
        longest = max(longest, answered - asked)
        estimate = estimator.estimate(now)
        if estimate is not None:
            # A few nanoseconds for the bridge's clock, which ran fast or slow on the way: on
            # that of any exchange before, for its offset may be the one that still counts.
            slack = 3 + longest * DRIFT_PPM // 1_000_000
            assert abs(estimate.offset_ns - (bridge(now) - now)) <= estimate.bound_ns + slack
            bounds.append(estimate.bound_ns)
    later = estimator.estimate(now + idle)
    if later is not None:
        assert later.bound_ns - bounds[-1] <= idle * DRIFT_PPM // 1_000_000 + 1


@given(st.lists(st.tuples(WAITS, WAITS), min_size=1, max_size=40), st.integers(1, 10**9))
def test_the_tightest_exchange_of_the_window_counts(trips, gap):
    # By hand, over all of them; the estimator keeps only those that may still win.
    estimator = OffsetEstimator(window_ns=10**10)
    now, seen = 0, []
    for there, back in trips:
        asked = now + gap
        now = asked + there + back
        assert estimator.add(asked, asked + there, asked + there, now)
        seen.append((now, there + back))
        estimate = estimator.estimate(now)
        bounds = [
            trip // 2 + (now - time_ns) * DRIFT_PPM // 1_000_000
            for time_ns, trip in seen
            if time_ns >= now - 10**10
        ]
        assert estimate is not None
        assert abs(estimate.bound_ns - min(bounds)) <= 4


def test_an_exchange_that_cannot_have_been_changes_nothing():
    estimator = OffsetEstimator()
    assert estimator.estimate(0) is None
    assert not estimator.add(100, 50, 40, 200)  # sent before it was received
    assert not estimator.add(100, 0, 200, 200)  # took longer than the robot waited
    assert not estimator.add(200, 0, 0, 100)  # answered before it was asked
    assert not estimator.add(100, -(2**63), -(2**63), 101)  # further off than int64 says
    assert not estimator.add(0, -(2**63), 2**63 - 1, 2**64)
    assert estimator.estimate(300) is None
    assert estimator.add(100, 1110, 1120, 200)
    before = estimator.estimate(200)
    assert not estimator.add(0, 1000, 1000, 150)  # out of order
    assert estimator.estimate(200) == before
    assert before is not None and before.round_trip_ns == 90
    assert abs(before.offset_ns - 965) <= 1
    estimator.clear()
    assert estimator.estimate(300) is None


def test_a_window_must_be_positive():
    with pytest.raises(ValueError, match="more than 0"):
        OffsetEstimator(0)

"""Histograms against HdrHistogram's own arithmetic; what the tap makes of what it is told."""

import time

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_bridge.protocol.messages import Flag, Mode
from robot_bridge.telemetry.histogram import DIGITS, LONGEST_NS, Durations
from robot_bridge.telemetry.metrics import EVENTS, ROBOTS, TURNS, Metrics
from robot_bridge.telemetry.records import AdaptationRecord, ClockRecord, EventRecord, StepRecord

PERIOD = 0.001
PERIOD_NS = 1_000_000
NOTHING = np.zeros(1, np.float32)


@settings(max_examples=50)
@given(st.lists(st.integers(0, LONGEST_NS), min_size=1, max_size=50))
def test_filling_is_what_hdr_histogram_does_one_by_one(values):
    ours, theirs = Durations(), HdrHistogram(1, LONGEST_NS, DIGITS)
    ours.add(values[:7])
    ours.add(values[7:])
    for value in values:
        assert theirs.record_value(value)
    assert list(ours.histogram.counts) == list(theirs.counts)
    percents = [0.0, 10.0, 50.0, 99.0, 99.9, 100.0]
    assert ours.quantiles([p / 100 for p in percents[1:]]) == [
        theirs.get_value_at_percentile(p) for p in percents[1:]
    ]
    assert ours.histogram.get_max_value() == theirs.get_max_value()
    assert ours.histogram.get_min_value() == theirs.get_min_value()
    assert (ours.count, ours.total_ns) == (len(values), sum(values))


@given(st.lists(st.integers(0, LONGEST_NS), min_size=1, max_size=50), st.floats(0.0, 1.0))
def test_a_quantile_is_true_to_two_digits(values, fraction):
    durations = Durations()
    durations.add(values)
    exact = sorted(values)[max(1, int(fraction * len(values) + 0.5)) - 1]
    assert exact <= durations.quantiles([fraction])[0] <= exact * 1.01 + 1


def test_what_is_out_of_range_counts_at_the_nearest_end():
    durations = Durations()
    durations.add([-5, 2 * LONGEST_NS])
    low, high = durations.quantiles([0.5, 1.0])
    assert low == 0
    assert high == pytest.approx(LONGEST_NS, rel=1e-2)
    assert durations.below([0, LONGEST_NS // 2, LONGEST_NS]) == [1, 1, 2]


def test_recent_forgets_what_two_turns_ago_had_ended():
    durations = Durations()
    durations.add([1_000_000])
    assert durations.quantiles([1.0], recent=True)[0] >= 1_000_000
    durations.turn()
    durations.add([100])
    assert durations.quantiles([1.0], recent=True)[0] >= 1_000_000
    durations.turn()
    assert durations.quantiles([1.0], recent=True) == [100]
    durations.turn()
    assert durations.quantiles([1.0], recent=True) == [0]
    assert durations.quantiles([1.0])[0] >= 1_000_000


def step(robot="arm", received=0, mode=Mode.TRACK, flags=0, version=0, simulated=False):
    return StepRecord(
        robot=robot,
        sequence=1,
        robot_time_ns=0,
        received_ns=received,
        decided_ns=received + 30_000,
        sent_ns=received + 50_000,
        observation=NOTHING,
        reward=0.0,
        flags=flags,
        faults=0,
        wanted=None,
        command=NOTHING,
        mode=mode,
        latent=NOTHING,
        belief_mean=NOTHING,
        belief_variance=NOTHING,
        belief_count=version,
        belief_version=version,
        latent_version=version,
        digest="",
        shadow=False,
        simulated=simulated,
    )


def test_stages_modes_beliefs_and_events_are_told_apart():
    metrics = Metrics(PERIOD, edges_ns=(40_000, 60_000), fold=None)
    metrics.event(EventRecord(0, "robot_connected", "arm", ""))
    metrics.step(step(flags=Flag.FIRST))
    metrics.step(step(received=PERIOD_NS + 7_000, version=3))
    metrics.fold()
    metrics.step(step(received=2 * PERIOD_NS + 7_000, version=4, mode=Mode.HOLD))
    metrics.step(step(robot="leg", received=9 * PERIOD_NS, flags=Flag.FIRST))
    # Between two episodes there is no period to keep.
    metrics.step(step(received=900 * PERIOD_NS, flags=Flag.FIRST, version=5))
    metrics.adapted(AdaptationRecord("arm", 0, 2_000, 70_000, 1))
    metrics.adapted(AdaptationRecord("arm", 0, 2_000, 70_000, 1, "not finite"))
    metrics.event(EventRecord(0, "robot_lost", "leg", ""))
    metrics.clock(ClockRecord("arm", 0, -5_000_000, 90_000))
    metrics.fold()
    reading = metrics.read()
    counts = {name: stage.count for name, stage in reading.stages.items()}
    assert counts == {
        "decide": 5,
        "send": 5,
        "answer": 5,
        "jitter": 2,
        "adapt_wait": 2,
        "adapt": 2,
    }
    medians = {name: stage.quantiles_ns["p50"] for name, stage in reading.stages.items()}
    assert medians["decide"] == pytest.approx(30_000, rel=1e-2)
    assert medians["send"] == pytest.approx(20_000, rel=1e-2)
    assert medians["answer"] == pytest.approx(50_000, rel=1e-2)
    assert reading.stages["answer"].below == (0, 5)
    assert reading.stages["answer"].total_ns == 250_000
    assert reading.stages["jitter"].quantiles_ns["max"] == pytest.approx(7_000, rel=1e-2)
    arm = reading.robots["arm"]
    assert (arm.connected, arm.mode, arm.steps) == (True, "track", (3, 1, 0, 0))
    assert (arm.belief_version, arm.belief_count) == (5, 5)
    assert (arm.clock_offset_ns, arm.round_trip_ns) == (-5_000_000, 90_000)
    assert not reading.robots["leg"].connected
    assert reading.events == {"robot_connected": 1, "robot_lost": 1}
    assert (reading.learnt, reading.problems, reading.dropped) == (1, 1, 0)


def test_a_robot_in_simulated_time_has_no_jitter():
    metrics = Metrics(PERIOD, fold=None)
    for index in range(5):
        metrics.step(step("twin", index * 7 * PERIOD_NS, simulated=True))
        metrics.step(step("arm", index * PERIOD_NS))
    metrics.fold()
    stages = metrics.read().stages
    assert (stages["jitter"].count, stages["answer"].count) == (4, 10)
    assert stages["jitter"].quantiles_ns["max"] == 0


def test_names_from_outside_do_not_grow_it_for_ever():
    metrics = Metrics(PERIOD, fold=None)
    for index in range(2 * EVENTS):
        metrics.step(step(robot=f"robot {index}"))
        metrics.event(EventRecord(0, f"event {index}", "", ""))
    metrics.fold()
    reading = metrics.read()
    assert len(reading.robots) == ROBOTS
    assert f"robot {2 * EVENTS - 1}" in reading.robots
    assert len(reading.events) == EVENTS + 1
    assert sum(reading.events.values()) == 2 * EVENTS


def test_the_thread_folds_and_closing_leaves_nothing_behind():
    metrics = Metrics(PERIOD, fold=0.01)
    metrics.step(step())
    deadline = time.monotonic() + 30
    while not metrics.read().stages["answer"].count:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for index in range(10):
        metrics.step(step(received=index * PERIOD_NS))
    metrics.close()
    assert metrics.read().stages["answer"].count == 11
    assert {stage.name: stage.count for stage in metrics.stages()}["answer"] == 11


def test_folding_goes_on_in_gaps_and_ends_without_them():
    metrics = Metrics(PERIOD, fold=0.01)
    for index in range(2_000):
        metrics.step(step(received=index * PERIOD_NS))
        metrics.gap()
        time.sleep(0.0002)
    deadline = time.monotonic() + 30
    while sum(stage.count for stage in metrics.stages()) < 3 * 2_000:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    metrics.close()
    assert [stage.name for stage in metrics.stages()] == ["decide", "send", "answer", "jitter"]


def test_a_while_ends_by_itself():
    metrics = Metrics(PERIOD, fold=None)
    metrics.step(step())
    for _ in range(2 * TURNS):
        metrics.fold()
    answer = metrics.read().stages["answer"]
    assert (answer.recent_ns["max"], answer.count) == (0, 1)

"""When late answers are told, and when they end the service."""

import pytest

from robot_bridge.safety.deadline_monitor import DeadlineMonitor, DeadlineSettings

PERIOD_NS = 20_000_000
IN_TIME, LATE = 1_000_000, 11_000_000


def words(pace, answers):
    """What note says to each answer, by how long each took [ns], one period apart."""
    return [
        pace.note(number * PERIOD_NS, number * PERIOD_NS + took)
        for number, took in enumerate(answers)
    ]


def test_answers_in_time_are_nobodys_business():
    pace = DeadlineMonitor(DeadlineSettings(), PERIOD_NS)
    assert set(words(pace, [IN_TIME] * 1000)) == {""}
    assert pace.share == 0.0
    assert pace.rate == pytest.approx(50.0)


def test_slipping_is_told_once_and_then_the_robot_is_given_up():
    pace = DeadlineMonitor(DeadlineSettings(), PERIOD_NS)
    words(pace, [IN_TIME] * 100)
    said = words(pace, [LATE] * 25)
    assert [(n, word) for n, word in enumerate(said, 1) if word] == [(5, "slipping"), (25, "lost")]


def test_a_late_start_is_not_a_bad_rate():
    # A first inference warms caches; out of a window of a hundred it is one.
    assert set(
        words(DeadlineMonitor(DeadlineSettings(), PERIOD_NS), [LATE] * 4 + [IN_TIME] * 200)
    ) == {""}


def test_late_answers_are_forgotten_as_the_window_moves_on():
    pace = DeadlineMonitor(DeadlineSettings(window=20, slipping=0.1, lost=0.5), PERIOD_NS)
    assert words(pace, [LATE] * 9).count("slipping") == 1
    words(pace, [IN_TIME] * 20)
    assert pace.share == 0.0
    assert words(pace, [LATE] * 9).count("slipping") == 1


def test_released_it_is_judged_anew():
    pace = DeadlineMonitor(DeadlineSettings(window=10, slipping=0.5, lost=0.5), PERIOD_NS)
    assert words(pace, [LATE] * 5)[-1] == "lost"
    pace.reset()
    assert words(pace, [LATE] * 4) == [""] * 4
    assert words(pace, [LATE])[-1] == "lost"


def test_a_share_of_one_never_stops_it():
    pace = DeadlineMonitor(DeadlineSettings(window=10, lost=1.0), PERIOD_NS)
    assert "lost" not in words(pace, [LATE] * 50)

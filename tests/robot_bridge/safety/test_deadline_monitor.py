"""When late answers are told, and when they end the service."""

import pytest

from robot_bridge.safety.deadline_monitor import DeadlineMonitor, DeadlineSettings

PERIOD_NS = 20_000_000
IN_TIME, LATE = 1_000_000, 11_000_000


def words(pace, answers):
    """What note says to each answer, by how long each took [ns], one period apart."""
    return [
        pace.note(number * PERIOD_NS, number * PERIOD_NS, number * PERIOD_NS + took)
        for number, took in enumerate(answers)
    ]


def test_answers_in_time_are_not_reported():
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


def test_a_robot_whose_clock_stood_still_can_be_released():
    pace = DeadlineMonitor(DeadlineSettings(), PERIOD_NS)
    words(pace, [IN_TIME] * 100)
    stood_ns = 3_000_000_000

    def later(numbers):
        """What note says to answers in time, by a clock that is behind from now on."""
        times = [stood_ns + number * PERIOD_NS for number in numbers]
        return [pace.note(now_ns - stood_ns, now_ns, now_ns + IN_TIME) for now_ns in times]

    assert "lost" in later(range(100, 130))
    pace.reset()
    assert set(later(range(130, 330))) == {""}


def test_a_share_of_one_never_stops_it():
    pace = DeadlineMonitor(DeadlineSettings(window=10, lost=1.0), PERIOD_NS)
    assert "lost" not in words(pace, [LATE] * 50)


def queued(pace, waits, offset_ns=0):
    """What note says when the frames of a robot wait so long in the socket [ns] and are answered
    at once. offset_ns: of the bridge's clock to the robot's."""
    said = []
    for number, wait in enumerate(waits):
        stamp_ns = number * PERIOD_NS
        received_ns = stamp_ns + offset_ns + wait
        said.append(pace.note(stamp_ns, received_ns, received_ns + IN_TIME))
    return said


@pytest.mark.parametrize("offset_ns", [0, -(10**15), 10**15])
def test_a_wait_in_the_socket_counts(offset_ns):
    # Sixteen robots at 100 Hz on a starved bridge: each answer takes a moment once it is read, and
    # the frames wait longer and longer.
    pace = DeadlineMonitor(DeadlineSettings(), PERIOD_NS)
    said = queued(pace, [min(k * 1_000_000, 168_000_000) for k in range(200)], offset_ns)
    assert said.count("slipping") == 1
    assert "lost" in said
    assert (
        queued(DeadlineMonitor(DeadlineSettings(), PERIOD_NS), [0] * 200, offset_ns) == [""] * 200
    )


@pytest.mark.parametrize("drift", [-100e-6, 100e-6])
def test_clocks_that_drift_are_no_wait(drift):
    pace = DeadlineMonitor(DeadlineSettings(), PERIOD_NS)
    waits = [drift * k * PERIOD_NS + (0 if drift > 0 else 10**9) for k in range(20_000)]
    assert set(queued(pace, [round(wait) for wait in waits])) == {""}

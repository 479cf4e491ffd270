"""One robot's answers and what is learnt from them, without sockets."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_bridge.errors import BridgeError
from robot_bridge.protocol.messages import NO_FLAGS, Begin, Flag, Mode, Observation, Outcome, Ready
from robot_bridge.session.episode_recorder import Thinned
from robot_bridge.session.robot_session import RobotSession
from tests.support.bridge.recorded import wait_for

OUTCOME = Outcome(True, 3, 0.15, "done", {"depth": 0.01})


class Driver:
    """Sends observations with numbers that can be told apart."""

    def __init__(self, bundle, simulated_time=True):
        self.robot = RobotSession("arm", bundle, 0, simulated_time, 1)
        self.sequence = 0

    def send(self, value=0.1, flags=NO_FLAGS, **changes):
        self.sequence += 1
        payload = np.full(6, value, np.float32)
        fields = {"sequence": self.sequence, "time_ns": 0, "payload": payload, "flags": flags}
        seen = Observation(**(fields | changes))
        answer = self.robot.answer(seen, time.monotonic_ns())
        if answer is not None:
            self.robot.answered(seen, answer)
        return None if answer is None else answer.command

    @property
    def learnt(self):
        return self.robot.policy.adapter.belief.count


@pytest.fixture
def driver(bundle):
    made = Driver(bundle)
    yield made
    made.robot.episodes.close()


def test_every_step_after_the_first_teaches_once(driver):
    for step, flags in enumerate((Flag.FIRST, Flag(0), Flag(0), Flag.LAST | Flag.TERMINAL)):
        driver.send(flags=flags)
        assert driver.learnt == step


def test_nothing_is_learnt_across_a_gap_or_from_a_command_not_followed(driver):
    driver.send(flags=Flag.FIRST)
    assert driver.send(value=np.nan).mode is Mode.HOLD
    driver.send()
    assert driver.learnt == 0
    driver.send(flags=Flag.UNAPPLIED)
    assert driver.learnt == 0
    driver.send()
    assert driver.learnt == 1


def test_a_trouble_that_lasts_is_told_once(driver):
    driver.send(flags=Flag.FIRST)
    for _ in range(5):
        driver.send(value=np.nan)
    driver.send()
    driver.send(value=np.inf)
    assert [name for name, _ in driver.robot.episodes.events()] == ["observation_invalid"] * 2


def test_an_observation_seen_before_is_not_answered(driver):
    driver.send(flags=Flag.FIRST)
    assert driver.send(sequence=1) is None
    assert [name for name, _ in driver.robot.episodes.events()] == ["sequence_repeated"]


def test_outside_an_episode_nothing_moves(driver):
    assert driver.send().mode is Mode.HOLD
    assert driver.robot.episodes.events()[0][0] == "no_episode"


def test_what_was_sent_is_what_is_learnt_from(driver):
    # The bundle allows a full swing in one period; from one end to the other would be two.
    driver.send(flags=Flag.FIRST, value=9.0)
    taught = []
    driver.robot.policy.adapter.observe = taught.append
    before = driver.send(value=-9.0)
    driver.send()
    np.testing.assert_allclose(taught[1].action * [0.001, 0.001, 0.02], before.payload, rtol=1e-5)


def test_one_episode_at_a_time_and_its_record(driver):
    robot = driver.robot
    reset = robot.episodes.begin(Begin("arm", 4, 0, 9, True))
    assert (reset.task, reset.episode, reset.seed, reset.new_task) == (4, 0, 9, True)
    with pytest.raises(BridgeError, match="busy"):
        robot.episodes.begin(Begin("arm", 5, 0, 9, True))
    robot.episodes.ready(Ready({"socket_x": 0.5}))
    for value, flags in ((1.0, Flag.FIRST), (2.0, Flag(0)), (3.0, Flag.LAST)):
        driver.send(value, flags, reward=value * 10)
    robot.episodes.end(OUTCOME)
    (record,) = robot.episodes.finished()
    assert (record.task, record.outcome, record.truth) == (4, OUTCOME, {"socket_x": 0.5})
    arrays = record.arrays()
    assert arrays["observations"][:, 0].tolist() == [1.0, 2.0]
    assert arrays["rewards"].tolist() == [10.0, 20.0]
    assert record.belief_before.variance == (1.0, 1.0)
    assert record.belief_after.variance < record.belief_before.variance
    assert list(robot.episodes.finished()) == []
    robot.episodes.begin(Begin("arm", 5, 0, 9, True))


def test_after_the_last_observation_nothing_moves(driver):
    driver.send(flags=Flag.FIRST)
    driver.send(flags=Flag.LAST)
    assert driver.send().mode is Mode.HOLD
    assert driver.learnt == 1
    driver.send(flags=Flag.FIRST)
    driver.robot.episodes.end(OUTCOME)
    assert driver.send().mode is Mode.HOLD


def test_an_end_and_the_next_start_at_once_lose_no_record(driver):
    driver.robot.episodes.begin(Begin("arm", 4, 0, 9, True))
    driver.send(flags=Flag.FIRST)
    driver.send(flags=Flag.LAST)
    driver.robot.episodes.end(OUTCOME)
    driver.send(flags=Flag.FIRST)
    assert [record.task for record in driver.robot.episodes.finished()] == [4]
    assert driver.robot.episodes.events() == []


def test_off_the_control_path_the_same_is_learnt(bundle):
    records = []
    for simulated in (True, False):
        driver = Driver(bundle, simulated)
        driver.robot.episodes.begin(Begin("arm", 0, 0, 1, True))
        for flags in (Flag.FIRST, Flag(0), Flag(0), Flag.LAST):
            driver.send(flags=flags)
        driver.robot.episodes.end(OUTCOME)
        found = []
        while not found:
            found = list(driver.robot.episodes.finished())
        records += found
        driver.robot.episodes.close()
    assert records[0].belief_after.mean == records[1].belief_after.mean


def test_a_seed_and_a_task_determine_the_draws(bundle):
    driver = Driver(bundle)
    commands = []
    for task in (0, 1, 0):
        driver.robot.episodes.begin(Begin("arm", task, 0, 7, True))
        command = driver.send(flags=Flag.FIRST)
        assert command is not None
        commands.append(command.payload)
        driver.robot.episodes.end(OUTCOME)
        list(driver.robot.episodes.finished())
    np.testing.assert_array_equal(commands[0], commands[2])
    assert not np.array_equal(commands[0], commands[1])


@given(st.integers(0, 3000), st.integers(2, 60))
def test_thinning_is_bounded_even_and_keeps_the_first(count, capacity):
    kept = Thinned(capacity)
    for item in range(count):
        kept.append(item)
    assert len(kept.items) <= capacity
    if count:
        assert kept.items[0] == 0
        assert len(set(np.diff(kept.items).tolist())) <= 1
    assert len(kept.items) >= min(count, capacity) // 2


PERIOD_NS = 50_000_000


class Paced(Driver):
    """A robot on the world's own time: each observation comes `periods` after the one before."""

    def __init__(self, bundle):
        super().__init__(bundle, simulated_time=False)
        self.now_ns = 0

    def send(self, value=0.1, flags=NO_FLAGS, periods=1.0, stamped=None):
        self.now_ns += round(periods * PERIOD_NS)
        self.sequence += 1
        stamp_ns = self.now_ns if stamped is None else stamped
        seen = Observation(self.sequence, stamp_ns, np.full(6, value, np.float32), 0.0, flags)
        answer = self.robot.answer(seen, self.now_ns)
        assert answer is not None
        self.robot.answered(seen, answer)
        return answer.command.mode

    def settled(self):
        self.robot.episodes.hand_over()
        wait_for(lambda: self.robot.episodes._adaptation.settled)
        return self.learnt


@pytest.fixture
def paced(bundle):
    made = Paced(bundle)
    made.send(flags=Flag.FIRST)
    yield made
    made.robot.episodes.close()


def test_a_driver_at_ten_times_the_rate_is_held_and_told_of(paced):
    modes = [paced.send(periods=0.1) for _ in range(100)]
    assert modes.count(Mode.TRACK) < 6
    assert modes[-1] is Mode.HOLD
    (name, text) = paced.robot.episodes.events()[0]
    assert name == "driver_too_fast"
    assert "0.005 s" in text and "0.05 s" in text


def test_a_driver_that_calls_every_observation_the_first_is_no_faster(paced):
    modes = [paced.send(periods=0.1, flags=Flag.FIRST) for _ in range(100)]
    assert modes.count(Mode.TRACK) < 6


def test_a_driver_that_stamps_nominal_times_and_never_waits_is_held(paced):
    modes = [paced.send(periods=0.01, stamped=k * PERIOD_NS) for k in range(1, 200)]
    assert modes.count(Mode.TRACK) < 40
    assert modes[-1] is Mode.HOLD


def test_frames_that_a_held_up_bridge_reads_at_once_are_no_hurry(paced):
    stamps = [k * PERIOD_NS for k in range(1, 20)]
    assert {paced.send(periods=0, stamped=stamp) for stamp in stamps} == {Mode.TRACK}


def test_what_spans_a_stall_is_never_learnt_from(paced):
    assert paced.send() is Mode.TRACK
    assert paced.settled() == 1
    assert paced.send(periods=40) is Mode.HOLD
    modes = [paced.send() for _ in range(20)]
    assert modes[0] is Mode.HOLD and modes[-1] is Mode.TRACK
    assert [name for name, _ in paced.robot.episodes.events()] == ["driver_too_slow"]
    # One for each observation that followed a command within a period.
    assert paced.settled() == 1 + max(0, modes.count(Mode.TRACK) - 1)


def test_a_stall_before_the_last_observation_is_not_learnt_from_either(paced):
    paced.send()
    assert paced.settled() == 1
    assert paced.send(periods=40, flags=Flag.LAST) is Mode.HOLD
    assert paced.settled() == 1


def test_a_robot_in_simulated_time_has_no_spacing(driver):
    assert driver.send(flags=Flag.FIRST).mode is Mode.TRACK
    assert {driver.send(time_ns=k).mode for k in (0, 0, 0, 0, 0, 10**15, -5)} == {Mode.TRACK}

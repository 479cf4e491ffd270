"""One robot's answers and what is learnt from them, without sockets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.errors import BridgeError
from robot_bridge.protocol.messages import NO_FLAGS, Begin, Flag, Mode, Observation, Outcome, Ready
from robot_bridge.session.episode_recorder import Thinned
from robot_bridge.session.robot_session import RobotSession
from tests.support import tiny_bundle

OUTCOME = Outcome(True, 3, 0.15, "done", {"depth": 0.01})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return PolicyBundle.load(tiny_bundle.write(tmp_path_factory.mktemp("bundles") / "tiny"))


class Driver:
    """Sends observations with numbers that can be told apart."""

    def __init__(self, bundle, simulated_time=True):
        self.robot = RobotSession("arm", bundle, 0, simulated_time, 1)
        self.sequence = 0

    def send(self, value=0.1, flags=NO_FLAGS, **changes):
        self.sequence += 1
        payload = np.full(6, value, np.float32)
        fields = {"sequence": self.sequence, "time_ns": 0, "payload": payload, "flags": flags}
        answer = self.robot.answer(Observation(**(fields | changes)))
        return None if answer is None else answer.command

    @property
    def learnt(self):
        return self.robot._adapter.belief.count


@pytest.fixture
def driver(bundle):
    made = Driver(bundle)
    yield made
    made.robot.close()


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
    assert [name for name, _ in driver.robot.events()] == ["observation_invalid"] * 2


def test_an_observation_seen_before_is_not_answered(driver):
    driver.send(flags=Flag.FIRST)
    assert driver.send(sequence=1) is None
    assert [name for name, _ in driver.robot.events()] == ["sequence_repeated"]


def test_outside_an_episode_nothing_moves(driver):
    assert driver.send().mode is Mode.HOLD
    assert driver.robot.events()[0][0] == "no_episode"


def test_what_was_sent_is_what_is_learnt_from(driver):
    # The bundle allows a full swing in one period; from one end to the other would be two.
    driver.send(flags=Flag.FIRST, value=9.0)
    taught = []
    driver.robot._adapter.observe = taught.append
    before = driver.send(value=-9.0)
    driver.send()
    np.testing.assert_allclose(taught[1].action * [0.001, 0.001, 0.02], before.payload, rtol=1e-5)


def test_one_episode_at_a_time_and_its_record(driver):
    robot = driver.robot
    reset = robot.begin(Begin("arm", 4, 0, 9, True))
    assert (reset.task, reset.episode, reset.seed, reset.new_task) == (4, 0, 9, True)
    with pytest.raises(BridgeError, match="busy"):
        robot.begin(Begin("arm", 5, 0, 9, True))
    robot.ready(Ready({"socket_x": 0.5}))
    for value, flags in ((1.0, Flag.FIRST), (2.0, Flag(0)), (3.0, Flag.LAST)):
        driver.send(value, flags, reward=value * 10)
    robot.end(OUTCOME)
    (record,) = robot.finished()
    assert (record.task, record.outcome, record.truth) == (4, OUTCOME, {"socket_x": 0.5})
    arrays = record.arrays()
    assert arrays["observations"][:, 0].tolist() == [1.0, 2.0]
    assert arrays["rewards"].tolist() == [10.0, 20.0]
    assert record.belief_before.variance == (1.0, 1.0)
    assert record.belief_after.variance < record.belief_before.variance
    assert list(robot.finished()) == []
    robot.begin(Begin("arm", 5, 0, 9, True))


def test_after_the_last_observation_nothing_moves(driver):
    driver.send(flags=Flag.FIRST)
    driver.send(flags=Flag.LAST)
    assert driver.send().mode is Mode.HOLD
    assert driver.learnt == 1
    driver.send(flags=Flag.FIRST)
    driver.robot.end(OUTCOME)
    assert driver.send().mode is Mode.HOLD


def test_an_end_and_the_next_start_at_once_lose_no_record(driver):
    driver.robot.begin(Begin("arm", 4, 0, 9, True))
    driver.send(flags=Flag.FIRST)
    driver.send(flags=Flag.LAST)
    driver.robot.end(OUTCOME)
    driver.send(flags=Flag.FIRST)
    assert [record.task for record in driver.robot.finished()] == [4]
    assert driver.robot.events() == []


def test_off_the_control_path_the_same_is_learnt(bundle):
    records = []
    for simulated in (True, False):
        driver = Driver(bundle, simulated)
        driver.robot.begin(Begin("arm", 0, 0, 1, True))
        for flags in (Flag.FIRST, Flag(0), Flag(0), Flag.LAST):
            driver.send(flags=flags)
        driver.robot.end(OUTCOME)
        found = []
        while not found:
            found = list(driver.robot.finished())
        records += found
        driver.robot.close()
    assert records[0].belief_after.mean == records[1].belief_after.mean


def test_a_seed_and_a_task_fix_the_draws_whatever_came_before(bundle):
    driver = Driver(bundle)
    commands = []
    for task in (0, 1, 0):
        driver.robot.begin(Begin("arm", task, 0, 7, True))
        command = driver.send(flags=Flag.FIRST)
        assert command is not None
        commands.append(command.payload)
        driver.robot.end(OUTCOME)
        list(driver.robot.finished())
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

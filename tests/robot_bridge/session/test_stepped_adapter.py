"""The bridge serves MAESN as it serves PEARL: notes during an episode, a step between two."""

from __future__ import annotations

import time

import numpy as np
import pytest

from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.protocol.messages import NO_FLAGS, Flag, Observation, Outcome
from robot_bridge.session.robot_session import RobotSession
from tests.support import tiny_maesn
from tests.support.bridge.unpaced import LOOSE

EPISODES = 4


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> PolicyBundle:
    return PolicyBundle.load(tiny_maesn.write(tmp_path_factory.mktemp("maesn") / "bundle"))


@pytest.fixture(params=[True, False], ids=["simulated", "real time"])
def robot(bundle, request):
    made = RobotSession("arm", bundle, 0, request.param, 10**9, spacing=LOOSE)
    yield made
    made.episodes.close()


class Driver:
    def __init__(self, robot: RobotSession) -> None:
        self.robot, self.sequence = robot, 0

    def send(self, reward: float = 0.0, flags: Flag = NO_FLAGS) -> None:
        self.sequence += 1
        here = np.zeros(2, np.float32)
        seen = Observation(self.sequence, 0, here, reward, flags)
        answer = self.robot.answer(seen, 0)
        assert answer is not None
        self.robot.answered(seen, answer)

    def episode(self, reward: float, last: bool = True) -> None:
        """Four steps; the reward comes with the last."""
        self.send(flags=Flag.FIRST)
        for _ in range(3):
            self.send()
        self.send(reward, Flag.LAST if last else NO_FLAGS)
        self.robot.episodes.end(Outcome(True, 4, 0.2, "done", {}))
        deadline = time.monotonic() + 30
        while self.robot.episodes.settling and time.monotonic() < deadline:
            list(self.robot.episodes.finished())
            time.sleep(0.001)
        assert not self.robot.episodes.settling

    @property
    def version(self) -> int:
        return self.robot.policy.adapter.belief.version


def test_a_step_follows_the_last_of_its_episodes_and_no_other(robot):
    driver = Driver(robot)
    for number in range(2 * EPISODES):
        assert driver.version == number // EPISODES
        driver.episode(float(number))
    assert driver.version == 2
    assert not [name for name, _ in robot.episodes.events() if name == "adaptation_problem"]


def test_what_teaches_nothing_is_told_and_leaves_the_belief(robot):
    driver = Driver(robot)
    for _ in range(EPISODES):
        driver.episode(1.0)
    assert driver.version == 0
    told = [text for name, text in robot.episodes.events() if name == "adaptation_problem"]
    assert any("all 4 episodes returned 1" in text for text in told)


def test_an_episode_without_its_last_observation_is_not_learnt_from(robot):
    driver = Driver(robot)
    driver.episode(5.0, last=False)
    told = [text for name, text in robot.episodes.events() if name == "adaptation_problem"]
    assert any("it was cut" in text for text in told)
    for number in range(EPISODES):
        assert driver.version == 0
        driver.episode(float(number))
    assert driver.version == 1

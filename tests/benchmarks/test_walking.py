"""What the locomotion benchmark counts, on agents that it knows."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from benchmarks.support.walking import walk
from policies.algorithms.contract import Action, Agent, Belief
from sim.locomotion.spec import CONTROL_PERIOD, N_ACTION
from sim.locomotion.task import SPACE


class Counting(Agent):
    """Does nothing but the reference; its belief counts the transitions that it was shown."""

    def __init__(self, worlds, generator, falling):
        super().__init__(worlds, generator)
        self.seen, self.falling = np.zeros(worlds), falling

    def act(self, observation, stochastic, latent=None):
        action = np.zeros((self.worlds, N_ACTION), np.float32)
        if self.falling:
            action[:, 1:12:3] = 1.0
            action[:, 2:12:3] = -1.0
        return Action(action)

    def observe(self, transition, valid):
        self.seen += valid & self.adapting

    def belief(self):
        mean = torch.from_numpy(self.seen)[:, None].float()
        return Belief(mean, torch.ones_like(mean))


@dataclass
class Policy:
    falling: bool = False
    episodes_per_step = 1
    adapts = True
    privileged = False

    def agent(self, worlds, generator, share=1):
        self.made = Counting(worlds, generator, self.falling)
        return self.made


def test_a_belief_that_is_held_learns_before_the_walk_and_not_in_it():
    tasks = [SPACE.task(), SPACE.task(payload=2.0)]
    seen = {}
    for learning in (0.0, 0.2, np.inf):
        policy, at = Policy(), []
        moment = lambda worlds, agent, period, at=at: at.append(agent.seen.copy())  # noqa: E731
        walk(policy, tasks, 0.4, 0, learning=learning, moment=moment)
        assert len(at) == round(0.4 / CONTROL_PERIOD)
        seen[learning] = at[0][0], policy.made.seen[0]
    assert seen[0.0] == (0, 0)
    assert seen[0.2] == (10, 10)
    assert seen[np.inf] == (0, 20)


def test_sums_of_a_walk_agree_with_what_the_robots_did():
    done = walk(Policy(), [SPACE.task()] * 3, 1.0, 3)
    assert (done.falls == 0).all()
    assert done.errors.shape == (50, 3)
    assert done.error == pytest.approx(done.errors.mean(0), abs=1e-6)
    assert (np.abs(done.progress) <= done.distance + 1e-9).all()
    summary = done.summary(np.ones(3, bool))
    assert summary["falls"] == (0.0, "1/km")
    assert summary["cost of transport"][0] > 0.0


def test_robots_that_fall_are_counted_and_go_on():
    done = walk(Policy(falling=True), [SPACE.task(payload=10.0, gain=0.7)] * 2, 3.0, 3)
    assert (done.falls >= 1).all()
    assert (done.asked > 0).all()

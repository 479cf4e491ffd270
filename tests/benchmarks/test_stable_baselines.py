"""Stable-Baselines3 accepts our environments as they are."""

import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from stable_baselines3.common.env_checker import check_env

from benchmarks.bench_physics import BLOCK, measure, runner
from benchmarks.bench_stable_baselines import JOBS, Job, make, mean_return, train
from sim import gym
from sim.benchmarks import point
from sim.core import registry
from sim.core.registry import FAMILIES


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_its_own_checker_finds_nothing(name):
    env = gymnasium.make(gym.env_id(name))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    env.close()


@pytest.mark.parametrize("job", JOBS, ids=lambda j: f"{j.learner}-{j.family}")
def test_every_episode_of_a_job_is_on_its_task(job):
    env = make(job)
    wanted = registry.family(job.family).space.task(**job.task).values
    for _ in range(2):
        env.reset()
        family: Any = env.unwrapped
        assert (family.task.values == wanted).all()
    env.close()


def test_a_learner_that_walks_to_the_goal_gets_the_return_of_doing_so():
    job = Job("PPO", "point-sparse", {"angle": 0.0}, 0)

    def straight(observation: np.ndarray) -> np.ndarray:
        return np.clip((point.goal(point.SPACE.task(angle=0.0)) - observation) / 0.1, -1, 1)

    # From 1 m to 0 in ten steps of 0.1 m: −(0.9 + 0.8 + … + 0.1).
    assert mean_return(straight, job, 0) == pytest.approx(-4.5, abs=1e-4)


def test_it_trains():
    before, after, seconds = train(Job("SAC", "point-sparse", {"angle": 1.0}, 130), 0)
    assert np.isfinite([before, after]).all() and seconds > 0


def test_the_worlds_do_what_bare_physics_does():
    cost = measure(runner("walker-params", 3, 1, 0), 1, 2)
    assert cost.wall.shape == (2, 2) and (cost.wall > 0).all() and BLOCK > 0

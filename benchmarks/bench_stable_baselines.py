"""Stable-Baselines3's SAC and PPO, with their default settings, on our environments.

    python -m benchmarks.bench_stable_baselines

Each learner trains on one task of a family through `gymnasium.make`; only the environment is ours.
Its mean return over EPISODES episodes is measured before and after. A few minutes are too short to
learn a task, so the test is whether the return improves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO, SAC

from benchmarks.support.results import record
from sim.gym import env_id

EPISODES = 10
SEED = 0


@dataclass(frozen=True)
class Job:
    """One learner on one task.

    task: values that replace the nominal ones. steps: of training, in control periods.
    """

    learner: str
    family: str
    task: dict[str, float | str]
    steps: int


JOBS = (
    Job("PPO", "point-sparse", {"angle": 1.0}, 30_000),
    Job("SAC", "point-sparse", {"angle": 1.0}, 3_000),
    Job("PPO", "cheetah-dir", {"direction": "forward"}, 40_000),
    Job("SAC", "cheetah-vel", {"velocity": 1.0}, 12_000),
)
LEARNERS: dict[str, type[PPO] | type[SAC]] = {"PPO": PPO, "SAC": SAC}


class OneTask(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment whose every episode is on the same task."""

    def __init__(self, env: gymnasium.Env[Any, Any], task: dict[str, float | str]) -> None:
        super().__init__(env)
        self._options = {"task": task}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        return self.env.reset(seed=seed, options=self._options)


def make(job: Job) -> OneTask:
    return OneTask(gymnasium.make(env_id(job.family)), job.task)


def mean_return(act: Callable[[np.ndarray], np.ndarray], job: Job, seed: int) -> float:
    """Of EPISODES episodes under actions act(observation)."""
    env, returns = make(job), []
    for episode in range(EPISODES):
        observation, _ = env.reset(seed=seed + episode)
        total, over = 0.0, False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(act(observation))
            total += float(reward)
            over = terminated or truncated
        returns.append(total)
    env.close()
    return float(np.mean(returns))


def train(job: Job, seed: int) -> tuple[float, float, float]:
    """Mean return before and after, and the seconds in between."""
    env = make(job)
    learner = LEARNERS[job.learner]("MlpPolicy", env, seed=seed, device="cpu")

    def act(observation: np.ndarray) -> np.ndarray:
        """Without exploration."""
        return learner.predict(observation, deterministic=True)[0]

    before = mean_return(act, job, seed)
    start = time.perf_counter()
    learner.learn(job.steps)
    seconds = time.perf_counter() - start
    after = mean_return(act, job, seed)
    env.close()
    return before, after, seconds


def main() -> None:
    torch.set_num_threads(1)
    for job in JOBS:
        before, after, seconds = train(job, SEED)
        task = ", ".join(f"{k} {v}" for k, v in job.task.items())
        parameters = {
            "learner": job.learner,
            "family": job.family,
            "task": task,
            "steps": job.steps,
        }
        for metric, value, unit in (
            ("return before", before, "1"),
            ("return after", after, "1"),
            ("seconds", seconds, "s"),
        ):
            record("stable_baselines", metric, value, unit, parameters, SEED)
        if after <= before:
            raise SystemExit(f"{job.learner} on {job.family}: {before:g} to {after:g}")


if __name__ == "__main__":
    main()

"""What one shard of an iteration's collection is, and what runs it.

A job is a pure function of its fields and of the policy: machine, threads and earlier jobs change
no number of it. So a job that is lost is simply run again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from policies.algorithms.contract import Policy
from policies.replay.run_replay import Run
from policies.rollout.driver import ScriptedAgent
from policies.rollout.trajectories import Statistics, collect_run
from sim.core.registry import family
from sim.core.task_space import Task
from sim.core.worlds import Worlds


@dataclass(frozen=True)
class CollectPlan:
    """What all of a run's jobs share.

    family: of tasks, by its name.
    worlds: W, in each job. steps: T, control periods on one task.
    """

    family: str
    worlds: int
    steps: int


@dataclass(frozen=True)
class CollectJob:
    """One run in each of W worlds.

    seed: entropy of every random number in it: of the worlds, of latents and actions, of the
        script. No two jobs of a run may share it.
    task: (W,) indices among the training tasks. values: (W, n_p) of those tasks, in their units.
    adapting: (W,) worlds whose belief follows the context; the others stay at the prior.
    told: (W,) worlds that act on the true factors.
    stochastic: (W,) where actions are drawn; the others act by the policy's mean.
    scripted: act by the family's script instead of the policy.
    """

    seed: tuple[int, ...]
    task: np.ndarray
    values: np.ndarray
    adapting: np.ndarray
    told: np.ndarray
    stochastic: np.ndarray
    scripted: bool

    def cut(self, shards: int) -> list[CollectJob]:
        """The same worlds in so many jobs of one size, each with a seed of its own."""
        return [
            CollectJob(
                (*self.seed, shard),
                self.task[part],
                self.values[part],
                self.adapting[part],
                self.told[part],
                self.stochastic[part],
                self.scripted,
            )
            for shard, part in enumerate(np.split(np.arange(len(self.task)), shards))
        ]


Collected = tuple[Run, Statistics]
"""A job's run and its statistics; see `policies.rollout.trajectories.collect_run`."""


class JobRunner:
    """Runs jobs in worlds that it keeps: threads and compiled models survive from job to job,
    nothing that a number depends on does.

    threads: of the physics.
    """

    def __init__(self, plan: CollectPlan, threads: int) -> None:
        self.plan = plan
        self._family = family(plan.family)
        self._worlds: Worlds = self._family.make(plan.worlds, 0, threads)

    def run(self, job: CollectJob, policy: Policy) -> Collected:
        """The job's run."""
        plan, worlds = self.plan, self._worlds
        noise, script_noise, drawn = np.random.SeedSequence(job.seed).spawn(3)
        worlds.rng = np.random.default_rng(noise)
        worlds.assign([Task(self._family.space, values) for values in job.values])
        if job.scripted:
            script = self._family.script(worlds, np.random.default_rng(script_noise))
            agent = ScriptedAgent(script, plan.worlds)
        else:
            generator = torch.Generator()
            generator.manual_seed(int(drawn.generate_state(1, np.uint64)[0]))
            agent = policy.agent(plan.worlds, generator)
            agent.adapting = job.adapting
            if job.told.any():
                agent.tell(job.told)
        with _one_torch_thread():
            return collect_run(worlds, agent, job.task, plan.steps, job.stochastic)

    def close(self) -> None:
        """Stop the physics' threads."""
        self._worlds.close()


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """The order in which a product is summed may depend on the number of threads, and with it the
    last bit. On a few dozen rows a second thread gains nothing anyway."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

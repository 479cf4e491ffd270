"""What one shard of an iteration's collection is, and what runs it.

A job is a pure function of its fields and of the networks: whoever runs it, on whichever machine
and however many threads, after whatever other jobs, comes to the same run. So a job that is lost
is simply run again.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from policies.networks.modules import Actor, FactorEncoder
from policies.replay.run_replay import Run
from policies.rollout.batch_adapter import BatchAdapter
from policies.rollout.collect import collect_run
from sim.core.registry import family
from sim.core.task_space import Task
from sim.core.worlds import Worlds

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class CollectPlan:
    """What all of a run's jobs share.

    family: of tasks, by its name.
    worlds: W, in each job. steps: T, control periods on one task.
    n_z, capacity, hold, exploration, reward_in_context, next_in_context: as the learner has them.
    """

    family: str
    worlds: int
    steps: int
    n_z: int
    capacity: int
    hold: int
    exploration: float
    reward_in_context: bool
    next_in_context: bool


@dataclass(frozen=True)
class CollectJob:
    """One run in each of W worlds.

    seed: entropy of every random number in it: of the worlds, of latents and actions, of the
        script. No two jobs of a run may share it.
    task: (W,) indices among the training tasks. values: (W, n_p) of those tasks, in their units.
    adapting: (W,) whose belief follows the context; the others stay at the prior.
    told: (W,) whose latent is the truth.
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


@dataclass(frozen=True)
class Networks:
    """What acts and what infers while collecting. Without an encoder nothing is inferred."""

    actor: Actor
    encoder: FactorEncoder | None

    def on_cpu(self) -> Networks:
        """The same where the worlds are: themselves, or a copy of what another device holds."""
        encoder = None if self.encoder is None else _on_cpu(self.encoder)
        return Networks(_on_cpu(self.actor), encoder)


Collected = tuple[Run, dict[str, float]]
"""A job's run and its statistics; see `policies.rollout.collect.collect_run`."""


class JobRunner:
    """Runs jobs in worlds that it keeps: threads and compiled models survive from job to job,
    nothing that a number depends on does.

    threads: of the physics.
    """

    def __init__(self, plan: CollectPlan, threads: int) -> None:
        self.plan = plan
        self._family = family(plan.family)
        self._worlds: Worlds = self._family.make(plan.worlds, 0, threads)

    def run(self, job: CollectJob, networks: Networks) -> Collected:
        """The job's run; the networks must be on the CPU."""
        plan, worlds = self.plan, self._worlds
        noise, script_noise, drawn = np.random.SeedSequence(job.seed).spawn(3)
        worlds.rng = np.random.default_rng(noise)
        worlds.assign([Task(self._family.space, values) for values in job.values])
        adapter = BatchAdapter(
            networks.actor,
            networks.encoder,
            plan.worlds,
            plan.n_z,
            plan.capacity,
            plan.hold,
            torch.Generator().manual_seed(int(drawn.generate_state(1, np.uint64)[0])),
            plan.exploration,
        )
        adapter.adapting = job.adapting
        adapter.told = adapter.told | job.told
        act = begin = None
        if job.scripted:
            script = self._family.script(worlds, np.random.default_rng(script_noise))
            act, begin = script.act, script.begin
        with _one_torch_thread():
            return collect_run(
                worlds,
                job.task,
                plan.steps,
                adapter,
                plan.reward_in_context,
                plan.next_in_context,
                job.stochastic,
                act,
                begin,
            )

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


def _on_cpu(module: M) -> M:
    on_cpu = all(p.device.type == "cpu" for p in module.parameters())
    return module if on_cpu else copy.deepcopy(module).cpu()

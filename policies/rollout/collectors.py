"""Collectors: who runs an iteration's jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from adapt.errors import AcclimateError
from policies.rollout.jobs import Collected, CollectJob, CollectPlan, JobRunner, Networks
from policies.training.settings import TrainSettings


class Collector(Protocol):
    """Runs jobs; which collector it is changes no number of theirs."""

    restarts: int
    """Workers that died and were replaced, so far."""

    def collect(self, jobs: Sequence[CollectJob], networks: Networks) -> list[Collected]:
        """Each job's run and statistics, in the jobs' order; networks on the CPU."""
        ...

    def close(self) -> None: ...


class LocalCollector:
    """Runs one job after another in this process.

    threads: of the physics.
    """

    restarts = 0

    def __init__(self, plan: CollectPlan, threads: int) -> None:
        self._runner = JobRunner(plan, threads)

    def collect(self, jobs: Sequence[CollectJob], networks: Networks) -> list[Collected]:
        return [self._runner.run(job, networks) for job in jobs]

    def close(self) -> None:
        self._runner.close()


def make_collector(settings: TrainSettings, n_z: int) -> Collector:
    """The collector that the settings name, for latents of size n_z.

    Raises:
        AcclimateError: it needs what is not installed or not there; the message says what.
    """
    c = settings.learner
    plan = CollectPlan(
        family=settings.family,
        worlds=worlds_per_job(settings),
        steps=settings.run_steps,
        n_z=n_z,
        capacity=c.capacity,
        hold=c.hold,
        exploration=c.exploration,
        reward_in_context=c.reward_in_context,
        next_in_context=c.next_in_context,
    )
    if settings.collectors == "local":
        return LocalCollector(plan, settings.threads)
    # Here and not above: Ray is an optional extra, and slow to import.
    from policies.rollout.ray_collector import RayCollector

    return RayCollector(plan, settings.workers, settings.worker_threads, settings.ray_address)


def worlds_per_job(settings: TrainSettings) -> int:
    """How many worlds each of an iteration's jobs has, or an error that names what does not fit."""
    worlds, shards, workers = settings.worlds, settings.shards, settings.workers
    if worlds % shards:
        fitting = ", ".join(str(n) for n in range(1, worlds + 1) if worlds % n == 0)
        raise AcclimateError(
            f"worlds={worlds} cannot be divided into shards={shards} jobs of one size; "
            f"shards may be {fitting}"
        )
    if settings.collectors == "ray" and shards < workers:
        raise AcclimateError(
            f"shards={shards} jobs leave some of workers={workers} without one; "
            f"set shards to a multiple of {workers}"
        )
    return worlds // shards


def total(statistics: Sequence[dict[str, float]]) -> dict[str, float]:
    """The jobs' statistics as those of one: counts are added, means are over all episodes."""
    episodes = np.array([s["episodes"] for s in statistics])
    share = episodes / max(episodes.sum(), 1)
    mean = {k: float(share @ [s[k] for s in statistics]) for k in ("return", "success")}
    count = {k: float(sum(s[k] for s in statistics)) for k in ("episodes", "diverged")}
    return count | mean

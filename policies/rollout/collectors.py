"""Collectors: who runs an iteration's jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from adapt.errors import AcclimateError
from adapt.settings import Count
from policies.algorithms.contract import Policy
from policies.rollout.jobs import Collected, CollectJob, CollectPlan, JobRunner


@dataclass(frozen=True)
class CollectSettings:
    """The settings of an algorithm that collects by jobs.

    worlds: worlds that collect side by side in an iteration.
    run_steps: control periods on one task before the next.
    shards: jobs that an iteration's worlds are divided into, each in lock-step. Another layout
        gives other numbers; which collector runs the jobs does not.
    collectors: local runs the jobs in this process; ray in Ray's workers
        (`pip install '.[train,ray]'`).
    workers: number of Ray's workers.
    worker_threads: threads of the physics of each worker.
    ray_address: of a running cluster, such as "auto" or "10.0.0.1:6379"; null starts Ray on this
        machine, for this run alone.
    """

    worlds: Count = 64
    run_steps: Count = 160
    shards: Count = 1
    collectors: Literal["local", "ray"] = "local"
    workers: Count = 2
    worker_threads: Count = 1
    ray_address: str | None = None


class Collector(Protocol):
    """Runs jobs; which collector it is changes no number of theirs."""

    restarts: int
    """Workers that died and were replaced, so far."""

    def collect(self, jobs: Sequence[CollectJob], policy: Policy) -> list[Collected]:
        """Each job's run and statistics, in the jobs' order."""
        ...

    def close(self) -> None: ...


class LocalCollector:
    """Runs one job after another in this process.

    threads: of the physics.
    """

    restarts = 0

    def __init__(self, plan: CollectPlan, threads: int) -> None:
        self._runner = JobRunner(plan, threads)

    def collect(self, jobs: Sequence[CollectJob], policy: Policy) -> list[Collected]:
        return [self._runner.run(job, policy) for job in jobs]

    def close(self) -> None:
        self._runner.close()


def make_collector(settings: CollectSettings, family: str, threads: int) -> Collector:
    """The collector that the settings name, for tasks of a family. threads: of the local physics.

    Raises:
        AcclimateError: it needs what is not installed or not there; the message says what.
    """
    plan = CollectPlan(family, worlds_per_job(settings), settings.run_steps)
    if settings.collectors == "local":
        return LocalCollector(plan, threads)
    # Here and not above: Ray is an optional extra, and slow to import.
    from policies.rollout.ray_collector import RayCollector

    return RayCollector(plan, settings.workers, settings.worker_threads, settings.ray_address)


def worlds_per_job(settings: CollectSettings) -> int:
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

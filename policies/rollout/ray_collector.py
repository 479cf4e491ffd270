"""Jobs on Ray's workers: other processes and other machines collect for this one.

A worker runs a `policies.rollout.jobs.JobRunner`, as this process does. A worker that dies, because
memory ran out or its machine stopped, is replaced, and its job is run again: the job is a function
of what is sent with it, so the run that comes back is the same to the bit.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections import deque
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from adapt.errors import AcclimateError
from policies.algorithms.contract import Policy
from policies.rollout.jobs import Collected, CollectJob, CollectPlan, JobRunner

DEATHS = 3
"""Workers that one job may lose: more, and it is the job that kills them."""
ANSWER_TIMEOUT = 10.0
"""[s] within which a cluster must answer at its address."""
START_TIMEOUT = 300.0
"""[s] within which every worker must have been found a place, imported torch and made its worlds.
"""


class RayCollector:
    """Runs jobs on Ray's workers, each as soon as one is free.

    Args:
        plan: of the jobs.
        workers: how many.
        threads: of the physics of each; Ray reserves as many CPUs for it.
        address: of a running cluster on whose machines this very version of the project is
            installed. None starts Ray here for as long as this collector lives, or takes the one
            that this process already has.

    Raises:
        AcclimateError: Ray is not installed, no cluster answers, or it has no room for the workers.
    """

    def __init__(self, plan: CollectPlan, workers: int, threads: int, address: str | None) -> None:
        self.restarts = 0
        self._idle: list[Any] = []
        self._ray = _ray()
        self._plan, self._threads = plan, threads
        self._started = not self._ray.is_initialized()
        if self._started:
            _start(self._ray, address, workers * threads)
        try:
            self._check_room(workers)
            self._idle = [self._spawn() for _ in range(workers)]
            self._await_workers()
        except BaseException:
            self.close()
            raise

    def collect(self, jobs: Sequence[CollectJob], policy: Policy) -> list[Collected]:
        """Each job's run and statistics, in the jobs' order.

        Raises:
            AcclimateError: one job has lost more than `DEATHS` workers.
        """
        ray, lost = self._ray, _losses(self._ray)
        # Sent once for all jobs, and once to each machine.
        shared = ray.put(policy)
        waiting = deque(range(len(jobs)))
        running: dict[Any, tuple[int, Any]] = {}
        deaths = [0] * len(jobs)
        found: dict[int, Collected] = {}
        while waiting or running:
            while waiting and self._idle:
                number, worker = waiting.popleft(), self._idle.pop()
                running[worker.run.remote(jobs[number], shared)] = number, worker
            (answer,), _ = ray.wait(list(running), num_returns=1)
            number, worker = running.pop(answer)
            try:
                found[number] = ray.get(answer)
                self._idle.append(worker)
            except lost as error:
                deaths[number] += 1
                if deaths[number] > DEATHS:
                    raise AcclimateError(
                        f"job {jobs[number].seed} has lost {deaths[number]} of Ray's workers, one "
                        f"after the other; the last: {_first_line(error)}"
                    ) from error
                self.restarts += 1
                # It may still hold its place, if only its answer was lost.
                ray.kill(worker)
                self._idle.append(self._spawn())
                waiting.appendleft(number)
        return [found[number] for number in range(len(jobs))]

    def close(self) -> None:
        """Stop the workers, and Ray itself where it was started for them."""
        if self._started:
            self._ray.shutdown()
        else:
            for worker in self._idle:
                self._ray.kill(worker)
        self._idle = []

    def _spawn(self) -> Any:
        worker = self._ray.remote(num_cpus=self._threads, max_restarts=0)(JobRunner)
        return worker.remote(self._plan, self._threads)

    def _check_room(self, workers: int) -> None:
        needed, there = workers * self._threads, self._ray.cluster_resources().get("CPU", 0)
        if there < needed:
            raise AcclimateError(
                f"workers={workers} of worker_threads={self._threads} need {needed} CPUs; "
                f"Ray's cluster has {there:g}"
            )

    def _await_workers(self) -> None:
        errors = self._ray.exceptions
        try:
            ready = [worker.__ray_ready__.remote() for worker in self._idle]
            self._ray.get(ready, timeout=START_TIMEOUT)
        except errors.GetTimeoutError as error:
            raise AcclimateError(
                f"Ray has not started all of workers={len(self._idle)} within {START_TIMEOUT:g} s; "
                "are its CPUs taken by others?"
            ) from error
        except errors.RayActorError as error:
            raise AcclimateError(f"a worker of Ray did not start: {error}") from error


def _ray() -> Any:
    try:
        return import_module("ray")
    except ImportError as error:
        raise AcclimateError(
            "collectors=ray needs Ray, which is not installed: pip install '.[train,ray]' in "
            "Acclimate's repository, or set collectors=local"
        ) from error


def _start(ray: Any, address: str | None, cpus: int) -> None:
    """Connect to a cluster, or start one of this machine alone, for this run alone."""
    # Ray otherwise reports every start to its makers.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    quiet = {"logging_level": "error", "log_to_driver": False}
    if address is None:
        # "local": otherwise RAY_ADDRESS or another user's cluster would be taken.
        # Ray always listens beyond this machine, and answers every client that has its token:
        # one for this run alone, rather than the one that it would leave in the home directory.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        here = {"num_cpus": cpus, "num_gpus": 0, "include_dashboard": False}
        ray.init("local", _node_ip_address="127.0.0.1", **here, **quiet)
        return
    try:
        host, _, port = address.rpartition(":")
        if port.isdigit() and "/" not in host:
            # Ray itself goes on calling for many minutes.
            socket.create_connection((host, int(port)), ANSWER_TIMEOUT).close()
        ray.init(address, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        raise AcclimateError(f"ray_address={address}: {_first_line(error)}") from error


def _losses(ray: Any) -> tuple[type[Exception], ...]:
    """What Ray says when a worker, its machine or its answer is gone; not what a job itself
    raises, which would only be raised again."""
    e = ray.exceptions
    return (
        e.RayActorError,
        e.WorkerCrashedError,
        e.NodeDiedError,
        e.OutOfMemoryError,
        e.ObjectLostError,
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]

"""Collectors: the layout, the totals, what is refused; and Ray's, before a Ray of our own."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from adapt.errors import AcclimateError
from policies.algorithms.pearl.agent import PearlPolicy
from policies.algorithms.pearl.config import PearlConfig, PearlSettings
from policies.algorithms.pearl.learner import PearlLearner
from policies.networks.modules import Actor
from policies.rollout import ray_collector
from policies.rollout.collectors import make_collector, total
from policies.rollout.jobs import CollectJob, CollectPlan
from policies.rollout.ray_collector import DEATHS, RayCollector
from policies.training.checkpoint import CheckpointError
from policies.training.runs import RunFolder
from policies.training.trainer import Trainer

ACTING = PearlPolicy(Actor(1, 1, 1, (2,)), None, 1, PearlConfig())
PLAN = CollectPlan("point-sparse", 1, 1)


def settings(out: Path, **changes: Any) -> PearlSettings:
    small = PearlSettings(
        name="small",
        out=out,
        family="point-sparse",
        worlds=6,
        run_steps=30,
        train_tasks=8,
        iterations=3,
        script_iterations=1,
        updates_per_iteration=2,
        validation_tasks=2,
        validation_episodes=1,
        threads=1,
        learner=PearlConfig(capacity=12, tasks_per_batch=2, rows_per_task=4),
    )
    return replace(small, **changes)


def jobs(n: int) -> list[CollectJob]:
    one, everyone = np.zeros(1, int), np.ones(1, bool)
    values = np.zeros((1, 1))
    return [CollectJob((i,), one, values, everyone, ~everyone, everyone, True) for i in range(n)]


# The layout -----------------------------------------------------------------------------------


def test_shards_are_a_layout_every_world_runs_its_task_in_any(tmp_path: Path) -> None:
    runs = {}
    for shards in (1, 3):
        trainer = Trainer(settings(tmp_path, shards=shards))
        metrics = trainer.iterate()
        assert metrics["collect/episodes"] == 6  # 30 steps are one episode of 20, and a half
        learner = trainer.learner
        assert isinstance(learner, PearlLearner)
        runs[shards] = {k: v[:6].copy() for k, v in learner.replay.arrays.items()}
        trainer.close()
    assert np.array_equal(runs[1]["task"], runs[3]["task"])
    assert not np.array_equal(runs[1]["action"], runs[3]["action"])


def test_a_layout_that_does_not_fit_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(AcclimateError, match=r"worlds=6 .* shards=4 .* may be 1, 2, 3, 6$"):
        Trainer(settings(tmp_path, shards=4))
    with pytest.raises(AcclimateError, match=r"shards=1 .* workers=2 .* multiple of 2$"):
        Trainer(settings(tmp_path, collectors="ray"))


def test_the_total_is_that_of_all_episodes() -> None:
    one = {"episodes": 1, "return": 4.0, "success": 1.0, "diverged": 2}
    three = {"episodes": 3, "return": 8.0, "success": 0.0, "diverged": 1}
    assert total([one, three]) == {"episodes": 4, "return": 7.0, "success": 0.25, "diverged": 3}
    none = {"episodes": 0, "return": 0.0, "success": 0.0, "diverged": 5}
    assert total([none, none]) == {"episodes": 0, "return": 0.0, "success": 0.0, "diverged": 10}
    assert total([one]) == one


# Going on -------------------------------------------------------------------------------------


def test_a_run_may_go_on_with_another_collector_and_not_with_another_layout(tmp_path: Path) -> None:
    RunFolder(settings(tmp_path, shards=2))
    RunFolder(settings(tmp_path, shards=2, collectors="ray", worker_threads=2, ray_address="auto"))
    with pytest.raises(AcclimateError, match=r"\(shards: 2 there, 3 here\)"):
        RunFolder(settings(tmp_path, shards=3))


def test_a_checkpoint_from_before_jobs_is_refused_with_what_to_do(tmp_path: Path) -> None:
    trainer = Trainer(settings(tmp_path))
    state = trainer.state_dict()
    del state["format"]
    with pytest.raises(CheckpointError, match=r"format 1, expected 2: .* run\.json .* out="):
        trainer.load_state_dict(state)


# Ray's, with a Ray that dies when it is told to -------------------------------------------------


class Died(Exception):
    pass


class FakeRay:
    """One process that plays the part of Ray's; an answer is made when it is fetched.

    dies: (worker, job) → whether that worker dies of that job.
    """

    def __init__(self, dies: Callable[[int, CollectJob], bool], cpus: int = 8) -> None:
        self.dies, self.cpus = dies, cpus
        self.spawned, self.killed, self.jobs = 0, 0, []
        names = ("RayActorError", "WorkerCrashedError", "NodeDiedError", "OutOfMemoryError")
        self.exceptions = SimpleNamespace(
            **dict.fromkeys(names, Died), ObjectLostError=Died, GetTimeoutError=TimeoutError
        )

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": self.cpus}

    def remote(self, **_: int) -> Callable[[type], Any]:
        return lambda _: SimpleNamespace(remote=self._spawn)

    def _spawn(self, *_: object) -> Any:
        worker = self.spawned
        self.spawned += 1
        return SimpleNamespace(
            __ray_ready__=SimpleNamespace(remote=lambda: lambda: None),
            run=SimpleNamespace(remote=lambda job, _: lambda: self._run(worker, job)),
        )

    def _run(self, worker: int, job: CollectJob) -> Any:
        self.jobs.append((worker, job.seed))
        if self.dies(worker, job):
            raise Died("The actor died.\nlong explanation")
        return job.seed

    def put(self, value: object) -> object:
        return value

    def wait(self, answers: list[Any], num_returns: int) -> tuple[list[Any], list[Any]]:
        return answers[-num_returns:], answers[:-num_returns]

    def get(self, answer: Any, timeout: float = 0) -> Any:
        return [one() for one in answer] if isinstance(answer, list) else answer()

    def kill(self, _: object) -> None:
        self.killed += 1


def collector(ray: FakeRay, monkeypatch: pytest.MonkeyPatch, workers: int = 2) -> RayCollector:
    monkeypatch.setattr(ray_collector, "_ray", lambda: ray)
    return RayCollector(PLAN, workers, 1, None)


def test_answers_come_in_the_order_of_the_jobs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray = FakeRay(lambda worker, job: False)
    found = collector(ray, monkeypatch).collect(jobs(5), ACTING)
    assert found == [(0,), (1,), (2,), (3,), (4,)]
    assert [seed for _, seed in ray.jobs] != found  # they were not
    assert ray.spawned == 2 and ray.killed == 0


def test_a_lost_job_is_run_again_by_a_fresh_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = FakeRay(lambda worker, job: worker < 2)
    pool = collector(ray, monkeypatch)
    assert pool.collect(jobs(3), ACTING) == [(0,), (1,), (2,)]
    assert pool.restarts == 2 and ray.spawned == 4
    assert pool.collect(jobs(3), ACTING) == [(0,), (1,), (2,)]
    assert pool.restarts == 2 and ray.spawned == 4


def test_a_job_that_kills_every_worker_ends_the_run_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray = FakeRay(lambda worker, job: job.seed == (1,))
    pool = collector(ray, monkeypatch)
    with pytest.raises(AcclimateError, match=r"job \(1,\) has lost 4 .*: The actor died\.$"):
        pool.collect(jobs(3), ACTING)
    assert sum(seed == (1,) for _, seed in ray.jobs) == DEATHS + 1


def test_a_cluster_without_room_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AcclimateError, match=r"workers=9 of worker_threads=1 need 9 CPUs.* has 8"):
        collector(FakeRay(lambda worker, job: False), monkeypatch, workers=9)


def test_an_address_where_no_cluster_is_fails_at_once_by_name() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and no process listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(AcclimateError, match=f"ray_address={address}: .*refused"):
            ray_collector._start(FakeRay(lambda worker, job: False), address, 1)


def test_without_ray_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(AcclimateError, match=r"pip install '\.\[train,ray\]'"):
        make_collector(settings(tmp_path, collectors="ray", shards=2), "point-sparse", 1)

"""Two of Ray's workers on this machine: the numbers of one process, also when they are killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.algorithms.contract import Metrics
from policies.algorithms.pearl.learner import PearlLearner
from policies.rollout.collectors import LocalCollector
from policies.rollout.jobs import CollectPlan
from policies.rollout.ray_collector import RayCollector, _start
from policies.training.trainer import Trainer
from tests.policies.rollout.test_collectors import settings
from tests.policies.rollout.test_jobs import job, networks, same

ray = pytest.importorskip("ray", reason="needs the extra ray: pip install -e '.[ray]'")
# Ray itself, and every worker's torch, take seconds to start.
pytestmark = pytest.mark.slow

FAMILY = "point-sparse"
PLAN = CollectPlan(FAMILY, 3, 1000)


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    _start(ray, None, 4)
    yield
    ray.shutdown()


def pid(worker: object) -> int:
    return ray.get(worker.__ray_call__.remote(lambda runner: os.getpid()))  # pyright: ignore


def worked(process: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def kill_at_work(process: int) -> threading.Thread:
    """SIGKILL a worker as soon as it is in the middle of a job, seen by the time it has spent."""
    before = worked(process)

    def wait_and_kill() -> None:
        deadline = time.monotonic() + 60
        while worked(process) < before + 0.1 and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(process, signal.SIGKILL)

    thread = threading.Thread(target=wait_and_kill)
    thread.start()
    return thread


def test_a_worker_killed_in_the_middle_of_its_job_changes_no_number() -> None:
    whole, acting = job(FAMILY, worlds=12), networks(FAMILY)
    jobs = whole.cut(4)
    local = LocalCollector(PLAN, 2)
    expected = local.collect(jobs, acting)
    pool = RayCollector(PLAN, 2, 1, None)
    first, second = (pid(worker) for worker in pool._idle)
    assert os.getpid() not in (first, second) and first != second
    for victim in (first, None):
        killer = kill_at_work(victim) if victim else None
        found = pool.collect(jobs, acting)
        if killer is not None:
            killer.join()
        assert all(same(a, b) for a, b in zip(expected, found, strict=True))
        assert pool.restarts == 1
    pool.close()
    local.close()


def iterations(folder: Path, **changes: object) -> tuple[list[Metrics], PearlLearner]:
    """What four iterations measure, but for what depends on who did them; and the learner."""
    trainer = Trainer(settings(folder, shards=3, iterations=4, **changes))
    learner = trainer.learner
    assert isinstance(learner, PearlLearner)
    rows = []
    for number in range(4):
        if changes and number == 2:
            # Between two iterations, unlike above; not even noticed before the next.
            os.kill(pid(learner.collector._idle[0]), signal.SIGKILL)  # pyright: ignore
        row = trainer.iterate()
        rows.append({k: v for k, v in row.items() if not k.startswith(("time/", "workers/"))})
    if changes:
        assert row["workers/restarts"] == 1
    trainer.close()
    return rows, learner


def test_a_run_collected_by_workers_is_the_run_collected_here(tmp_path: Path) -> None:
    expected, one = iterations(tmp_path)
    found, other = iterations(tmp_path, collectors="ray", workers=2)
    assert found == expected
    for name, array in one.replay.arrays.items():
        assert np.array_equal(array, other.replay.arrays[name]), name
    for name, module in one.modules().items():
        for key, value in module.state_dict().items():
            assert torch.equal(value, other.modules()[name].state_dict()[key]), (name, key)


def test_a_fault_in_a_job_is_shown_and_not_tried_again() -> None:
    pool = RayCollector(PLAN, 1, 1, None)
    misfit = job(FAMILY, worlds=4)
    with pytest.raises(ValueError, match="3 worlds need as many tasks, got 4"):
        pool.collect([misfit], networks(FAMILY))
    assert pool.restarts == 0
    pool.close()

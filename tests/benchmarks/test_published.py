"""The published families' benchmark: which runs count, and what is told of which."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from adapt.errors import AcclimateError
from benchmarks import bench_published as published
from benchmarks.support import results
from policies.training import cli as training

TINY = (
    "experiment=cheetah_vel worlds=3 run_steps=20 iterations=2 script_iterations=1 "
    "updates_per_iteration=2 validation_tasks=2 validation_every=1 threads=1 learner.capacity=20 "
    "learner.tasks_per_batch=2 learner.rows_per_task=4 learner.actor_hidden=[8] "
    "learner.critic_hidden=[8]"
).split()


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, and where records go."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(published, "record", partial(results.record, folder=tmp_path))
    monkeypatch.setattr(published, "TASKS", 3)
    return tmp_path / "published.jsonl"


def trained(name: str, *changes: str) -> None:
    assert training.main([*TINY, f"out=runs/{name}", *changes]) == 0


def found(path: Path) -> dict[tuple[object, int], dict[str, float]]:
    """Metrics by family and seed."""
    rows: dict[tuple[object, int], dict[str, float]] = {}
    for r in results.read(path):
        rows.setdefault((r.parameters["family"], r.seed), {})[r.metric] = r.value
    return rows


def test_seeds_that_ended_the_published_objective_and_the_oracle_count(recorded: Path) -> None:
    trained("cheetah-vel-0")
    trained("cheetah-vel-1", "seed=1")
    trained("cheetah-vel-critic", "learner.objective=critic", "learner.told_rows=0")
    trained("cheetah-vel-oracle", "learner.objective=privileged", "learner.told_rows=0")
    log = Path("runs/cheetah-vel-1/log.jsonl")
    log.write_text(log.read_text().splitlines()[0] + "\n")
    assert published.main(["cheetah-vel"]) == 0
    rows = found(recorded)
    assert set(rows) == {("cheetah-vel", 0), ("cheetah-vel, published objective", 0)}
    ours, theirs = rows["cheetah-vel", 0], rows["cheetah-vel, published objective", 0]
    assert {"oracle", "told", "return, k = 2", "training"} <= set(ours)
    # Its latent is no task's factors that it could be told.
    assert set(theirs) == set(ours) - {"oracle", "told", "gap closed"}


def test_a_family_without_a_finished_run_is_refused_with_what_to_run(recorded: Path) -> None:
    with pytest.raises(AcclimateError, match="acclimate train experiment=cheetah_vel"):
        published.main(["cheetah-vel"])
    with pytest.raises(SystemExit, match="'ant-gaol': expected cheetah-vel"):
        published.main(["ant-gaol"])
    assert not recorded.exists()


def test_a_run_under_another_objective_s_name_is_refused(recorded: Path) -> None:
    trained("cheetah-vel-0", "learner.objective=critic", "learner.told_rows=0")
    with pytest.raises(AcclimateError, match=r"cheetah-vel-0: trained with .*objective=critic"):
        published.main(["cheetah-vel"])
    assert not recorded.exists()

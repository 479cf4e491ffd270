"""Evaluation: which tasks it takes, what it judges families by, and that it says so."""

import json
from pathlib import Path

import numpy as np
import pytest

from adapt.errors import AcclimateError
from policies.evaluation.cli import main
from policies.evaluation.measured import worst
from policies.training import cli as training
from policies.training.runs import load_best, read_log

SMALL = (
    "worlds=3 run_steps=20 iterations=2 script_iterations=1 updates_per_iteration=2 "
    "validation_tasks=2 validation_episodes=2 validation_every=1 threads=1 "
    "learner.capacity=20 learner.tasks_per_batch=2 learner.rows_per_task=4 "
    "learner.actor_hidden=[8] learner.critic_hidden=[8]"
).split()


def run(folder: Path, experiment: str, *changes: str) -> Path:
    out = folder / experiment
    assert training.main([f"experiment={experiment}", f"out={out}", *SMALL, *changes]) == 0
    return out


def evaluated(folder: Path, *words: str) -> list[dict]:
    assert main([f"run={folder}", "episodes=2", "threads=1", *words]) == 0
    return json.loads((folder / "evaluation.json").read_text())["rows"]


@pytest.fixture(scope="module")
def point(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("runs"), "point_sparse")


def test_a_fixed_held_out_set_is_taken_whole_and_once(point: Path, capsys) -> None:
    rows = evaluated(point)
    assert [(r["group"], r["belief"], r["tasks"]) for r in rows] == [
        ("held_out", "adapting", 20),
        ("held_out", "prior", 20),
    ]
    assert [len(rows[0][k]) for k in ("measured", "returns", "worst", "success")] == [2] * 4
    assert evaluated(point, "tasks=7")[0]["tasks"] == 7
    shown = capsys.readouterr().out
    assert "held_out       adapting  return" in shown and "success" not in shown
    # A newcomer reads what the numbers are, and each stands under its own heading.
    assert "return of one episode, mean over the tasks" in shown
    lines = shown.splitlines()
    heading = next(line for line in lines if line.split() == ["0", "1"])
    values = next(line for line in lines if line.startswith("held_out       adapting"))
    assert len(heading) == len(values)


def test_a_family_without_held_out_tasks_is_run_on_its_training_tasks_and_says_so(
    tmp_path: Path, capsys
) -> None:
    folder = run(tmp_path, "cheetah_dir")
    capsys.readouterr()
    rows = evaluated(folder, "frozen_prior=false")
    assert [(r["group"], r["tasks"]) for r in rows] == [("train", 2)]
    assert rows[0]["measured"] == rows[0]["returns"] and rows[0]["steps"] == [200, 200]
    assert "train          adapting  return" in capsys.readouterr().out


def test_the_checkpoint_with_the_best_measured_return_after_adapting_is_kept(point: Path) -> None:
    scores = []
    for row in read_log(point):
        score = row["validate/measured_1"]
        assert row["validate/score"] == pytest.approx(score)
        assert row["validate/improved"] == float(not scores or score > max(scores))
        scores.append(score)
    _, state = load_best(point)
    assert state["iteration"] == 1 + int(np.argmax(scores))


def test_a_policy_told_the_truth_is_not_run_with_a_belief_at_the_prior(tmp_path: Path) -> None:
    folder = run(tmp_path, "point_sparse", "learner.objective=privileged")
    assert [r["belief"] for r in evaluated(folder)] == ["adapting"]


def test_the_worst_twentieth_is_each_episodes_own() -> None:
    returns = np.stack([np.arange(40.0), np.arange(40.0)[::-1]], axis=1)
    assert worst(returns).tolist() == [0.5, 0.5]
    assert worst(np.array([[3.0], [1.0], [2.0]])).tolist() == [1.0]


@pytest.mark.parametrize(
    "experiment", ["ant_dir", "ant_goal", "cheetah_dir", "cheetah_vel", "walker_params"]
)
def test_every_published_familys_experiment_trains(tmp_path: Path, experiment: str) -> None:
    folder = run(tmp_path, experiment, "validation_every=2", "iterations=2")
    rows = read_log(folder)
    assert rows[-1]["collect/diverged"] == 0 and "validate/measured_1" in rows[-1]
    trainer, _ = load_best(folder)
    assert trainer.settings.family == experiment.replace("_", "-")
    trainer.close()


def test_plugs_are_groups_of_an_insertion_run_and_of_no_other(tmp_path: Path, point: Path) -> None:
    insertion = run(tmp_path, "insertion_pearl", "train_tasks=3")
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: mine\nunit: mm\nclearance: 0.2\n"
        "pins: [{shape: round, at: [0, 0], size: 8, length: 12}]\n"
    )
    rows = evaluated(insertion, f"plug=[us_ac,{file}]", "tasks=2", "frozen_prior=false")
    assert [(r["group"], r["tasks"]) for r in rows] == [("us_ac", 2), ("mine", 2)]
    with pytest.raises(AcclimateError, match="is for a run of family 'insertion'; this one's is"):
        main([f"run={point}", "plug=us_ac"])

"""Runs compared: whose seeds belong together, what a closed gap is, and that files hold it all."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adapt.errors import AcclimateError
from policies.algorithms.maesn.config import MaesnSettings
from policies.algorithms.pearl.config import PearlConfig, PearlSettings
from policies.evaluation.cli import main
from policies.evaluation.comparison import EvaluatedRun, compare, gap_closed, variants
from policies.evaluation.comparison_plots import draw, learning_curve
from policies.evaluation.comparison_table import markdown
from policies.evaluation.measured import Measured
from policies.training.runs import run_folders
from tests.policies.evaluation.test_evaluate import run

TASKS = np.arange(4.0)[:, None]


def measured(belief: str, values: np.ndarray) -> Measured:
    behind = list(range(values.shape[1])) if belief == "adapting" else [0] * values.shape[1]
    some = np.zeros(values.shape)
    return Measured("held_out", belief, behind, TASKS, some, some, some, values)  # type: ignore[arg-type]


def evaluated(seed: int, values: np.ndarray, prior: np.ndarray | None, **learner) -> EvaluatedRun:
    """A run of two iterations, the first of which validated at 0, the second at 1."""
    settings = PearlSettings(
        "small",
        Path(f"small-{seed}"),
        seed=seed,
        family="point-sparse",
        iterations=2,
        learner=PearlConfig(**learner),
    )
    log = [
        {
            "iteration": i + 1,
            "steps": 100.0 * (i + 1),
            "updates": 10.0,
            "time/collect": 20.0,
            "time/learn": 40.0 * (seed + 1),
            "validate/measured_0": -5.0,
            "validate/measured_1": float(i),
        }
        for i in range(2)
    ]
    found = [measured("adapting", values)]
    if prior is not None:
        found.append(measured("prior", prior))
    told = settings.learner.objective == "privileged"
    return EvaluatedRun(settings.out, settings, "return", 1, found, log, told)


def pair(seed: int, after: float) -> EvaluatedRun:
    """Four tasks, 0 at the prior and in the first episode, `after` in the second."""
    return evaluated(seed, np.stack([np.zeros(4), np.full(4, after)], 1), np.zeros((4, 3)))


def oracle(seed: int = 0, values: float = 10.0) -> EvaluatedRun:
    return evaluated(seed, np.full((4, 2), values), None, objective="privileged")


def test_a_gap_is_closed_task_by_task() -> None:
    prior, best = np.array([0.0, 10.0]), np.array([10.0, 14.0])
    value = np.array([[0.0, 5.0, 10.0], [10.0, 11.0, 14.0]])
    gap = gap_closed(value, prior, best)
    np.testing.assert_allclose(gap.mean, [0.0, (0.5 + 0.25) / 2, 1.0])
    np.testing.assert_allclose(gap.of_means, [0.0, 6.0 / 14.0, 1.0])
    assert gap.tasks == 2


def test_a_task_without_a_gap_decides_nothing() -> None:
    prior, best = np.array([0.0, 5.0, 5.0, 6.0]), np.array([10.0, 5.0, 5.001, 5.0])
    value = np.array([[5.0], [9.0], [9.0], [9.0]])
    gap = gap_closed(value, prior, best)
    assert gap.tasks == 1 and gap.mean == pytest.approx([0.5])
    none = gap_closed(value, prior, prior)
    assert none.tasks == 0 and np.isnan(none.mean).all() and np.isnan(none.of_means).all()


def test_seeds_of_one_variant_stand_together_and_others_are_told_apart() -> None:
    runs = [pair(1, 5.0), pair(0, 3.0), oracle()]
    named = variants(runs)
    assert [[r.settings.seed for r in group] for group in named.values()] == [[0, 1], [0]]
    assert list(named) == [
        "small learner.objective=posterior",
        "small learner.objective=privileged",
    ]
    assert list(variants(runs[:2])) == ["small"]
    maesn = [
        replace(runs[0], settings=MaesnSettings("small", Path("x"), seed=s, start=Path(f"p-{s}")))
        for s in (0, 1)
    ]
    assert len(variants(maesn)) == 1 and len(variants([*runs, *maesn])) == 3


def test_the_numbers_over_seeds() -> None:
    (found,) = compare([pair(0, 3.0), pair(1, 5.0), oracle(0, 10.0), oracle(1, 20.0)])
    line = found.lines[0]
    assert line.prior is not None and line.gap is not None and found.oracle is not None
    np.testing.assert_allclose(line.value, [[0.0, 3.0], [0.0, 5.0]])
    np.testing.assert_allclose(line.prior, [0.0, 0.0])
    np.testing.assert_allclose(found.oracle, [15.0] * 4)
    np.testing.assert_allclose(line.gap, [[0.0, 0.2], [0.0, 1 / 3]])
    assert found.lines[1].gap is None and found.lines[1].prior is None
    text = markdown([found])
    assert "4 (3 to 5)" in text and "0.2667 (0.2 to 0.3333)" in text
    assert "| small learner.objective=posterior" in text
    assert "2.667 (2 to 3.333)" in text  # minutes


def test_without_an_oracle_there_is_no_gap_and_the_rest_stands() -> None:
    (found,) = compare([pair(0, 3.0)])
    assert found.oracle is None and found.lines[0].gap is None
    assert "Gap closed" not in markdown([found]) and "k = 1" in markdown([found])


def test_a_run_that_has_not_ended_is_called_unfinished() -> None:
    half = pair(0, 3.0)
    (found,) = compare([replace(half, log=half.log[:1])])
    assert "1 of 2: unfinished" in markdown([found])


def test_a_learning_curve_is_of_the_most_adapted_episode(tmp_path: Path) -> None:
    at, values = learning_curve(pair(1, 5.0), "steps")
    assert at.tolist() == [100.0, 200.0] and values.tolist() == [0.0, 1.0]
    assert learning_curve(pair(1, 5.0), "minutes")[0] == pytest.approx([5 / 3, 10 / 3])
    pictures = draw(compare([pair(0, 3.0), pair(1, 5.0), oracle()]), tmp_path)
    assert [p.name for p in pictures] == [
        "point-sparse-adaptation.png",
        "point-sparse-learning.png",
    ]
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in pictures)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name, words in {
        "a-0": ["seed=0"],
        "a-1": ["seed=1"],
        "told": ["learner.objective=privileged"],
    }.items():
        run(folder, "point_sparse", f"out={folder / name}", *words)
    run(folder, "cheetah_dir")
    return folder


def test_many_folders_make_tables_and_pictures(runs: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "compared"
    words = [f"run=[{runs}/a-*,{runs}/told,{runs}/a-0,{runs}/cheetah_dir]", f"out={out}"]
    assert main([*words, "episodes=2", "threads=1"]) == 0
    assert sorted(p.name for p in out.iterdir()) == [
        "cheetah-dir-adaptation.png",
        "cheetah-dir-learning.png",
        "evaluation.json",
        "point-sparse-adaptation.png",
        "point-sparse-learning.png",
        "table.md",
    ]
    assert (out / "table.md").read_text() in capsys.readouterr().out
    point, cheetah = json.loads((out / "evaluation.json").read_text())["comparisons"]
    assert (point["family"], point["group"], len(point["oracle_per_task"])) == (
        "point-sparse",
        "held_out",
        20,
    )
    assert [[r["seed"] for r in v["runs"]] for v in point["variants"]] == [[0, 1], [0]]
    first = point["variants"][0]
    per_task = np.array([r["per_task"]["adapting"] for r in first["runs"]])
    np.testing.assert_allclose(per_task.mean(1), first["value"])
    assert np.array(first["runs"][0]["per_task"]["prior"]).shape == (20, 2)
    assert (cheetah["group"], cheetah["oracle_per_task"]) == ("train", None)
    assert "the family holds none out" in (out / "table.md").read_text()
    for name in ("a-0", "a-1", "told", "cheetah_dir"):
        rows = json.loads((runs / name / "evaluation.json").read_text())["rows"]
        assert rows[0]["behind"] == [0, 1]


def test_folders_are_named_or_matched_each_once_and_mistakes_are_named(runs: Path) -> None:
    (runs / "no-0").mkdir()
    assert run_folders(f"{runs}/*-?") == [runs / "a-0", runs / "a-1"]
    assert run_folders([f"{runs}/a-1", f"{runs}/a*"]) == [runs / "a-1", runs / "a-0"]
    with pytest.raises(AcclimateError, match=r"b-\*: no run folder is named so"):
        run_folders(f"{runs}/b-*")
    with pytest.raises(AcclimateError, match="it is not a run folder"):
        run_folders(str(runs))
    (runs / "young").mkdir()
    (runs / "young" / "settings.yaml").touch()
    with pytest.raises(AcclimateError, match="has not validated yet"):
        run_folders(f"{runs}/young")
    with pytest.raises(AcclimateError, match="2 runs are compared in a folder of their own"):
        main([f"run={runs}/a-*"])

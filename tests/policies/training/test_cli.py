"""`acclimate train` tells how it goes, and how an interrupted run goes on."""

from pathlib import Path

import pytest
import yaml

import acclimate
import configs
from adapt.settings import resolved
from policies.algorithms.registry import train_settings
from policies.training.trainer import Trainer
from tests.policies.evaluation.test_evaluate import SMALL

WORDS = ["train", "experiment=point_sparse", *SMALL, "iterations=5", "checkpoint_every=2"]


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch):
    """Ctrl-C in the iteration after so many."""
    real = Trainer.iterate

    def after(count: int) -> None:
        def iterate(self: Trainer) -> dict[str, float]:
            if self.iteration == count:
                raise KeyboardInterrupt
            return real(self)

        monkeypatch.setattr(Trainer, "iterate", iterate)

    return after


def test_a_file_gets_a_line_of_each_validation(tmp_path: Path, capsys):
    assert acclimate.main([*WORDS, f"out={tmp_path}", "validation_every=2"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("point-")]
    assert [line.split("  ")[1] for line in lines] == ["2/5", "4/5", "5/5"]
    assert all("return " in line and "validation " in line for line in lines)


def test_ctrl_c_says_from_where_the_run_goes_on(tmp_path: Path, capsys, interrupted):
    out = f"out={tmp_path / 'a b (c)'}"
    interrupted(1)
    assert acclimate.main([*WORDS, out]) == 130
    assert "after iteration 1 of 5; the same command starts anew" in capsys.readouterr().err
    interrupted(3)
    assert acclimate.main([*WORDS, out]) == 130
    told = capsys.readouterr().err
    assert "after iteration 3 of 5; the same command goes on after iteration 2" in told
    assert "Traceback" not in told
    interrupted(9)
    assert acclimate.main([*WORDS, out]) == 0
    assert "point-sparse (resumed)  3/5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("learner.discount=2", "learner.discount=2: expected a number ≥ 0 and < 1"),
        ("learner.hold=-5", "learner.hold=-5: expected a whole number ≥ 0"),
        ("learner.kl_weight=-1", "learner.kl_weight=-1: expected a number ≥ 0"),
        ("learner.told_rows=3", "learner.told_rows=3: expected a number from 0 to 1"),
        ("learner.actor_hidden=[]", "learner.actor_hidden=[]: expected a non-empty list"),
        ("learner.actor_hidden=[-5]", "each element a whole number ≥ 1"),
        ("learner.learning_rate=nan", "learner.learning_rate=nan: expected"),
        ("learner.learning_rate=inf", "learner.learning_rate=inf: expected a finite number"),
        ("learner.capacity=0", "learner.capacity=0: expected a whole number ≥ 1"),
        ("learner.target_rate=7", "learner.target_rate=7: expected a number > 0 and ≤ 1"),
        ("learner.target_entropy_per_action=1", "expected a number ≥ -20 and < 0.693147"),
        ("name=a/b", "name=a/b: expected text that matches"),
    ],
)
def test_a_setting_outside_its_bounds_is_named(word: str, named: str, tmp_path: Path, capsys):
    assert acclimate.main(["train", f"out={tmp_path / 'run'}", word]) == 2
    assert named in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def leaves(tree: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(tree, dict):
        return {prefix.rstrip("."): tree}
    found: dict[str, object] = {}
    for key, value in tree.items():
        found |= leaves(value, f"{prefix}{key}.")
    return found


def plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


EXPERIMENTS = sorted(Path(configs.__path__[0], "experiment").glob("*.yaml"))


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_an_experiment_holds_only_what_it_changes(file: Path):
    written = yaml.safe_load(file.read_text())
    base = [
        f"experiment={each}"
        if isinstance(each, str)
        else f"algorithm={each['override /algorithm']}"
        for each in written.pop("defaults", [])
        if each != "_self_"
    ]
    before = leaves(resolved(train_settings(base)))
    assert [key for key, value in leaves(written).items() if plain(before[key]) == value] == []

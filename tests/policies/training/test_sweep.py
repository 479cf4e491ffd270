"""Many runs from one command: each its folder, none lost with another, finished ones untouched."""

import json
from pathlib import Path

import pytest
import yaml

from adapt.settings import SettingsError
from policies.training.cli import main, score
from policies.training.runs import read_log
from policies.training.sweep import sweep
from tests.policies.evaluation.test_evaluate import SMALL


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words(*changes: str) -> list[str]:
    return ["--multirun", "experiment=point_sparse", *SMALL, *changes]


def folders(here: Path) -> list[str]:
    return sorted(p.parent.name for p in here.glob("runs/*/settings.yaml"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_every_seed_is_a_run_of_its_own_and_a_finished_one_is_left_as_it_is(here: Path) -> None:
    assert main(words("seed=0,1")) == 0
    assert folders(here) == ["point-sparse-0", "point-sparse-1"]
    first, second = (read_log(here / "runs" / f"point-sparse-{seed}") for seed in (0, 1))
    assert len(first) == len(second) == 2
    assert first[-1]["collect/return"] != second[-1]["collect/return"]
    before = contents(here / "runs" / "point-sparse-0")
    assert main(words("seed=0,2")) == 0
    assert contents(here / "runs" / "point-sparse-0") == before
    assert folders(here)[-1] == "point-sparse-2"


def test_the_sweeper_is_told_the_best_validation(here: Path, monkeypatch) -> None:
    log = "".join(
        json.dumps({"iteration": i, **({} if s is None else {"validate/score": s})}) + "\n"
        for i, s in enumerate([None, -3.0, 2.0, None, 1.0])
    )
    monkeypatch.setattr(
        "policies.training.cli.train", lambda s: (s.out / "log.jsonl").write_text(log)
    )
    (here / "runs" / "point-sparse-3").mkdir(parents=True)
    scores = []
    assert sweep(words("seed=3"), lambda s: scores.append(score(s)) or 0.0) == 0
    assert scores == [2.0]


def jobs(*changes: str) -> tuple[int, list[str]]:
    """What a sweep asks for, without training."""
    asked: list[str] = []
    code = sweep(words(*changes), lambda s: asked.append(str(s.out)) or 0.0)
    return code, asked


def test_a_folder_names_what_was_swept_and_nothing_else() -> None:
    assert jobs("seed=0,1", "learner.hold=2,3")[1] == [
        f"runs/point-sparse-learner.hold_{hold}-{seed}" for seed in (0, 1) for hold in (2, 3)
    ]
    lists = jobs("learner.encoder_hidden=[8],[8,4]")[1]
    assert lists == [f"runs/point-sparse-learner.encoder_hidden_{n}-0" for n in ("8", "8_4")]
    assert jobs("experiment=cheetah_vel,ant_dir")[1] == ["runs/cheetah-vel-0", "runs/ant-dir-0"]
    assert jobs("seed=range(2)", "out=here/${seed}", "learner.hold=2,3")[1] == [
        "here/0",
        "here/0",
        "here/1",
        "here/1",
    ]


def test_a_path_that_hydra_cannot_read_is_taken_as_it_is() -> None:
    assert jobs("seed=0,1", "out=größe (a)=[b]/${seed}")[1] == [
        "größe (a)=[b]/0",
        "größe (a)=[b]/1",
    ]


def test_a_job_that_fails_costs_no_other_and_the_exit_code_says_so(capsys) -> None:
    asked = []

    def train(settings) -> float:
        asked.append(settings.seed)
        if settings.seed == 0:
            raise FloatingPointError("not finite")
        return 1.0

    assert sweep(words("seed=0,2"), train) == 1
    assert asked == [0, 2]
    shown = capsys.readouterr()
    assert "2 runs, 1 failed" in shown.out
    assert "runs/point-sparse-0  failed: not finite" in shown.out
    assert "runs/point-sparse-2  best validation 1" in shown.out
    assert "FloatingPointError: not finite" in shown.err


def test_two_jobs_never_share_a_folder(here: Path, capsys) -> None:
    assert main(words("out=runs/one", "learner.hold=0,3")) == 1
    assert "runs/one holds a run with other settings (learner.hold" in capsys.readouterr().out
    settings = yaml.safe_load((here / "runs" / "one" / "settings.yaml").read_text())
    assert settings["learner"]["hold"] == 0


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("sed=0,1", "'sed'"),
        ("seed=0,[1", r"seed=0,\[1"),
        ("hydra/sweeper=none", "hydra/sweeper=none: expected one of basic"),
        ("learner.hold=interval(0,3)", "does not support sweep type"),
        ("seed=0,-1,2", "seed=-1: expected a whole number ≥ 0"),
        ("learner.hold=range(2,-2,-1)", "learner.hold=-1: expected"),
        ("learner.actor_hidden=[8],[8,0]", "learner.actor_hidden"),
    ],
)
def test_a_mistake_is_named_before_anything_is_trained(word: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        jobs(word)


def test_help_is_of_one_run(capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["-m", "seed=0,1", "--help"])
    assert stop.value.code == 0
    assert "--multirun" in capsys.readouterr().out


def test_an_existing_sweeper_searches_and_called_again_asks_for_the_same(here: Path) -> None:
    pytest.importorskip("optuna", reason="needs the extra sweep")
    search = ("hydra/sweeper=search", "hydra.sweeper.n_trials=4", "seed=7")
    asked = []

    def train(settings) -> float:
        asked.append((settings.out, settings.learner.discount))
        if len(asked) == 2:
            raise FloatingPointError("not finite")
        return settings.learner.discount

    changes = (*search, "learner.discount=interval(0.5,0.9)")
    assert sweep(words(*changes), train) == 1
    assert len({out for out, _ in asked}) == 4 and all(0.5 <= d <= 0.9 for _, d in asked)
    (found,) = here.glob("runs/sweeps/*/optimization_results.yaml")
    best = max(d for i, (_, d) in enumerate(asked) if i != 1)
    assert yaml.safe_load(found.read_text())["best_value"] == pytest.approx(best)
    first, asked = list(asked), []
    sweep(words(*changes), train)
    assert asked == first

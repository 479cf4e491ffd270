"""A new algorithm is a file of its own that nothing in policies/ names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import policies
from adapt.bundle.cli import main as bundle
from adapt.errors import AcclimateError
from policies.algorithms.registry import algorithm, algorithms
from policies.evaluation.cli import main as evaluate
from policies.export.cli import main as export
from policies.training.checkpoint import load_checkpoint
from policies.training.cli import train
from policies.training.runs import load_best, read_log
from policies.training.trainer import Trainer
from tests.support.random_search import SearchLearner, SearchSettings


@pytest.mark.usefixtures("installed")
def test_it_trains_evaluates_and_exports_a_bundle_that_acts_as_its_agent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = tmp_path / "run", tmp_path / "bundle"
    metrics = train(SearchSettings("search", run, threads=1))
    assert metrics["updates"] == 4 and "validate/measured_1" in metrics
    assert evaluate([f"run={run}", "episodes=2", "tasks=3", "threads=1"]) == 0
    rows = json.loads((run / "evaluation.json").read_text())["rows"]
    assert [(row["belief"], len(row["measured"])) for row in rows] == [("adapting", 2)]
    # The exporter runs the parity gate, and removes a bundle that does not pass it.
    assert export([f"run={run}", f"out={out}"]) == 0
    assert "in closed loop" in capsys.readouterr().out
    assert bundle(["verify", str(out)]) == 0


@pytest.mark.usefixtures("installed")
def test_it_resumes_to_the_same_numbers(tmp_path: Path) -> None:
    def numbers(folder: Path) -> list[dict[str, float]]:
        return [{k: v for k, v in r.items() if k[:5] != "time/"} for r in read_log(folder)]

    whole, cut = (SearchSettings("search", tmp_path / n, threads=1) for n in ("whole", "cut"))
    train(whole)
    trainer = Trainer(cut)
    trainer.iterate()
    resumed = Trainer(cut)
    resumed.load_state_dict(trainer.state_dict())
    expected = numbers(whole.out)[1]
    found = resumed.iterate()
    assert {k: found[k] for k in expected if k != "iteration"} == {
        k: v for k, v in expected.items() if k != "iteration"
    }
    learner = load_best(whole.out)[0].learner
    assert isinstance(learner, SearchLearner)
    best = load_checkpoint(whole.out / "best.pt")["modules"]["network"]["weight"]
    assert np.array_equal(learner.network.weight.detach().numpy(), best.numpy())


@pytest.mark.usefixtures("installed")
def test_a_stranger_replaces_none_of_ours_and_its_mistakes_are_named() -> None:
    assert algorithms()["pearl"].value == "policies.algorithms.pearl:ALGORITHM"
    for name, why in {
        "absent": "No module named 'no_such_package'",
        "misnamed": "GONE",
        "settings": "is a type; expected a .*contract.Algorithm",
        "sarsa": "'sarsa'; there are absent, maesn, misnamed, pearl, ppo, random_search, settings",
    }.items():
        with pytest.raises(AcclimateError, match=why):
            algorithm(name)


def test_no_algorithm_is_named_where_all_are_served() -> None:
    rooms = ("training", "rollout", "evaluation", "export")
    served = [p for room in rooms for p in Path(policies.__file__).parent.glob(f"{room}/*.py")]
    assert len(served) > 15
    for path in served:
        named = re.findall(
            r"algorithms\.(?!contract|registry)\w+|== .(?:pearl|maesn|ppo)", path.read_text()
        )
        assert not named, f"{path} names {named}"

"""A belief in the place of the truth that a policy was told: rapid motor adaptation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from adapt.errors import AcclimateError
from policies.algorithms.ppo.agent import RegressingAgent
from policies.export.exporter import export
from policies.export.parity import closed_loop
from policies.training.cli import train
from policies.training.runs import load_best
from policies.training.trainer import Trainer
from tests.policies.algorithms.test_ppo import LEARNER, learner_of, settings
from tests.support.toy_worlds import FAMILY

REGRESSION = replace(
    LEARNER, knowledge="regression", reward_in_context=True, capacity=3, encoder_hidden=(16,)
)


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("start") / "oracle"
    train(settings(out, replace(LEARNER, knowledge="truth"), iterations=2))
    return out


def test_the_belief_alone_is_trained_and_stands_where_the_truth_stood(
    tmp_path: Path, oracle: Path
) -> None:
    trainer = Trainer(settings(tmp_path / "run", REGRESSION, start=oracle))
    learner, old = learner_of(trainer), learner_of(load_best(oracle)[0])
    first = trainer.iterate()
    for _ in range(4):
        metrics = trainer.iterate()
    assert metrics["learn/belief_nll"] < first["learn/belief_nll"]
    for name in ("actor", "critic"):
        kept = old.modules()[name].state_dict()
        assert all(torch.equal(v, kept[k]) for k, v in learner.modules()[name].state_dict().items())
    agent = trainer.learner.policy().agent(3, torch.Generator())
    assert isinstance(agent, RegressingAgent) and not trainer.learner.policy().privileged
    assert torch.equal(agent.fed(), agent.belief().mean)


def test_its_bundle_acts_on_the_mean_alone(tmp_path: Path, oracle: Path) -> None:
    trainer = Trainer(settings(tmp_path / "run", REGRESSION, start=oracle))
    trainer.iterate()
    state = {"iteration": 1, "metrics": {}}
    bundle = export(trainer, state, tmp_path / "bundle", "toy", tmp_path / "run")
    assert [phase.condition for phase in bundle.manifest.phases] == ["statistics"]
    found = closed_loop(trainer.learner.policy(), FAMILY, bundle, 3, 3, 0)
    assert found.worst <= 1e-5 and found.steps > 10


def test_a_start_that_was_not_told_the_truth_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(AcclimateError, match="expected start=, the folder of a run"):
        Trainer(settings(tmp_path / "none", REGRESSION))
    blind = tmp_path / "blind"
    train(settings(blind, iterations=1))
    trainer = Trainer(settings(tmp_path / "run", REGRESSION, start=blind))
    with pytest.raises(AcclimateError, match="is fed 0 numbers beside the observation"):
        trainer.iterate()

"""PPO that starts from another run's networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from adapt.errors import AcclimateError
from policies.algorithms.ppo.config import PpoConfig
from policies.algorithms.ppo.warm_start import start_from
from policies.training.cli import train
from policies.training.runs import load_best
from policies.training.trainer import Trainer
from tests.policies.algorithms.test_ppo import LEARNER, learner_of, settings


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("start") / "first"
    train(settings(out, iterations=2))
    return out


@pytest.mark.parametrize("knowledge", ["none", "truth", "belief"])
def test_a_warm_start_acts_as_the_old_policy_on_any_input(
    tmp_path: Path, first: Path, knowledge: str
) -> None:
    old = learner_of(load_best(first)[0])
    config = replace(LEARNER, knowledge=knowledge)
    new = learner_of(Trainer(settings(tmp_path / "new", config, start=first)))
    start_from(first, new.modules(), new.spec)
    n_o = new.spec.observation_size
    observation = torch.randn(5, n_o)
    fed = torch.randn(5, next(new.actor.body.parameters()).shape[1] - n_o)
    assert torch.equal(new.actor(observation, fed)[0], old.actor(observation, fed[:, :0])[0])
    assert torch.equal(new.actor.log_std, old.actor.log_std)
    rest = torch.randn(5, len(new.spec.factors))
    values = new.critic(torch.cat([observation, fed, rest], 1))
    assert torch.equal(values, old.critic(torch.cat([observation, rest], 1)))


def test_a_run_takes_its_start_over_once_and_then_goes_on_from_its_own(
    tmp_path: Path, first: Path
) -> None:
    trainer = Trainer(settings(tmp_path / "new", start=first))
    trainer.iterate()
    learner = learner_of(trainer)
    assert learner.actor.normaliser.count > learner_of(load_best(first)[0]).actor.normaliser.count
    after_one = learner.actor.log_std.clone()
    learner.iterate(1)
    old = learner_of(load_best(first)[0])
    assert not torch.equal(after_one, old.actor.log_std)
    assert not torch.equal(learner.actor.log_std, old.actor.log_std)


def test_a_start_without_fitting_networks_is_refused_by_name(tmp_path: Path, first: Path) -> None:
    missing = learner_of(Trainer(settings(tmp_path / "a", start=tmp_path / "nowhere")))
    with pytest.raises(AcclimateError, match=r"nowhere: no best\.pt"):
        missing.iterate(0)
    wider = PpoConfig(hidden=(24,), critic_hidden=(16,))
    other = learner_of(Trainer(settings(tmp_path / "b", wider, start=first)))
    with pytest.raises(AcclimateError, match="shape"):
        other.iterate(0)

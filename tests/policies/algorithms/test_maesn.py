"""MAESN's learner and trainer: gradients, trust region, exact resumption, and that it learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from adapt.adapters.registry import make_adapter
from adapt.adapters.stepped import SteppedAdapter
from adapt.errors import AcclimateError
from policies.algorithms.maesn.agent import MaesnPolicy
from policies.algorithms.maesn.config import MaesnConfig, MaesnSettings
from policies.algorithms.maesn.latent_step import gaussian_kl
from policies.algorithms.maesn.learner import MaesnLearner
from policies.algorithms.pearl.agent import PearlPolicy
from policies.algorithms.pearl.config import PearlConfig, PearlSettings
from policies.evaluation.cli import EvaluateSettings, evaluate
from policies.export.exporter import export
from policies.export.parity import closed_loop
from policies.training.checkpoint import load_checkpoint, save_checkpoint
from policies.training.cli import train
from policies.training.runs import load_best, read_log
from policies.training.trainer import Trainer
from policies.updates.trpo import trust_region_step
from sim.core.family import Family
from tests.support.toy_worlds import SPACE, SPEC, ToyWorlds

LEARNER = MaesnConfig(hidden=(16,), episodes=4, tasks_per_batch=3)


def settings(out: Path, learner: MaesnConfig = LEARNER, **changes: object) -> MaesnSettings:
    small = MaesnSettings(
        name="small", out=out, threads=1, train_tasks=5, iterations=4, validation_tasks=3,
        validation_steps=1, validation_every=2, checkpoint_every=1, learner=learner,
    )  # fmt: skip
    return replace(small, **changes)


def made(settings: MaesnSettings) -> MaesnLearner:
    learner = Trainer(settings).learner
    assert isinstance(learner, MaesnLearner)
    return learner


def numbers(folder: Path) -> list[dict[str, float]]:
    """The log without what a clock measured."""
    return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in read_log(folder)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("maesn") / "whole"
    train(settings(out))
    return out


@pytest.mark.parametrize("hold", [0, 7])
def test_one_iteration_after_a_restored_state_is_the_same_to_the_bit(tmp_path, hold):
    learner = replace(LEARNER, hold=hold)
    first = Trainer(settings(tmp_path, learner))
    first.iterate()
    save_checkpoint(tmp_path / "state.pt", first.state_dict())
    second = Trainer(settings(tmp_path, learner))
    second.load_state_dict(load_checkpoint(tmp_path / "state.pt"))
    expected, found = first.iterate(), second.iterate()
    for name in expected:
        if not name.startswith("time/"):
            assert found[name] == expected[name], name


def test_an_interrupted_run_goes_on_to_the_same_numbers(whole, tmp_path, monkeypatch):
    out = tmp_path / "cut"
    iterate = Trainer.iterate

    def dies(self: Trainer) -> dict[str, float]:
        if self.iteration == 2:
            raise KeyboardInterrupt
        return iterate(self)

    monkeypatch.setattr(Trainer, "iterate", dies)
    with pytest.raises(KeyboardInterrupt):
        train(settings(out))
    monkeypatch.undo()
    train(settings(out))
    assert numbers(out) == numbers(whole)
    train(settings(tmp_path / "other", seed=1))
    assert numbers(tmp_path / "other") != numbers(whole)


def test_the_update_stays_within_its_trust_region(tmp_path):
    trainer = Trainer(settings(tmp_path, iterations=100, validation_every=100))
    moved = [trainer.iterate() for _ in range(6)]
    assert all(m["learn/kl"] <= LEARNER.trust_region * (1 + 1e-6) for m in moved)
    assert sum(m["learn/accepted"] for m in moved) >= 4
    assert all(m["learn/gain"] > 0 for m in moved if m["learn/accepted"])


def test_the_meta_gradient_flows_through_the_step(tmp_path):
    learner = made(settings(tmp_path))
    sizes, mean = learner.sizes.raw.detach().clone(), learner.mean.detach().clone()
    learner.iterate(0)
    assert not torch.equal(sizes, learner.sizes.raw.detach())
    assert not torch.equal(mean, learner.mean.detach())


def test_a_run_that_starts_from_a_policy_resumes_to_the_bit(tmp_path, pearl):
    first, second = (Trainer(settings(tmp_path, start=pearl)) for _ in range(2))
    first.iterate()
    save_checkpoint(tmp_path / "state.pt", first.state_dict())
    second.load_state_dict(load_checkpoint(tmp_path / "state.pt"))
    expected, found = first.iterate(), second.iterate()
    assert {k: v for k, v in found.items() if k[:5] != "time/"} == {
        k: v for k, v in expected.items() if k[:5] != "time/"
    }


def test_the_best_networks_come_with_the_step_that_was_trained(whole):
    trained = Trainer(settings(whole))
    trained.load_state_dict(load_checkpoint(whole / "checkpoint.pt"))
    loaded, _ = load_best(whole)
    for trainer in (trained, loaded):
        learner = trainer.learner
        assert isinstance(learner, MaesnLearner)
        step, normaliser = learner.policy().step, learner.actor.normaliser
        assert torch.equal(step.centre, normaliser.mean)
        assert torch.equal(step.scale, normaliser.std) and (step.scale != 1).all()


def test_trust_region_step_finds_the_natural_gradient_and_refuses_what_is_no_gain():
    mean = torch.zeros(2, requires_grad=True)
    log_std = torch.tensor([0.0, -2.0])

    def objective() -> tuple[torch.Tensor, torch.Tensor]:
        return mean.sum(), gaussian_kl(mean, log_std, torch.zeros(2), log_std)

    report = trust_region_step([mean], objective, lambda: objective()[1], 0.02, 0.0)
    assert report.accepted and report.kl == pytest.approx(0.02, rel=1e-3)
    # Along the natural gradient a dimension moves by its variance.
    assert (mean[1] / mean[0]).item() == pytest.approx(np.exp(-4.0), rel=1e-3)
    there = mean.detach().clone()

    def broken() -> tuple[torch.Tensor, torch.Tensor]:
        loss, kl = objective()
        moved = not torch.equal(mean.detach(), there)
        return loss * (float("nan") if moved else 1.0), kl

    report = trust_region_step([mean], broken, lambda: objective()[1], 0.02, 1e-3)
    assert not report.accepted and torch.equal(mean.detach(), there)


def test_exploration_is_coherent_within_an_episode_and_not_where_latents_are_redrawn(tmp_path):
    reach = {}
    for hold in (0, 1):
        learner = made(settings(tmp_path, replace(LEARNER, hold=hold)))
        with torch.no_grad():
            # A policy that walks where the latent points.
            for parameter in learner.actor.body.parameters():
                parameter.zero_()
            weights = dict(learner.actor.body.named_parameters())
            weights["0.weight"][:4, 2:] = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
            weights["1.weight"].fill_(1.0)
            weights["3.weight"][:, :4] = torch.tensor([[1.0, -1, 0, 0], [0, 0, 1, -1]])
        met = learner.first_episodes(learner.setup.tasks[:3], 0, stochastic=False)
        end = met.observation[:, -1]
        reach[hold] = float(end.norm(dim=1).mean())
    assert reach[0] > 2.0 * reach[1]


def test_a_run_exports_evaluates_and_acts_as_torch_does(whole, tmp_path):
    trainer, state = load_best(whole)
    bundle = export(trainer, state, tmp_path / "bundle", "small", whole)
    assert isinstance(make_adapter(bundle, 0), SteppedAdapter)
    policy = trainer.learner.policy()
    parity = closed_loop(policy, trainer.family, bundle, 2, 2 * policy.episodes_per_step, 0)
    assert parity.worst <= 1e-5
    rows = evaluate(trainer, EvaluateSettings(run=str(whole), tasks=3, episodes=9))
    assert [row.belief for row in rows] == ["adapting", "prior"]
    assert rows[0].behind == [0, 4, 8] and rows[0].measured.shape == (3, 3)
    assert rows[1].behind == [0] and (rows[1].measured == rows[0].measured[:, :1]).all()


@pytest.fixture(scope="module")
def pearl(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("maesn") / "pearl"
    learner = PearlConfig(
        capacity=12, actor_hidden=(16,), critic_hidden=(8,), encoder_hidden=(8,),
        tasks_per_batch=2, rows_per_task=4,
    )  # fmt: skip
    train(
        PearlSettings(
            name="p", out=out, family="point-sparse", worlds=2, run_steps=20, train_tasks=4,
            iterations=2, script_iterations=1, updates_per_iteration=2, validation_tasks=2,
            validation_episodes=1, threads=1, learner=learner,
        )
    )  # fmt: skip
    return out


TOY = Family(SPACE, SPEC, ToyWorlds, lambda task: np.zeros(1))


def test_parity_holds_where_beliefs_step_and_finds_a_step_of_another_size(tmp_path):
    trainer = Trainer(settings(tmp_path / "run", family=f"{__name__}:TOY"))
    trainer.iterate()
    state = {"iteration": 1, "metrics": {}}
    bundle = export(trainer, state, tmp_path / "bundle", "toy", tmp_path / "run")
    policy = trainer.learner.policy()
    assert isinstance(policy, MaesnPolicy)
    assert closed_loop(policy, TOY, bundle, 2, 8, 0).worst <= 1e-5
    other = replace(policy, step_sizes=1.01 * policy.step_sizes)
    assert closed_loop(other, TOY, bundle, 2, 8, 0).belief_mean > 1e-3


def test_a_run_with_few_validation_tasks_exports_too(tmp_path):
    trainer = Trainer(settings(tmp_path / "run", validation_tasks=2, iterations=1))
    trainer.iterate()
    state = {"iteration": 1, "metrics": {}}
    export(trainer, state, tmp_path / "bundle", "small", tmp_path / "run")


def test_it_starts_from_a_policy_of_the_same_shape_alone(tmp_path, pearl, whole):
    learner = made(settings(tmp_path / "m", start=pearl))
    known = load_best(pearl)[0].learner.policy()
    assert isinstance(known, PearlPolicy)
    observation, latent = torch.randn(5, 2), torch.randn(5, 2)
    wanted, _ = known.actor(observation, latent)
    found, _ = learner.actor(observation, latent)
    assert torch.allclose(found, wanted, atol=1e-6)
    assert torch.equal(learner.mean, torch.zeros(5, 2))
    narrow = replace(LEARNER, hidden=(8,))
    for changed in (settings(tmp_path, narrow, start=pearl), settings(tmp_path, start=whole)):
        with pytest.raises(AcclimateError, match="of another shape"):
            Trainer(changed)


def test_more_tasks_in_a_batch_than_there_are_is_an_error(tmp_path):
    with pytest.raises(AcclimateError, match="tasks_per_batch=3 is more than train_tasks=2"):
        Trainer(settings(tmp_path, train_tasks=2))

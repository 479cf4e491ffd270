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
from policies.algorithms.maesn.export import export_maesn
from policies.algorithms.maesn.latent_step import gaussian_kl
from policies.algorithms.maesn.learner import MaesnConfig
from policies.algorithms.maesn.trainer import MaesnSettings, MaesnTrainer, adapt_from_prior
from policies.algorithms.pearl.learner import PearlConfig
from policies.evaluation.cli import EvaluateSettings, evaluate_maesn
from policies.export.parity_maesn import closed_loop_maesn
from policies.training.checkpoint import load_checkpoint, save_checkpoint
from policies.training.cli import train
from policies.training.runs import load_best, load_best_pearl, read_log
from policies.training.settings import TrainSettings
from policies.updates.trpo import trust_region_step

LEARNER = MaesnConfig(hidden=(16,), episodes=4, tasks_per_batch=3)


def settings(out: Path, learner: MaesnConfig = LEARNER, **changes: object) -> MaesnSettings:
    small = MaesnSettings(
        name="small", out=out, threads=1, train_tasks=5, iterations=4, validation_tasks=3,
        validation_steps=1, validation_every=2, checkpoint_every=1, learner=learner,
    )  # fmt: skip
    return replace(small, **changes)


def numbers(folder: Path) -> list[dict[str, float]]:
    """The log without what a clock measured."""
    return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in read_log(folder)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("maesn") / "whole"
    train(settings(out))
    return out


@pytest.mark.parametrize("variant", ["latents", "latents_and_policy"])
@pytest.mark.parametrize("hold", [0, 7])
def test_one_iteration_after_a_restored_state_is_the_same_to_the_bit(tmp_path, variant, hold):
    learner = replace(LEARNER, variant=variant, hold=hold)
    first = MaesnTrainer(settings(tmp_path, learner))
    first.iterate()
    save_checkpoint(tmp_path / "state.pt", first.state_dict())
    second = MaesnTrainer(settings(tmp_path, learner))
    second.load_state_dict(load_checkpoint(tmp_path / "state.pt"))
    expected, found = first.iterate(), second.iterate()
    for name in expected:
        if not name.startswith("time/"):
            assert found[name] == expected[name], name


def test_an_interrupted_run_goes_on_to_the_same_numbers(whole, tmp_path, monkeypatch):
    out = tmp_path / "cut"
    iterate = MaesnTrainer.iterate

    def dies(self: MaesnTrainer) -> dict[str, float]:
        if self.iteration == 2:
            raise KeyboardInterrupt
        return iterate(self)

    monkeypatch.setattr(MaesnTrainer, "iterate", dies)
    with pytest.raises(KeyboardInterrupt):
        train(settings(out))
    monkeypatch.undo()
    train(settings(out))
    assert numbers(out) == numbers(whole)
    train(settings(tmp_path / "other", seed=1))
    assert numbers(tmp_path / "other") != numbers(whole)


def test_the_update_stays_within_its_trust_region(tmp_path):
    trainer = MaesnTrainer(settings(tmp_path, iterations=100, validation_every=100))
    moved = [trainer.iterate() for _ in range(6)]
    assert all(m["learn/kl"] <= LEARNER.trust_region * (1 + 1e-6) for m in moved)
    assert sum(m["learn/accepted"] for m in moved) >= 4
    assert all(m["learn/gain"] > 0 for m in moved if m["learn/accepted"])


def test_the_meta_gradient_flows_through_the_step(tmp_path):
    trainer = MaesnTrainer(settings(tmp_path))
    before = {n: p.detach().clone() for n, p in trainer.learner.sizes.named_parameters()}
    mean = trainer.learner.mean.detach().clone()
    trainer.iterate()
    assert not torch.equal(before["raw"], trainer.learner.sizes.raw.detach())
    assert not torch.equal(mean, trainer.learner.mean.detach())


def test_adaptation_of_the_weights_is_a_gradient_step_for_each_task(tmp_path):
    trainer = MaesnTrainer(settings(tmp_path, replace(LEARNER, variant="latents_and_policy")))
    learner = trainer.learner
    trainer.worlds.assign([trainer.tasks[i] for i in range(3) for _ in range(4)])
    zeros = torch.zeros(3, 2)
    met = trainer._collect(zeros, zeros)
    with torch.no_grad():
        learner.sizes.raw_policy.fill_(-100.0)  # softplus of it: no step at all
    still = learner.adapt_policy(met, met.reward, 3)
    own = dict(learner.policy.named_parameters())
    assert all(torch.equal(w, own[k]) for task in still for k, w in task.items())
    with torch.no_grad():
        learner.sizes.raw_policy.fill_(0.0)
    moved = learner.adapt_policy(met, met.reward, 3)
    name = next(iter(own))
    assert not torch.equal(moved[0][name], own[name])
    assert not torch.equal(moved[0][name], moved[1][name])


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
        trainer = MaesnTrainer(settings(tmp_path, replace(LEARNER, hold=hold)))
        with torch.no_grad():
            # A policy that walks where the latent points.
            for parameter in trainer.learner.policy.body.parameters():
                parameter.zero_()
            weights = dict(trainer.learner.policy.body.named_parameters())
            weights["0.weight"][:4, 2:] = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
            weights["1.weight"].fill_(1.0)
            weights["3.weight"][:, :4] = torch.tensor([[1.0, -1, 0, 0], [0, 0, 1, -1]])
        curve = adapt_from_prior(trainer, trainer.tasks[:3], 0, 0, stochastic=False)
        end = curve.first.observation[:, -1]
        reach[hold] = float(end.norm(dim=1).mean())
    assert reach[0] > 2.0 * reach[1]


def test_a_run_exports_evaluates_and_acts_as_torch_does(whole, tmp_path):
    trainer, state = load_best(whole)
    assert isinstance(trainer, MaesnTrainer)
    bundle = export_maesn(trainer, state, tmp_path / "bundle", "small", whole)
    assert isinstance(make_adapter(bundle, 0), SteppedAdapter)
    assert closed_loop_maesn(trainer, bundle, 2, 2, 0).worst <= 1e-5
    rows = evaluate_maesn(trainer, EvaluateSettings(run=str(whole), tasks=3, episodes=9))
    assert rows[0].behind == [0, 4, 8] and rows[0].measured.shape == (3, 3)
    with pytest.raises(AcclimateError, match="expected pearl"):
        load_best_pearl(whole)


def test_what_a_graph_cannot_adapt_is_not_exported(tmp_path):
    trainer = MaesnTrainer(settings(tmp_path, replace(LEARNER, variant="latents_and_policy")))
    with pytest.raises(AcclimateError, match="variant=latents"):
        export_maesn(trainer, {}, tmp_path / "bundle", "small", tmp_path)
    assert not (tmp_path / "bundle").exists()


def test_it_starts_from_a_policy_of_the_same_shape_alone(tmp_path):
    learner = PearlConfig(
        capacity=12, actor_hidden=(16,), critic_hidden=(8,), encoder_hidden=(8,),
        tasks_per_batch=2, rows_per_task=4,
    )  # fmt: skip
    pearl = TrainSettings(
        name="p", out=tmp_path / "pearl", family="point-sparse", worlds=2, run_steps=20,
        train_tasks=4, iterations=2, script_iterations=1, updates_per_iteration=2,
        validation_tasks=2, validation_episodes=1, threads=1, learner=learner,
    )  # fmt: skip
    train(pearl)
    trainer = MaesnTrainer(settings(tmp_path / "m", start=tmp_path / "pearl"))
    known, _ = load_best_pearl(tmp_path / "pearl")
    observation, latent = torch.randn(5, 2), torch.randn(5, 2)
    wanted, _ = known.learner.actor(observation, latent)
    found, _ = trainer.learner.policy(observation, latent)
    assert torch.allclose(found, wanted, atol=1e-6)
    assert torch.equal(trainer.learner.mean, torch.zeros(5, 2))
    with pytest.raises(AcclimateError, match="of another shape"):
        MaesnTrainer(
            settings(tmp_path / "w", replace(LEARNER, hidden=(8,)), start=tmp_path / "pearl")
        )


def test_more_tasks_in_a_batch_than_there_are_is_an_error(tmp_path):
    with pytest.raises(AcclimateError, match="tasks_per_batch=3 is more than train_tasks=2"):
        MaesnTrainer(settings(tmp_path, train_tasks=2))

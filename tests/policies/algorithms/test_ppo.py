"""PPO's runs: they learn, resume to the bit, and become bundles that act as torch does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from adapt.bundle.cli import main as bundle_command
from adapt.errors import AcclimateError
from adapt.settings import SettingsError
from policies.algorithms.ppo.config import PpoConfig, PpoSettings
from policies.algorithms.ppo.learner import PpoLearner
from policies.algorithms.registry import train_settings
from policies.evaluation.cli import EvaluateSettings, evaluate
from policies.export.exporter import export
from policies.export.parity import closed_loop
from policies.rollout.trials import try_policy
from policies.training.checkpoint import load_checkpoint, save_checkpoint
from policies.training.cli import train
from policies.training.runs import load_best, read_log
from policies.training.trainer import Trainer
from tests.support.toy_worlds import FAMILY

TOY = "tests.support.toy_worlds:FAMILY"
LEARNER = PpoConfig(hidden=(16,), critic_hidden=(16,), epochs=2, minibatches=3)


def settings(out: Path, learner: PpoConfig = LEARNER, **changes: object) -> PpoSettings:
    small = PpoSettings(
        name="small", out=out, family=TOY, threads=1, worlds=6, rollout_steps=4, rollouts=3,
        train_tasks=8, iterations=4, validation_tasks=3, validation_every=2, checkpoint_every=1,
        learner=learner,
    )  # fmt: skip
    return replace(small, **changes)


def learner_of(trainer: Trainer) -> PpoLearner:
    assert isinstance(trainer.learner, PpoLearner)
    return trainer.learner


def numbers(metrics: dict[str, float]) -> dict[str, float]:
    """Without what a clock measured."""
    return {k: v for k, v in metrics.items() if not k.startswith("time/")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ppo") / "whole"
    train(settings(out))
    return out


def success(trainer: Trainer) -> float:
    tasks = FAMILY.space.sample(40, np.random.default_rng(5))
    return float(try_policy(trainer.learner.policy(), FAMILY, tasks, 1, 0, 1).success.mean())


def test_it_learns_to_reach_a_goal_that_it_is_told_and_cannot_without(tmp_path: Path) -> None:
    reached = {}
    for knowledge in ("truth", "none"):
        config = PpoConfig(
            knowledge=knowledge, hidden=(32,), critic_hidden=(32,), learning_rate=3e-3,
            entropy_weight=0.0,
        )  # fmt: skip
        trainer = Trainer(
            settings(tmp_path / knowledge, config, worlds=64, train_tasks=512, iterations=99)
        )
        for _ in range(12):
            trainer.iterate()
        reached[knowledge] = success(trainer)
    assert reached["truth"] > 0.95
    assert reached["none"] < 0.8


@pytest.mark.parametrize("knowledge", ["none", "history", "belief", "truth"])
def test_one_iteration_after_a_restored_state_is_the_same_to_the_bit(
    tmp_path: Path, knowledge: str
) -> None:
    same = settings(tmp_path, replace(LEARNER, knowledge=knowledge))
    first = Trainer(same)
    first.iterate()
    save_checkpoint(tmp_path / "state.pt", first.state_dict())
    second = Trainer(same)
    second.load_state_dict(load_checkpoint(tmp_path / "state.pt"))
    assert numbers(first.iterate()) == numbers(second.iterate())
    for name, module in first.learner.modules().items():
        other = second.learner.modules()[name].state_dict()
        assert all(torch.equal(v, other[k]) for k, v in module.state_dict().items())


def test_an_interrupted_run_goes_on_to_the_same_numbers(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    logs = [[numbers(row) for row in read_log(folder)] for folder in (out, whole)]
    assert logs[0] == logs[1] and len(logs[0]) == 4
    train(settings(tmp_path / "other", seed=1))
    assert [numbers(row) for row in read_log(tmp_path / "other")] != logs[1]


def test_every_task_is_met_as_often_as_every_other(tmp_path: Path) -> None:
    learner = learner_of(Trainer(settings(tmp_path)))
    met = np.concatenate([learner._task_indices(i) for i in range(8)])
    assert np.bincount(met, minlength=8).tolist() == [6] * 8
    assert not np.array_equal(met[:8], met[8:16])


def test_it_counts_its_steps_and_updates(whole: Path) -> None:
    rows = read_log(whole)
    # The first roll-out only shows the normaliser what there is.
    assert rows[0]["updates"] <= 3 * 2 * 3
    assert [row["steps"] for row in rows] == [24 + 72 * (i + 1) for i in range(4)]
    assert all(row["collect/reward"] < 0 for row in rows)


def test_a_run_exports_evaluates_and_acts_as_torch_does(whole: Path, tmp_path: Path) -> None:
    trainer, state = load_best(whole)
    bundle = export(trainer, state, tmp_path / "bundle", "small", whole)
    assert bundle_command(["verify", str(tmp_path / "bundle")]) == 0
    seen, actor = bundle.manifest.seen, learner_of(trainer).actor
    assert seen is not None and np.allclose(seen.mean, actor.normaliser.mean)
    assert closed_loop(trainer.learner.policy(), FAMILY, bundle, 3, 2, 0).worst <= 1e-5
    rows = evaluate(trainer, EvaluateSettings(run=str(whole), tasks=3, episodes=2))
    assert [(row.belief, row.success.shape) for row in rows] == [("adapting", (3, 2))]
    # Parity finds an actor that is another one.
    with torch.no_grad():
        actor.body[-1].get_parameter("bias").add_(0.01)
    assert closed_loop(trainer.learner.policy(), FAMILY, bundle, 3, 2, 0).action > 1e-3


def test_an_oracle_is_no_bundle(tmp_path: Path) -> None:
    trainer = Trainer(settings(tmp_path / "run", replace(LEARNER, knowledge="truth")))
    trainer.iterate()
    with pytest.raises(AcclimateError, match="knowledge 'truth', which is told the true task"):
        export(trainer, {"iteration": 1, "metrics": {}}, tmp_path / "b", "x", tmp_path / "run")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    "word",
    ["clip=0", "clip=1", "gae_lambda=1.1", "discount=1", "epochs=0", "minibatches=0",
     "knowledge=guess", "learning_rate=0", "action_std=0", "value_clip=-1"],
)  # fmt: skip
def test_settings_keep_their_bounds(word: str) -> None:
    name = word.partition("=")[0]
    with pytest.raises(SettingsError, match=f"learner.{name}"):
        train_settings(["algorithm=ppo", f"learner.{word}"])


def test_more_minibatches_than_steps_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(AcclimateError, match="minibatches=25 is more than the 24 steps"):
        Trainer(settings(tmp_path, replace(LEARNER, minibatches=25)))

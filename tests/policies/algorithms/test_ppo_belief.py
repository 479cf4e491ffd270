"""PPO's belief: the product that a robot computes, trained in the run that acts on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from adapt.adapters.gaussian import GaussianAdapter
from adapt.adapters.registry import make_adapter
from adapt.belief.gaussian import Accumulator
from adapt.bundle.cli import main as bundle_command
from adapt.errors import AcclimateError
from policies.algorithms.contract import Transition
from policies.algorithms.ppo.agent import BelievingAgent, PpoPolicy
from policies.algorithms.ppo.belief import transition_rows, windowed_posteriors
from policies.algorithms.ppo.config import PpoConfig
from policies.evaluation.cli import EvaluateSettings, evaluate
from policies.export.exporter import export
from policies.export.parity import closed_loop
from policies.training.trainer import Trainer
from tests.policies.algorithms.test_ppo import LEARNER, learner_of, settings, success
from tests.support.toy_worlds import FAMILY, SPEC, ToyWorlds

BELIEF = replace(
    LEARNER, knowledge="belief", reward_in_context=True, capacity=3, encoder_hidden=(16,)
)


def test_the_belief_after_each_transition_is_the_robots() -> None:
    torch.manual_seed(0)
    mean, log_precision = torch.randn(2, 10, 2), 3.0 * torch.randn(2, 10, 2)
    found = windowed_posteriors(mean, log_precision, torch.ones(2, 10), 4)
    for run in range(2):
        product = Accumulator(np.zeros(2), np.ones(2), 4)
        for t in range(10):
            variance = torch.exp(-log_precision[run, t])
            product.add(mean[run, t].numpy(), variance.numpy())
            belief = product.belief(t)
            np.testing.assert_allclose(found[0][run, t], belief.mean, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(found[1][run, t], belief.variance, rtol=1e-4)
    dropped = windowed_posteriors(mean, log_precision, torch.zeros(2, 10), 4)
    assert (dropped[0] == 0.0).all() and (dropped[1] == 1.0).all()


def agent_of(trainer: Trainer, worlds: int) -> BelievingAgent:
    agent = trainer.learner.policy().agent(worlds, torch.Generator().manual_seed(0))
    assert isinstance(agent, BelievingAgent)
    return agent


def drawn(worlds: int, rng: np.random.Generator) -> Transition:
    observation, action, following = rng.normal(size=(3, worlds, 1)).astype(np.float32)
    reward = rng.normal(size=worlds).astype(np.float32)
    return Transition(observation, action, reward, following, np.zeros(worlds, bool))


def test_an_agent_believes_what_its_encoder_is_trained_to_say(tmp_path: Path) -> None:
    trainer = Trainer(settings(tmp_path, BELIEF))
    agent, rng = agent_of(trainer, 3), np.random.default_rng(0)
    met = [drawn(3, rng) for _ in range(7)]
    valid = np.array([True, True, False])
    for transition in met:
        agent.observe(transition, valid)
        agent.begin_episode(valid)
    rows = [
        transition_rows(
            BELIEF,
            torch.from_numpy(t.observation),
            torch.from_numpy(t.action),
            torch.from_numpy(t.reward),
            torch.from_numpy(t.next_observation),
        )
        for t in met
    ]
    encoder = learner_of(trainer).encoder
    assert encoder is not None
    with torch.no_grad():
        factors = encoder(torch.stack(rows, 1))
    mean, variance = windowed_posteriors(factors[0], factors[1], torch.ones(3, 7), 3)
    belief, fed = agent.belief(), agent.fed()
    assert torch.allclose(belief.mean[:2], mean[:2, -1], atol=1e-6)
    assert torch.allclose(belief.variance[:2], variance[:2, -1], atol=1e-6)
    assert torch.equal(fed, torch.cat([belief.mean, belief.variance.log()], 1))
    assert (belief.mean[2] == 0.0).all() and (belief.variance[2] == 1.0).all()

    kept = agent.snapshot()
    first = np.array([True, False, False])
    agent.reset(first, np.zeros((3, 1)))
    assert (agent.fed()[0] == 0.0).all() and torch.equal(agent.fed()[1:], fed[1:])
    agent.restore(kept)
    agent.adapting[:] = False
    agent.observe(met[0], valid)
    assert torch.equal(agent.fed(), fed)
    with pytest.raises(AcclimateError, match="cannot act on the task's factors"):
        agent.tell(first)


def test_it_learns_to_find_a_goal_that_only_the_reward_tells(tmp_path: Path) -> None:
    config = PpoConfig(
        knowledge="belief", hidden=(32,), critic_hidden=(32,), learning_rate=3e-3, capacity=5,
        entropy_weight=0.0, reward_in_context=True, encoder_hidden=(32,), encoder_epochs=8,
        encoder_learning_rate=3e-3,
    )  # fmt: skip
    trainer = Trainer(settings(tmp_path, config, worlds=64, train_tasks=512, iterations=99))
    first = trainer.iterate()
    for _ in range(14):
        metrics = trainer.iterate()
    assert metrics["learn/belief_nll"] < first["learn/belief_nll"] - 1.0
    assert 0.5 < metrics["learn/belief_error"] < 1.5
    assert success(trainer) > 0.9
    frozen = evaluate(trainer, EvaluateSettings(run="", tasks=40, episodes=1))
    assert [row.belief for row in frozen] == ["adapting", "prior"]
    assert frozen[1].success.mean() < frozen[0].success.mean() - 0.1


def test_its_bundle_believes_and_acts_as_torch_does(tmp_path: Path) -> None:
    trainer = Trainer(settings(tmp_path / "run", BELIEF))
    trainer.iterate()
    state = {"iteration": 1, "metrics": {}}
    bundle = export(trainer, state, tmp_path / "bundle", "toy", tmp_path / "run")
    assert bundle_command(["verify", str(tmp_path / "bundle")]) == 0
    adapter = make_adapter(bundle, 0)
    assert isinstance(adapter, GaussianAdapter) and adapter.latent.size == 2
    assert [phase.condition for phase in bundle.manifest.phases] == ["statistics"]
    assert [factor.name for factor in bundle.manifest.latent.factors] == ["goal"]
    policy = trainer.learner.policy()
    found = closed_loop(policy, FAMILY, bundle, 3, 3, 0)
    assert found.worst <= 1e-5 and found.steps > 10
    assert isinstance(policy, PpoPolicy)
    other = replace(policy, config=replace(BELIEF, capacity=2))
    assert closed_loop(other, FAMILY, bundle, 3, 3, 0).belief_std > 1e-5


def test_a_family_without_factors_has_nothing_to_believe(tmp_path: Path) -> None:
    bare = settings(tmp_path, BELIEF, family=f"{__name__}:BARE")
    with pytest.raises(AcclimateError, match="family 'toy' names no factors"):
        Trainer(bare)


class BareWorlds(ToyWorlds):
    spec = replace(SPEC, factors=())


BARE = replace(FAMILY, spec=BareWorlds.spec, make=BareWorlds)

"""The learner, on a line with a hidden goal: what flows where, and that it learns to look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from policies.algorithms.contract import Action, Agent
from policies.algorithms.pearl.agent import PearlAgent, PearlPolicy, ProductAgent
from policies.algorithms.pearl.config import PearlConfig
from policies.algorithms.pearl.networks import PearlNetworks
from policies.networks.critics import CriticKind
from policies.networks.modules import RewardUnits
from policies.replay.run_replay import RunReplay
from policies.rollout.trajectories import collect_run
from policies.rollout.trials import adaptation_curve
from policies.training.checkpoint import load_checkpoint, save_checkpoint
from tests.support.toy_worlds import SPACE, SPEC, ToyWorlds

CONFIG = PearlConfig(
    objective="posterior",
    latent=2,
    capacity=15,
    actor_hidden=(32, 32),
    critic_hidden=(32, 32),
    encoder_hidden=(32,),
    discount=0.9,
    learning_rate=3e-3,
    encoder_learning_rate=3e-3,
    tasks_per_batch=8,
    rows_per_task=8,
    target_rate=0.02,
)
WORLDS, STEPS = 32, 15


def learner(**changes: object) -> PearlNetworks:
    return PearlNetworks(SPEC, replace(CONFIG, **changes), seed=0, device="cpu", bfloat16=False)


def agent(of: PearlNetworks, worlds: int = WORLDS, seed: int = 0) -> PearlAgent:
    policy = PearlPolicy.of(of.actor, of.encoder, of.n_z, replace(of.config, exploration=1.0))
    return policy.agent(worlds, torch.Generator().manual_seed(seed))


class Wandering(Agent):
    """Acts at random."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__(WORLDS, torch.Generator())
        self.rng = rng

    def act(self, observation, stochastic, latent=None) -> Action:
        return Action(self.rng.uniform(-1, 1, (WORLDS, 1)).astype(np.float32))


def filled(of: PearlNetworks, rounds: int = 4) -> tuple[RunReplay, np.ndarray]:
    """A replay of random actions, and the factors of its tasks."""
    rng = np.random.default_rng(0)
    replay = RunReplay(rounds * WORLDS, STEPS, 1, 1, rounds * WORLDS)
    worlds, factors = ToyWorlds(WORLDS, 0), []
    for i in range(rounds):
        worlds.assign(SPACE.sample(WORLDS, rng))
        factors.append(worlds.factors())
        run, _ = collect_run(worlds, Wandering(rng), np.arange(WORLDS) + i * WORLDS, STEPS)
        replay.add(run)
    return replay, np.concatenate(factors)


def gradients(of: PearlNetworks, loss: torch.Tensor) -> bool:
    """Whether the loss reaches the encoder."""
    assert of.encoder is not None
    found = torch.autograd.grad(
        loss, list(of.encoder.parameters()), allow_unused=True, retain_graph=True
    )
    return any(g is not None and g.abs().sum() > 0 for g in found)


@pytest.mark.parametrize(("objective", "through"), [("critic", True), ("posterior", False)])
def test_the_critic_trains_the_encoder_only_where_the_objective_says_so(
    objective: str, through: bool
) -> None:
    of = learner(objective=objective)
    replay, factors = filled(of)
    runs = replay.sample_runs(8, 64, np.random.default_rng(0))
    truth = torch.from_numpy(factors[replay.arrays["task"][runs]])
    latent, own = of._latents(replay, runs, truth, np.random.default_rng(1), {})
    rows = replay.rows(runs, 8, np.random.default_rng(2))
    critic = of._critic_loss(rows, latent, truth.repeat_interleave(8, 0), {})
    assert latent.requires_grad == through
    assert own is not None and gradients(of, own)
    if through:
        assert gradients(of, critic)


def test_an_update_depends_on_its_seeds_alone() -> None:
    weights = []
    for _ in range(2):
        of = learner()
        replay, factors = filled(of)
        rng = np.random.default_rng(5)
        for _ in range(3):
            of.update(replay, factors, rng)
        weights.append(torch.cat([p.ravel() for p in of.actor.parameters()]))
    assert torch.equal(*weights)


@pytest.mark.parametrize("kind", get_args(CriticKind))
def test_a_learner_resumes_on_every_critic_to_the_bit(kind: CriticKind, tmp_path: Path) -> None:
    first = learner(critic=kind, objective="critic")
    replay, factors = filled(first)
    rng = np.random.default_rng(0)
    for _ in range(3):
        first.update(replay, factors, rng)
    save_checkpoint(tmp_path / "state.pt", first.state_dict())
    second = learner(critic=kind, objective="critic")
    second.load_state_dict(load_checkpoint(tmp_path / "state.pt"))
    for one in (first, second):
        again = np.random.default_rng(1)
        for _ in range(3):
            one.update(replay, factors, again)
    there, here = first.state_dict()["modules"], second.state_dict()["modules"]
    assert there.keys() == here.keys()
    assert ("target" in there) == (kind != "crossq")
    for name, weights in there.items():
        for key, value in weights.items():
            assert torch.equal(value, here[name][key]), (name, key)
    assert second.updates == 6


def test_every_network_moves_and_the_target_follows_slowly() -> None:
    of = learner()
    replay, factors = filled(of)
    before = {k: [p.clone() for p in m.parameters()] for k, m in of.modules().items()}
    of.update(replay, factors, np.random.default_rng(0))
    for name, module in of.modules().items():
        moved = [
            (p - q).abs().max() for p, q in zip(module.parameters(), before[name], strict=True)
        ]
        assert max(moved) > 0, name
    assert of.target is not None
    pairs = zip(of.target.parameters(), before["target"], of.critic.parameters(), strict=True)
    for now, then, leader in pairs:
        torch.testing.assert_close(now, then + CONFIG.target_rate * (leader - then))


def test_a_policy_without_a_latent_has_no_encoder_and_still_updates() -> None:
    of = learner(objective="none")
    replay, factors = filled(of)
    info = of.update(replay, factors, np.random.default_rng(0))
    assert of.encoder is None and of.n_z == 0 and "kl" not in info


def after_updates(going_on: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> torch.Tensor:
    """The actor's weights after three updates on a replay whose rewards are changed."""
    of = learner(standardise_rewards=True, reward_in_context=False)
    replay, factors = filled(of)
    a = replay.arrays
    # Not the rewards of the line: these have an unequal spread, and episodes end where asked.
    a["reward"][:] = change(np.random.default_rng(1).normal(size=a["reward"].shape) ** 2)
    a["discount"][:] = going_on
    replay.reward_in_context = False
    of.fit_rewards(torch.from_numpy(a["reward"]).ravel(), torch.from_numpy(a["discount"]).ravel())
    rng = np.random.default_rng(5)
    for _ in range(3):
        of.update(replay, factors, rng)
    return torch.cat([p.ravel() for p in of.actor.parameters()])


def test_standardised_rewards_have_no_unit_and_no_zero_where_no_episode_ends() -> None:
    forever, sometimes = np.ones(STEPS), np.ones(STEPS)
    sometimes[::4] = 0
    plain = after_updates(forever, lambda r: r)
    torch.testing.assert_close(after_updates(forever, lambda r: 8 * r - 64), plain)
    # Where one may end, how long it lasts is worth something: the zero matters, the unit does not.
    plain = after_updates(sometimes, lambda r: r)
    torch.testing.assert_close(after_updates(sometimes, lambda r: 8 * r), plain)
    moved = after_updates(sometimes, lambda r: r - 8)
    assert not torch.allclose(moved, plain)


@pytest.mark.parametrize(("discount", "p"), [(0.9, 1.0), (0.99, 0.75)])
def test_an_average_life_is_worth_nothing_and_its_end_what_it_is(discount, p) -> None:
    units = RewardUnits()
    reward, going_on = torch.full((40,), -3.0), (torch.arange(40) % 4 < 4 * p).float()
    units.fit(reward, going_on, discount)
    assert units.unit == 1
    # Over a life that ends with chance 1 − p, the mean of what the critic is left to learn is 0.
    left = reward + (discount * going_on - 1) * units.worth
    assert left.mean().abs() < 1e-4
    # After the last step nothing comes, though the average state is worth more or less than that.
    assert (left[going_on == 0] + units.worth == -3.0).all()


def test_it_learns_where_the_goal_is_and_goes_there() -> None:
    """After one episode of context the goal is known; without any, it is not."""
    of = learner()
    replay, factors = filled(of)
    context, _ = replay.context(np.arange(replay.filled))
    of.fit_normalisers(
        torch.from_numpy(replay.arrays["observation"]).reshape(-1, 1), context.reshape(-1, 4)
    )
    rng = np.random.default_rng(1)
    for _ in range(500):
        of.update(replay, factors, rng)
    worlds = ToyWorlds(128, 3)
    worlds.assign(SPACE.sample(128, np.random.default_rng(9)))
    curve = adaptation_curve(worlds, agent(of, 128, 1), 3)
    error = np.sqrt(((curve.mean[:, :, 0] - curve.truth) ** 2).mean(0))
    assert error[0] > 0.8 > 4 * error[1]
    # The belief is calibrated: the truth lies about one of its standard deviations away.
    apart = (curve.mean[:, 0, 0] - curve.truth[:, 0]) / curve.std[:, 0, 0]
    assert 0.8 < np.sqrt((apart**2).mean()) < 1.2
    assert curve.success[:, 1:].mean() > 0.9
    assert curve.steps[:, 2].mean() < curve.steps[:, 0].mean()


def test_a_policy_that_is_told_the_truth_goes_to_the_goal_from_the_first_episode() -> None:
    of = learner(objective="privileged")
    assert of.encoder is None and of.n_z == 1 and agent(of).policy.privileged
    replay, factors = filled(of)
    rng = np.random.default_rng(1)
    for _ in range(200):
        info = of.update(replay, factors, rng)
    assert "kl" not in info
    worlds = ToyWorlds(128, 3)
    worlds.assign(SPACE.sample(128, np.random.default_rng(9)))
    told = agent(of, 128, 1)
    curve = adaptation_curve(worlds, told, 2)
    assert (told.latent.numpy() == worlds.factors()).all()
    assert (curve.success.mean(0) > 0.9).all()


def test_a_diverged_step_restarts_its_episode_and_counts_for_nothing() -> None:
    of = learner()
    worlds = ToyWorlds(2, 0)
    worlds.assign([SPACE.task(goal=1.0), SPACE.task(goal=1.0)])
    worlds.diverge = {(1, 2)}

    class Still(ProductAgent):
        def act(self, observation, stochastic, latent=None) -> Action:
            return Action(np.zeros((2, 1), np.float32))

    still = Still(agent(of).policy, 2, torch.Generator())
    curve = adaptation_curve(worlds, still, 1)
    assert curve.steps[:, 0].tolist() == [SPEC.horizon, SPEC.horizon]
    np.testing.assert_allclose(curve.returns[:, 0], -SPEC.horizon)
    np.testing.assert_allclose(curve.measured[:, 0], SPEC.horizon)
    assert still._next.tolist() == [SPEC.horizon, 2 + SPEC.horizon]

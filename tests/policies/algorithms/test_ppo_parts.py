"""PPO's parts against what they are by definition: advantages, batches, networks, one update."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from policies.algorithms.contract import Action, Agent
from policies.algorithms.ppo.advantages import generalised_advantages
from policies.algorithms.ppo.config import PpoConfig
from policies.algorithms.ppo.networks import PpoActor, PpoCritic, RunningNormaliser
from policies.algorithms.ppo.rollout import Batch, RolloutRecorder, make_batch
from policies.algorithms.ppo.update import RATE_STEP, PpoUpdate, _entropy, _kl, clipped_surrogate
from policies.networks.modules import Normaliser
from policies.rollout.driver import RollOut
from sim.core.task_space import Task
from tests.support.toy_worlds import SPACE, ToyWorlds

GAMMA, LAMBDA = 0.9, 0.8


def slow_advantage(
    t: int, reward: list, value: list, following: list, discount: list, ended: list, valid: list
) -> float:
    """One world's step, as a sum over what follows it."""
    total, weight = 0.0, 1.0
    for k in range(t, len(reward)):
        if not valid[k]:
            break
        total += weight * (reward[k] + GAMMA * discount[k] * following[k] - value[k])
        if ended[k]:
            break
        weight *= GAMMA * LAMBDA
    return total


def test_advantages_are_the_sums_that_define_them():
    rng = np.random.default_rng(0)
    b, t = 6, 20
    reward, value, following = rng.normal(size=(3, b, t))
    terminal, cut, broken = (rng.random((b, t)) < share for share in (0.1, 0.1, 0.05))
    ended, valid, discount = terminal | cut | broken, ~broken, 1.0 - terminal
    reward[broken] = np.nan
    arrays = (reward, value, following, discount, ended, valid)
    given = [torch.from_numpy(array) for array in arrays]
    found = generalised_advantages(*given, gamma=GAMMA, gae_lambda=LAMBDA)
    wanted = [
        [slow_advantage(j, *[a[i].tolist() for a in arrays]) for j in range(t)] for i in range(b)
    ]
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-12, atol=1e-12)
    assert ended.any(1).all() and broken.any()


class Walker(Agent):
    """Always goes the same way."""

    def __init__(self, worlds: int, action: float) -> None:
        super().__init__(worlds, torch.Generator())
        self.action = torch.full((worlds, 1), action)

    def act(self, observation, stochastic, latent=None) -> Action:
        extras = {"raw": self.action, "mean": self.action, "fed": torch.zeros(self.worlds, 0)}
        return Action(self.action.numpy(), extras)


def position_critic() -> PpoCritic:
    """Values a state by ten times its position."""
    critic = PpoCritic(2, (3,))
    layer = torch.nn.Linear(2, 1)
    critic.body = torch.nn.Sequential(layer)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[10.0, 0.0]]))
        layer.bias.zero_()
    return critic


def returns_of(goal: float, steps: int, diverge: Set[tuple[int, int]] = frozenset()) -> Tensor:
    """λ = 0 returns r + γ V of every valid step of one world that goes 0.1 a step."""
    worlds = ToyWorlds(1, 0)
    worlds.diverge = set(diverge)
    worlds.assign([Task(SPACE, np.array([goal]))])
    recorder = RolloutRecorder(worlds, np.zeros(1, int), steps)
    piece = recorder.extend(steps)
    RollOut(worlds, Walker(1, 0.1)).run(recorder, True)
    critic, actor = position_critic(), PpoActor(1, 0, 1, (3,), 1.0)
    config = PpoConfig(discount=GAMMA, gae_lambda=0.0)
    batch = make_batch(recorder, piece, torch.zeros(1, 1), actor, critic, config)
    target = batch.rows.split(batch.sizes, 1)[5][:, 0]
    return target * critic.spread + critic.centre


def test_where_time_runs_out_the_state_in_which_it_did_stands_for_the_rest():
    # The fifth step is the horizon; a sixth begins anew at 0.
    found = returns_of(-1.0, 6)
    position = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.1])
    assert torch.allclose(found, -(position + 1.0) + GAMMA * 10 * position, atol=1e-5)


def test_where_the_task_ends_nothing_follows():
    # At 0.3 the goal is within 0.25, which ends the task.
    found = returns_of(0.5, 4)
    assert torch.allclose(
        found, torch.tensor([-0.4 + 0.9, -0.3 + 1.8, -0.2, -0.4 + 0.9]), atol=1e-5
    )


def test_a_step_whose_physics_failed_is_left_out_and_the_one_before_values_their_state():
    found = returns_of(-1.0, 4, {(0, 2)})
    assert torch.allclose(found, torch.tensor([-1.1 + 0.9, -1.2 + 1.8, -1.1 + 0.9]), atol=1e-5)


def test_a_running_normaliser_is_fitted_to_all_that_it_was_shown():
    data = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    data = data * torch.tensor([1.0, 1e-3, 0.0]) + torch.tensor([1e4, 5.0, 2.0])
    running, whole = RunningNormaliser(3), Normaliser(3)
    assert running.seen() is None
    for part in data.split([1, 99, 200]):
        running.update(part)
    running.update(data[:0])
    whole.mean.copy_(data.double().mean(0))
    std = data.double().std(0, correction=0)
    assert torch.allclose(running.mean, whole.mean)
    assert torch.allclose(running.std, torch.where(std > 0, std, 1.0).float(), rtol=1e-6)
    seen = running.seen()
    assert seen is not None and seen.rows == 300 and not seen.problems(3)
    assert seen.low == data.min(0).values.tolist() and seen.high == data.max(0).values.tolist()
    assert seen.std[2] == 0.0


def test_values_stay_what_they_were_when_their_units_follow_the_returns():
    critic, inputs = PpoCritic(2, (8,)), torch.randn(20, 2)
    for scale in (3.0, 1e3, 1e-2):
        before = critic.value(inputs)
        returns = scale * torch.randn(500) + 7.0
        critic.follow(returns)
        assert torch.allclose(critic.value(inputs), before, rtol=1e-4, atol=1e-4)
    assert critic.spread > 10.0
    alone = PpoCritic(2, (8,))
    alone.follow(returns)
    assert alone.centre == pytest.approx(returns.mean().item(), rel=1e-5)
    assert alone.spread == pytest.approx(returns.std(correction=0).item(), rel=1e-3)


def test_kl_and_entropy_are_those_of_the_distributions():
    mean, new_mean = torch.randn(2, 50, 3)
    log_std, new_log_std = torch.tensor([[0.1, -1.0, 0.3], [-0.2, -0.8, 0.5]])
    wanted = kl_divergence(Normal(mean, log_std.exp()), Normal(new_mean, new_log_std.exp()))
    assert torch.allclose(_kl(mean, log_std, new_mean, new_log_std), wanted.sum(1).mean())
    grid = torch.linspace(-0.9999, 0.9999, 20001)
    std = torch.tensor([0.9])
    density = Normal(0.5, std).log_prob(torch.atanh(grid)) - torch.log(1 - grid**2)
    exact = -(density.exp() * density).sum() * (grid[1] - grid[0])
    raw = 0.5 + std * torch.randn(200_000, 1, generator=torch.Generator().manual_seed(1))
    assert _entropy(raw, std.log()) == pytest.approx(exact.item(), abs=0.01)


def made(config: PpoConfig) -> tuple[PpoUpdate, Batch]:
    """An update of two actions, and a batch in which the first one pays."""
    torch.manual_seed(0)
    actor, critic = PpoActor(1, 0, 2, (16,), 0.5), PpoCritic(2, (16,))
    observation, noise = torch.randn(64, 1), torch.randn(64, 2)
    with torch.no_grad():
        mean, log_std = actor(observation, observation[:, :0])
        raw = mean + log_std.exp() * noise
    parts = (observation, torch.randn(64, 1), raw, mean, noise[:, :1], torch.randn(64, 2))
    sizes = (1, 1, 2, 2, 1, 1, 1)
    batch = Batch(torch.cat(parts, 1), sizes, actor.log_std.detach().clone(), torch.zeros(()))
    return PpoUpdate(actor, critic, config), batch


def test_an_update_does_more_of_what_paid_and_stays_near():
    update, batch = made(PpoConfig(learning_rate=3e-3, epochs=20, target_kl=0.02))
    found = update(batch, torch.Generator().manual_seed(0))
    with torch.no_grad():
        mean, _ = update.actor(batch.rows[:, :1], batch.rows[:, :0])
    moved = (mean - batch.rows[:, 4:6]).mean(0)
    assert moved[0] > 0.05 and abs(moved[1]) < moved[0]
    assert 0.0 < found["kl"] < 0.1
    # Passes ended when the policy was far enough from where it began.
    assert update.steps < 20 * 4


def test_what_went_beyond_the_clip_gains_nothing_more_and_what_went_wrong_can_come_back():
    ratio = torch.tensor([1.3, 0.7, 1.1, 0.7, 1.3], requires_grad=True)
    advantage = torch.tensor([2.0, -2.0, 2.0, 2.0, -2.0])
    clipped_surrogate(ratio, advantage, 0.2).backward()
    assert ratio.grad is not None
    assert torch.equal(5 * ratio.grad, torch.tensor([0.0, 0.0, 2.0, 2.0, -2.0]))


def test_the_rate_follows_kl():
    update, _ = made(PpoConfig(learning_rate=1e-3, target_kl=0.01))
    for kl, factor in ((0.03, 1 / RATE_STEP), (0.01, 1.0), (0.001, RATE_STEP)):
        before = update.rate
        update._steer(kl)
        assert update.rate == pytest.approx(before * factor)
    for _ in range(60):
        update._steer(1.0)
    assert update.rate == pytest.approx(1e-5)
    still, batch = made(PpoConfig(target_kl=0.0))
    still(batch, torch.Generator())
    assert still.rate == PpoConfig().learning_rate


def test_a_clipped_value_learns_nothing_from_where_it_may_not_go():
    update, _ = made(replace(PpoConfig(), value_clip=0.2))
    value = torch.tensor([0.5, 0.1], requires_grad=True)
    update._value_loss(value, torch.tensor([1.0, 1.0]), torch.zeros(2)).backward()
    assert value.grad is not None
    # The first has come further than it may, towards its target: the bound stands for it.
    assert value.grad[0] == 0.0 and value.grad[1] < 0.0

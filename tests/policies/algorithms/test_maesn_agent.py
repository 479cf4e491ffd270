"""MaesnAgent: a belief steps when its episodes are there, side by side or one after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from policies.algorithms.contract import Transition
from policies.algorithms.maesn.agent import (
    LOG_STD_HIGH,
    LOG_STD_LOW,
    MaesnAgent,
    MaesnPolicy,
)
from policies.algorithms.maesn.config import MaesnConfig
from policies.algorithms.maesn.latent_step import LatentStep
from policies.algorithms.maesn.networks import GaussianPolicy

N_O, N_Z, N_A, EPISODES, HORIZON = 2, 2, 2, 3, 4
CONFIG = MaesnConfig(latent=N_Z, hidden=(8,), episodes=EPISODES)


def policy() -> MaesnPolicy:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        actor = GaussianPolicy(N_O, N_Z, N_A, CONFIG.hidden, 0.5)
    step = LatentStep(
        N_O, N_Z, EPISODES, HORIZON, 0, 0.9, torch.zeros(N_O), torch.ones(N_O)
    )  # fmt: skip
    return MaesnPolicy(actor, step, torch.ones(2 * N_Z), CONFIG)


def agent(worlds: int, share: int) -> MaesnAgent:
    return policy().agent(worlds, torch.Generator().manual_seed(1), share)


def play(of: MaesnAgent, latent: torch.Tensor, reward: np.ndarray, complete: bool = True) -> None:
    """One episode in every world on latents (B, n_z), with rewards (B,) in its last period."""
    everyone = np.ones(of.worlds, bool)
    of.begin_episode(everyone)
    for t in range(HORIZON):
        seen = np.full((of.worlds, N_O), 0.1 * t, np.float32)
        action = of.act(seen, False, latent).normalised
        now = reward if t == HORIZON - 1 else np.zeros(of.worlds)
        of.observe(Transition(seen, action, now, seen, ~everyone), everyone)
    of.end_episode(everyone, np.full(of.worlds, complete))


LATENTS = torch.tensor([[1.0, 0.5], [-0.5, 1.0], [0.2, -1.0]])
REWARDS = np.array([3.0, 1.0, -1.0])


def test_episodes_side_by_side_teach_what_they_teach_one_after_the_other() -> None:
    beside, alone = agent(EPISODES, EPISODES), agent(1, 1)
    play(beside, LATENTS, REWARDS)
    for latent, reward in zip(LATENTS, REWARDS, strict=True):
        assert (alone.belief().mean == 0).all(), "no step before all episodes are there"
        play(alone, latent[None], reward[None])
    for name in ("mean", "variance"):
        one, other = getattr(beside.belief(), name), getattr(alone.belief(), name)
        torch.testing.assert_close(one[:1], other)
        assert (one == one[0]).all(), "worlds that share a belief have the same"
    assert (beside.belief().mean[0, 0] > 0.1).all(), "towards what was rewarded"


def test_an_episode_that_was_cut_is_played_again_alone_and_left_out_beside_others() -> None:
    alone, other = agent(1, 1), agent(1, 1)
    play(other, torch.full((1, N_Z), 9.0), np.array([99.0]), complete=False)
    for of in (alone, other):
        for latent, reward in zip(LATENTS, REWARDS, strict=True):
            play(of, latent[None], reward[None])
    assert torch.equal(alone.belief().mean, other.belief().mean)
    beside = agent(EPISODES, EPISODES)
    play(beside, LATENTS, REWARDS, complete=False)
    assert (beside.belief().mean == 0).all() and (beside.belief().variance == 1).all()


def test_a_frozen_belief_never_steps_and_a_new_task_starts_at_the_prior() -> None:
    of = agent(2 * EPISODES, EPISODES)
    of.adapting[EPISODES:] = False
    play(of, LATENTS.repeat(2, 1), np.tile(REWARDS, 2))
    mean = of.belief().mean
    assert (mean[:EPISODES] != 0).any() and (mean[EPISODES:] == 0).all()
    of.reset(np.arange(2 * EPISODES) < EPISODES, np.zeros((2 * EPISODES, 1)))
    assert (of.belief().mean == 0).all() and (of.belief().variance == 1).all()


def test_a_restored_snapshot_answers_on_to_the_bit() -> None:
    of = agent(2, 1)
    play(of, LATENTS[:2], REWARDS[:2])
    data, answers = of.snapshot(), []
    for _ in range(2):
        of.restore(data)
        for latent in (LATENTS[1:], LATENTS[:2]):
            play(of, latent, REWARDS[:2])
        of.begin_episode(np.ones(2, bool))
        action = of.act(np.zeros((2, N_O), np.float32), True)
        answers.append(np.concatenate([action.normalised, of.belief().mean.numpy()], 1))
    assert (answers[0] == answers[1]).all()


def test_no_belief_becomes_wider_or_narrower_than_a_bundle_allows() -> None:
    of = agent(2 * EPISODES, EPISODES)
    far, near = torch.full((EPISODES, N_Z), 3.0), torch.full((EPISODES, N_Z), 0.01)
    far[1:], near[1:] = 0.0, 2.0  # what lies far off is best, or what lies near
    for _ in range(6):
        of.mean[:] = 0.0
        play(of, torch.cat([far, near]), np.tile([9.0, 0.0, -1.0], 2))
        of.belief()
    assert of.log_std[0].max() == LOG_STD_HIGH and of.log_std[1].min() == LOG_STD_LOW


def test_worlds_that_cannot_share_beliefs_are_refused() -> None:
    with pytest.raises(ValueError, match="4 worlds with share=3"):
        agent(4, 3)
    with pytest.raises(ValueError, match="expected 1 or 3"):
        agent(4, 2)

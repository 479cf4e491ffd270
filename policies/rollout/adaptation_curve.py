"""Adaptation trials in simulation: every world meets one task and keeps what it has learnt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from policies.rollout.batch_adapter import BatchAdapter
from policies.rollout.collect import transition_rows
from sim.core.worlds import Worlds


@dataclass(frozen=True)
class Curve:
    """B tasks × K consecutive episodes each; episode k has k episodes of context behind it.

    success, steps: (B, K).
    returns, measured: (B, K) sums of the critics' reward and of the measured one.
    mean, std: (B, K, n_z) belief at the start of every episode.
    truth: (B, n_f) standardised factors.
    """

    success: np.ndarray
    steps: np.ndarray
    returns: np.ndarray
    measured: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    truth: np.ndarray


def adaptation_curve(
    worlds: Worlds,
    adapter: BatchAdapter,
    episodes: int,
    reward_in_context: bool,
    next_in_context: bool,
    stochastic: bool = False,
) -> Curve:
    """Run `episodes` episodes in every world, on the tasks that have been assigned.

    `adapter.adapting` (B,) decides which worlds learn from them. A world that diverges starts its
    episode anew.
    """
    b, n_z = worlds.worlds, adapter.n_z
    everyone = np.ones(b, bool)
    adapter.forget(everyone)
    if adapter.wants_truth:
        adapter.tell(worlds.factors())
    success = np.zeros((b, episodes), bool)
    steps, returns = np.zeros((b, episodes), int), np.zeros((b, episodes))
    measured = np.zeros((b, episodes))
    mean, std = np.zeros((b, episodes, n_z)), np.zeros((b, episodes, n_z))
    episode = np.zeros(b, int)
    row = np.arange(b)
    mean[:, 0], std[:, 0] = _belief(adapter)
    observation = worlds.reset(everyone)
    # A world that diverged again and again would never finish: the bound lets everyone out.
    for _ in range(2 * episodes * worlds.spec.horizon):
        active = episode < episodes
        if not active.any():
            break
        k = np.minimum(episode, episodes - 1)
        action = adapter.act(observation, stochastic)
        step = worlds.step(action)
        rows = transition_rows(observation, action, step, reward_in_context, next_in_context)
        adapter.observe(rows, active & ~step.diverged)
        counted = active & ~step.diverged
        returns[row[counted], k[counted]] += step.reward[counted]
        measured[row[counted], k[counted]] += step.measured_reward[counted]
        steps[row[counted], k[counted]] += 1
        ended = counted & step.done
        success[row[ended], k[ended]] = step.success[ended]
        broken = active & step.diverged
        returns[row[broken], k[broken]] = measured[row[broken], k[broken]] = 0.0
        steps[row[broken], k[broken]] = 0
        episode += ended
        observation = step.observation
        if step.done.any():
            observation = worlds.reset(step.done)
            adapter.begin_episode(step.done)
            now = ended & (episode < episodes)
            m, s = _belief(adapter)
            mean[row[now], episode[now]], std[row[now], episode[now]] = m[now], s[now]
    return Curve(success, steps, returns, measured, mean, std, worlds.factors())


def _belief(adapter: BatchAdapter) -> tuple[np.ndarray, np.ndarray]:
    mean, variance = adapter.belief()
    return mean.numpy(), variance.sqrt().numpy()

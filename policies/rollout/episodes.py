"""Episodes: one per world, each with its own latent, padded to the horizon."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from sim.core.worlds import Worlds

Policy = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass
class Episodes:
    """B episodes of at most T steps; D latents in each.

    observation (B, T, n_o); raw (B, T, n_a): the action before the tanh; mean, log_std (B, T, n_a):
    of the policy that drew it. reward: the critics', measured: what a robot can measure, (B, T).
    mask: (B, T), 1 where a step was taken. latent, noise: (B, D, n_z). success: (B,).
    diverged: (B,) the physics failed; nothing of such an episode counts.
    """

    observation: Tensor
    raw: Tensor
    mean: Tensor
    log_std: Tensor
    reward: Tensor
    measured: Tensor
    mask: Tensor
    latent: Tensor
    noise: Tensor
    success: np.ndarray
    diverged: np.ndarray

    def part(self, tasks: int, episodes: int) -> Episodes:
        """The first so many episodes of each of the tasks, which follow each other."""
        per_task = len(self.mask) // tasks
        rows = [i * per_task + j for i in range(tasks) for j in range(episodes)]
        return Episodes(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def returns(self, reward: Tensor) -> np.ndarray:
        """Undiscounted (B,)."""
        return (reward * self.mask).sum(1).numpy()


@torch.no_grad()
def collect_episodes(
    worlds: Worlds,
    policy: Policy,
    mean: Tensor,
    log_std: Tensor,
    hold: int,
    generator: torch.Generator,
    stochastic: bool = True,
) -> Episodes:
    """One episode in every world, on the tasks that have been assigned.

    Args:
        policy: (observation, latent) → mean and log std before the tanh.
        mean, log_std: (B, n_z) belief that each world's latents are drawn from.
        hold: steps for which a latent is held; 0 for the episode.
        generator: of latents and actions.
        stochastic: draw actions; otherwise act by the policy's mean, as a robot does.
    """
    b, n_z = mean.shape
    spec = worlds.spec
    horizon, n_o, n_a = spec.horizon, spec.observation_size, spec.action_size
    draws = -(-horizon // hold) if hold else 1
    noise = torch.randn(b, draws, n_z, generator=generator)
    latent = mean[:, None] + log_std.exp()[:, None] * noise
    found = Episodes(
        observation=torch.zeros(b, horizon, n_o),
        raw=torch.zeros(b, horizon, n_a),
        mean=torch.zeros(b, horizon, n_a),
        log_std=torch.zeros(b, horizon, n_a),
        reward=torch.zeros(b, horizon),
        measured=torch.zeros(b, horizon),
        mask=torch.zeros(b, horizon),
        latent=latent,
        noise=noise,
        success=np.zeros(b, bool),
        diverged=np.zeros(b, bool),
    )
    everyone = np.ones(b, bool)
    observation = worlds.reset(everyone)
    active = everyone.copy()
    for t in range(horizon):
        seen = torch.from_numpy(observation)
        drawn_mean, drawn_log_std = policy(seen, latent[:, t // hold if hold else 0])
        raw = drawn_mean
        if stochastic:
            raw = raw + drawn_log_std.exp() * torch.randn(raw.shape, generator=generator)
        step = worlds.step(torch.tanh(raw).numpy())
        found.diverged |= active & step.diverged
        counted = active & ~step.diverged
        found.observation[:, t], found.raw[:, t] = seen, raw
        found.mean[:, t], found.log_std[:, t] = drawn_mean, drawn_log_std
        kept = torch.from_numpy(counted)
        found.mask[:, t] = kept
        found.reward[:, t] = torch.where(kept, torch.from_numpy(step.reward).float(), 0.0)
        found.measured[:, t] = torch.where(kept, torch.from_numpy(step.measured_reward).float(), 0)
        found.success |= counted & step.success
        active &= ~step.done
        observation = step.observation
        if not active.any():
            break
        if step.done.any():
            # Their episodes are over; they go on only because all worlds step together.
            observation = worlds.reset(step.done)
    # Half an episode would pass for one with a bad end.
    found.mask[torch.from_numpy(found.diverged)] = 0.0
    observation_kept = found.mask[..., None]
    found.observation *= observation_kept
    return found

"""MAESN's policy and its adaptation for B worlds: `adapt.adapters.stepped`, batched.

A belief gathers E episodes, each with latents drawn from it; then the adaptation step moves it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from policies.algorithms.contract import Action, Agent, Belief, Transition
from policies.algorithms.maesn.config import MaesnConfig
from policies.algorithms.maesn.latent_step import LatentStep
from policies.algorithms.maesn.networks import GaussianPolicy

LOG_STD_LOW, LOG_STD_HIGH = -3.0, 0.5
"""Bounds of a belief's log standard deviation in training: neither frozen nor aimless."""


def counted_reward(reward: Tensor, mask: Tensor, counted: Literal["every", "last"]) -> Tensor:
    """Measured rewards (…, T) as far as they make an episode's return; mask (…, T)."""
    if counted == "every":
        return reward
    return reward * (1.0 - F.pad(mask[..., 1:], (0, 1)))


@dataclass(frozen=True)
class MaesnPolicy:
    """The actor and the adaptation step. step_sizes: (2 n_z,), of the mean, then of the log std."""

    actor: GaussianPolicy
    step: LatentStep
    step_sizes: Tensor
    config: MaesnConfig

    adapts: bool = True
    privileged: bool = False

    @property
    def episodes_per_step(self) -> int:
        return self.config.episodes

    def agent(self, worlds: int, generator: torch.Generator, share: int = 1) -> MaesnAgent:
        return MaesnAgent(self, worlds, generator, share)


class MaesnAgent(Agent):
    """See `Agent`. N = B / share beliefs; each steps when it has gathered E episodes: one after
    the other in its world (share 1), or one in each of its worlds (share E).

    mean, log_std: (N, n_z) of the beliefs.
    """

    STATE = (
        "adapting", "mean", "log_std", "_latent", "_noise", "_period", "_slot", "_gathered",
        "_latents", "_observation", "_reward", "_mask",
    )  # fmt: skip

    def __init__(
        self, policy: MaesnPolicy, worlds: int, generator: torch.Generator, share: int
    ) -> None:
        super().__init__(worlds, generator)
        step, e = policy.step, policy.config.episodes
        if share not in (1, e) or worlds % share:
            raise ValueError(f"{worlds} worlds with share={share}; expected 1 or {e}, a divisor")
        self.policy, self.share = policy, share
        n, n_z, t = worlds // share, step.n_z, step.horizon
        self._owner = np.arange(worlds) // share
        self.mean, self.log_std = torch.zeros(n, n_z), torch.zeros(n, n_z)
        self._latent = self._noise = torch.zeros(worlds, step.draws, n_z)
        self._period = np.zeros(worlds, int)
        # Where each world's episode goes among the E of its belief.
        self._slot = np.arange(worlds) % share
        self._gathered = np.zeros((n, e), bool)
        self._latents = torch.zeros(n, e, step.draws, n_z)
        self._observation = torch.zeros(n, e, t, step.n_o)
        self._reward, self._mask = torch.zeros(n, e, t), torch.zeros(n, e, t)

    def reset(self, which: np.ndarray, factors: np.ndarray) -> None:
        beliefs = which[:: self.share]
        self.mean[beliefs], self.log_std[beliefs] = 0.0, 0.0
        self._drop(beliefs)

    def begin_episode(self, which: np.ndarray) -> None:
        """Take the steps that are due, then draw all latents of the episode."""
        mean, log_std = (a.repeat_interleave(self.share, 0) for a in self._stepped())
        noise = torch.randn(self._noise.shape, generator=self.generator)
        fresh = torch.from_numpy(which)[:, None, None]
        self._noise = torch.where(fresh, noise, self._noise)
        drawn = mean[:, None] + log_std.exp()[:, None] * noise
        self._latent = torch.where(fresh, drawn, self._latent)
        self._period[which] = 0

    @torch.no_grad()
    def act(
        self, observation: np.ndarray, stochastic: np.ndarray | bool, latent: Tensor | None = None
    ) -> Action:
        seen, hold = torch.from_numpy(observation), self.policy.config.hold
        world = torch.arange(self.worlds)
        draw = self._period // hold if hold else np.zeros(self.worlds, int)
        draw = torch.from_numpy(draw.clip(max=self._latent.shape[1] - 1))
        if latent is not None:
            self._latent[world, draw] = latent
        z = self._latent[world, draw]
        mean, log_std = self.policy.actor(seen, z)
        raw = mean
        if np.any(stochastic):
            noise = torch.randn(mean.shape, generator=self.generator)
            drawn = torch.from_numpy(np.broadcast_to(stochastic, self.worlds).astype(np.float32))
            raw = mean + drawn[:, None] * log_std.exp() * noise
        self._period += 1
        extras = {"raw": raw, "mean": mean, "log_std": log_std, "latent": z}
        return Action(torch.tanh(raw).numpy(), extras | {"noise": self._noise[world, draw]})

    def observe(self, transition: Transition, valid: np.ndarray) -> None:
        t = self._period - 1
        use = valid & self.adapting & (t < self.policy.step.horizon)
        at = self._owner[use], self._slot[use], t[use]
        self._observation[at] = torch.from_numpy(transition.observation[use])
        self._reward[at] = torch.from_numpy(transition.reward[use]).float()
        self._mask[at] = 1.0

    def end_episode(self, which: np.ndarray, complete: np.ndarray) -> None:
        """An episode that was cut teaches nothing."""
        ended = which & self.adapting
        cut = ended & ~complete
        self._mask[self._owner[cut], self._slot[cut]] = 0.0
        # Where others play beside it, it leaves a gap; where the next one follows, that fills it.
        kept = ended if self.share > 1 else ended & complete
        at = self._owner[kept], self._slot[kept]
        self._latents[at] = self._latent[torch.from_numpy(kept)]
        self._gathered[at] = True
        if self.share == 1:
            # The last slot waits for the step, which frees them all.
            self._slot[kept] = np.minimum(self._slot[kept] + 1, self._gathered.shape[1] - 1)

    def belief(self) -> Belief:
        mean, log_std = (a.repeat_interleave(self.share, 0) for a in self._stepped())
        return Belief(mean, torch.exp(2.0 * log_std))

    @torch.no_grad()
    def _stepped(self) -> tuple[Tensor, Tensor]:
        """Mean and log std (N, n_z), after the step wherever all E episodes have been gathered."""
        due = np.all(self._gathered, axis=1)
        if due.any():
            n = len(self.mean)
            reward = counted_reward(self._reward, self._mask, self.policy.config.counted)
            observation = self._observation * self._mask[..., None]
            mean, log_std = self.policy.step(
                self.mean, self.log_std, self.policy.step_sizes.expand(n, -1),
                self._latents.reshape(n, -1), observation.reshape(n, -1), reward.reshape(n, -1),
                self._mask.reshape(n, -1),
            )  # fmt: skip
            log_std = log_std.clamp(LOG_STD_LOW, LOG_STD_HIGH)  # as the bundle bounds it
            keep = torch.from_numpy(due)[:, None]
            self.mean = torch.where(keep, mean, self.mean)
            self.log_std = torch.where(keep, log_std, self.log_std)
            self._drop(due)
        return self.mean, self.log_std

    def _drop(self, beliefs: np.ndarray) -> None:
        """Forget the episodes that beliefs (N,) have gathered."""
        self._gathered[beliefs] = False
        self._mask[torch.from_numpy(beliefs)] = 0.0
        if self.share == 1:
            self._slot[beliefs] = 0

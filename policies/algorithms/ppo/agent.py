"""PPO's policy for B worlds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from policies.algorithms.contract import Action, Agent
from policies.algorithms.ppo.config import PpoConfig
from policies.algorithms.ppo.networks import PpoActor


@dataclass(frozen=True)
class PpoPolicy:
    """The actor, on the CPU. n_f: number of the task's factors."""

    actor: PpoActor
    n_f: int
    config: PpoConfig
    episodes_per_step: int = 1

    @property
    def adapts(self) -> bool:
        return False

    @property
    def privileged(self) -> bool:
        return self.config.knowledge == "truth"

    def agent(self, worlds: int, generator: torch.Generator, share: int = 1) -> PpoAgent:
        if share != 1:
            raise ValueError(f"share={share}: PPO's worlds share nothing")
        kinds = {"none": PpoAgent, "truth": ToldAgent}
        return kinds[self.config.knowledge](self, worlds, generator)


class PpoAgent(Agent):
    """Acts on the observation alone; see `Agent`. Subclasses feed the actor more."""

    def __init__(self, policy: PpoPolicy, worlds: int, generator: torch.Generator) -> None:
        super().__init__(worlds, generator)
        self.policy = policy
        self._nothing = torch.zeros(worlds, 0)

    def fed(self) -> Tensor:
        """(B, n_k) what the actor is fed of the tasks now."""
        return self._nothing

    @torch.no_grad()
    def act(
        self, observation: np.ndarray, stochastic: np.ndarray | bool, latent: Tensor | None = None
    ) -> Action:
        """See `Agent.act`. extras: `raw` action and its `mean` (B, n_a) before the tanh; `fed`."""
        fed = self.fed() if latent is None else latent
        mean, log_std = self.policy.actor(torch.from_numpy(observation), fed)
        noise = torch.randn(mean.shape, generator=self.generator)
        drawn = torch.from_numpy(np.broadcast_to(stochastic, self.worlds).astype(np.float32))
        raw = mean + drawn[:, None] * log_std.exp() * noise
        return Action(torch.tanh(raw).numpy(), {"raw": raw, "mean": mean, "fed": fed})


class ToldAgent(PpoAgent):
    """Is told the task's true factors."""

    STATE = ("adapting", "_truth")

    def __init__(self, policy: PpoPolicy, worlds: int, generator: torch.Generator) -> None:
        super().__init__(policy, worlds, generator)
        self._truth = torch.zeros(worlds, policy.n_f)

    def reset(self, which: np.ndarray, factors: np.ndarray) -> None:
        new = torch.from_numpy(factors).float()
        self._truth = torch.where(torch.from_numpy(which)[:, None], new, self._truth)

    def tell(self, which: np.ndarray) -> None:
        """It knows them already."""

    def fed(self) -> Tensor:
        return self._truth

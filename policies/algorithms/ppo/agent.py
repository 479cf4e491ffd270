"""PPO's policy for B worlds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from policies.algorithms.contract import Action, Agent, Belief, Transition
from policies.algorithms.ppo.belief import transition_rows
from policies.algorithms.ppo.config import PpoConfig
from policies.algorithms.ppo.memory import Memory
from policies.algorithms.ppo.networks import PpoActor
from policies.networks.modules import FactorEncoder


@dataclass(frozen=True)
class PpoPolicy:
    """Networks, on the CPU. encoder: of a policy that knows a belief. memory: of one that has a
    history. n_f: number of the task's factors."""

    actor: PpoActor
    encoder: FactorEncoder | None
    memory: Memory | None
    n_f: int
    config: PpoConfig
    episodes_per_step: int = 1

    @property
    def adapts(self) -> bool:
        return self.encoder is not None or self.memory is not None

    @property
    def privileged(self) -> bool:
        return self.config.knowledge == "truth"

    def agent(self, worlds: int, generator: torch.Generator, share: int = 1) -> PpoAgent:
        if share != 1:
            raise ValueError(f"share={share}: PPO's worlds share nothing")
        if self.encoder is not None:
            kind = RegressingAgent if self.config.knowledge == "regression" else BelievingAgent
            return kind(self, self.encoder, worlds, generator)
        if self.memory is not None:
            return RememberingAgent(self, self.memory, worlds, generator)
        return (ToldAgent if self.privileged else PpoAgent)(self, worlds, generator)


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


class BelievingAgent(PpoAgent):
    """Is fed the belief over the task's factors: `adapt.adapters.gaussian`, batched."""

    STATE = ("adapting", "_ring", "_next")

    def __init__(
        self, policy: PpoPolicy, encoder: FactorEncoder, worlds: int, generator: torch.Generator
    ) -> None:
        super().__init__(policy, worlds, generator)
        self._encoder = encoder
        # Precision, and precision × mean.
        self._ring = torch.zeros(2, worlds, policy.config.capacity, policy.n_f)
        self._next = np.zeros(worlds, int)

    def reset(self, which: np.ndarray, factors: np.ndarray) -> None:
        self._ring[:, torch.from_numpy(which)] = 0.0
        self._next[which] = 0

    def belief(self) -> Belief:
        precision, weighted = self._ring.sum(2)
        variance = 1.0 / (1.0 + precision)
        return Belief(weighted * variance, variance)

    def fed(self) -> Tensor:
        belief = self.belief()
        return torch.cat([belief.mean, belief.variance.log()], 1)

    @torch.no_grad()
    def observe(self, transition: Transition, valid: np.ndarray) -> None:
        """Fold one transition of each world into its belief where valid (B,)."""
        use = valid & self.adapting
        mean, log_precision = self._encoder(_rows(self.policy.config, transition))
        precision = log_precision.exp()
        world, slot = np.flatnonzero(use), self._next[use] % self._ring.shape[2]
        self._ring[:, world, slot] = torch.stack([precision, precision * mean])[:, world]
        self._next += use


class RegressingAgent(BelievingAgent):
    """Is fed the belief's mean, as if it were the truth."""

    def fed(self) -> Tensor:
        return self.belief().mean

    def act(
        self, observation: np.ndarray, stochastic: np.ndarray | bool, latent: Tensor | None = None
    ) -> Action:
        """See `Agent.act`. latent: (B, 2 n_f) a belief's mean and log variance."""
        mean = None if latent is None else latent[:, : self.policy.n_f]
        return super().act(observation, stochastic, mean)


class RememberingAgent(PpoAgent):
    """Is fed the state of a memory: `adapt.adapters.recurrent` without a head, batched."""

    STATE = ("adapting", "_state")

    def __init__(
        self, policy: PpoPolicy, memory: Memory, worlds: int, generator: torch.Generator
    ) -> None:
        super().__init__(policy, worlds, generator)
        self._memory = memory
        self._state = torch.zeros(worlds, memory.n_s)

    def reset(self, which: np.ndarray, factors: np.ndarray) -> None:
        new = torch.from_numpy(which)[:, None]
        self._state = torch.where(new, torch.zeros_like(self._state), self._state)

    def fed(self) -> Tensor:
        return self._state

    def act(
        self, observation: np.ndarray, stochastic: np.ndarray | bool, latent: Tensor | None = None
    ) -> Action:
        """See `Agent.act`. latent: not used. Nothing in a state is drawn, so a robot's equals it,
        and where it does not, the parity gate shall find other actions."""
        return super().act(observation, stochastic)

    @torch.no_grad()
    def observe(self, transition: Transition, valid: np.ndarray) -> None:
        """Carry the states on by one transition of each world where valid (B,)."""
        use = torch.from_numpy(valid & self.adapting)[:, None]
        new = self._memory(self._state, _rows(self.policy.config, transition))
        self._state = torch.where(use, new, self._state)


def _rows(config: PpoConfig, transition: Transition) -> Tensor:
    """(B, n_c)."""
    t = transition
    return transition_rows(
        config,
        torch.from_numpy(t.observation),
        torch.from_numpy(t.action),
        torch.from_numpy(t.reward),
        torch.from_numpy(t.next_observation),
    )

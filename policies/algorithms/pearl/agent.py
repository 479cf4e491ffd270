"""PEARL's policy and its adaptation for B worlds: `adapt.adapters.gaussian` and `.recurrent`,
batched."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from adapt.errors import AcclimateError
from policies.algorithms.contract import Action, Agent, Belief, Transition
from policies.algorithms.pearl.config import PearlConfig
from policies.networks.belief import Diagonal, Posterior
from policies.networks.modules import Actor, FactorEncoder
from policies.networks.recurrent import RecurrentEncoder

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class PearlPolicy:
    """Actor and encoder, on the CPU. Without an encoder there is no latent, or it is the truth."""

    actor: Actor
    encoder: FactorEncoder | RecurrentEncoder | None
    n_z: int
    config: PearlConfig
    episodes_per_step: int = 1

    @staticmethod
    def of(
        actor: Actor,
        encoder: FactorEncoder | RecurrentEncoder | None,
        n_z: int,
        config: PearlConfig,
    ) -> PearlPolicy:
        """Of networks on any device; those on another one are copied."""
        encoder = None if encoder is None else _on_cpu(encoder)
        return PearlPolicy(_on_cpu(actor), encoder, n_z, config)

    @property
    def adapts(self) -> bool:
        return self.encoder is not None

    @property
    def privileged(self) -> bool:
        return self.encoder is None and self.n_z > 0

    def agent(self, worlds: int, generator: torch.Generator, share: int = 1) -> PearlAgent:
        if share != 1:
            raise ValueError(f"share={share}: PEARL's belief changes within an episode")
        if self.encoder is None:
            return PearlAgent(self, worlds, generator)
        kinds = {"product": ProductAgent, "recurrent": RecurrentAgent}
        return kinds[self.config.belief](self, worlds, generator)


class PearlAgent(Agent):
    """Latent and action for B worlds; see `Agent`. Without an encoder the belief stays at the
    prior; subclasses have one.

    latent: (B, n_z) in force.
    """

    STATE = ("adapting", "latent", "_told", "_truth", "_held")

    def __init__(self, policy: PearlPolicy, worlds: int, generator: torch.Generator) -> None:
        super().__init__(worlds, generator)
        self.policy = policy
        n_z = policy.n_z
        self.latent = torch.zeros(worlds, n_z)
        # Without a belief to draw from, every latent is told.
        self._told = np.full(worlds, policy.privileged)
        self._truth = torch.zeros(worlds, n_z)
        self._held = np.zeros(worlds, int)

    def reset(self, which: np.ndarray, factors: np.ndarray) -> None:
        w = torch.from_numpy(which)
        if self._told.any():
            self._truth = torch.where(w[:, None], torch.from_numpy(factors), self._truth)
        self.begin_episode(which)

    def tell(self, which: np.ndarray) -> None:
        objective = self.policy.config.objective
        if objective not in ("posterior", "privileged"):
            raise AcclimateError(
                f"learner.objective={objective}: its latent does not stand for the task's factors, "
                "so it cannot be told them; expected posterior or privileged"
            )
        self._told = self._told | which

    def begin_episode(self, which: np.ndarray) -> None:
        """Draw a fresh latent before the next action in worlds (B,)."""
        self._held[which] = 0

    def posterior(self) -> Posterior:
        """The beliefs (B,) as they stand."""
        prior = torch.zeros(self.worlds, self.policy.n_z)
        return Diagonal(prior, torch.ones_like(prior))

    @torch.no_grad()
    def belief(self) -> Belief:
        posterior = self.posterior()
        return Belief(posterior.mean, posterior.variance)

    @torch.no_grad()
    def act(
        self, observation: np.ndarray, stochastic: np.ndarray | bool, latent: Tensor | None = None
    ) -> Action:
        c = self.policy.config
        due = self._held == 0
        if c.hold:
            due |= self._held % c.hold == 0
        if self.policy.encoder is not None and due.any():
            drawn = self.posterior().sample(c.exploration, self.generator)
            self.latent = torch.where(torch.from_numpy(due)[:, None], drawn, self.latent)
        if self._told.any():
            told = torch.from_numpy(self._told)[:, None]
            self.latent = torch.where(told, self._truth, self.latent)
        if latent is not None:
            self.latent = latent
        self._held += 1
        mean, log_std = self.policy.actor(torch.from_numpy(observation), self.latent)
        noise = torch.randn(mean.shape, generator=self.generator)
        drawn = torch.from_numpy(np.broadcast_to(stochastic, self.worlds).astype(np.float32))
        return Action(torch.tanh(mean + drawn[:, None] * log_std.exp() * noise).numpy())

    def _rows(self, transition: Transition) -> Tensor:
        """The encoder's input (B, n_c): observation, action, then what the context holds."""
        c = self.policy.config
        parts = [transition.observation, transition.action]
        if c.reward_in_context:
            parts.append(transition.reward[:, None])
        if c.next_in_context:
            parts.append(transition.next_observation)
        return torch.from_numpy(np.concatenate(parts, axis=1).astype(np.float32))


class ProductAgent(PearlAgent):
    """Beliefs are products of Gaussian factors, of the latest `capacity` transitions."""

    STATE = (*PearlAgent.STATE, "_ring", "_next")

    def __init__(self, policy: PearlPolicy, worlds: int, generator: torch.Generator) -> None:
        super().__init__(policy, worlds, generator)
        # Precision, and precision x mean.
        self._ring = torch.zeros(2, worlds, policy.config.capacity, policy.n_z)
        self._next = np.zeros(worlds, int)

    def reset(self, which: np.ndarray, factors: np.ndarray) -> None:
        self._ring[:, torch.from_numpy(which)] = 0.0
        self._next[which] = 0
        super().reset(which, factors)

    def posterior(self) -> Posterior:
        precision, weighted = self._ring.sum(2)
        variance = 1.0 / (1.0 + precision)
        return Diagonal(weighted * variance, variance)

    @torch.no_grad()
    def observe(self, transition: Transition, valid: np.ndarray) -> None:
        """Fold one transition per world into its belief where valid (B,)."""
        use = valid & self.adapting
        encoder = cast("FactorEncoder", self.policy.encoder)
        mean, log_precision = encoder(self._rows(transition))
        keep = torch.from_numpy(use)[:, None]
        precision = log_precision.exp() * keep
        world = torch.arange(self.worlds)
        slot = torch.from_numpy(self._next % self.policy.config.capacity)
        old = self._ring[:, world, slot]
        new = torch.stack([precision, precision * mean])
        self._ring[:, world, slot] = torch.where(keep, new, old)
        self._next += use


class RecurrentAgent(PearlAgent):
    """Beliefs are read from states that a network carries on. A state outlives episodes; `reset`
    alone returns it to the initial one, where the belief is the prior."""

    STATE = (*PearlAgent.STATE, "_state", "_count")

    def __init__(self, policy: PearlPolicy, worlds: int, generator: torch.Generator) -> None:
        super().__init__(policy, worlds, generator)
        self._encoder = cast("RecurrentEncoder", policy.encoder)
        self._state = self._encoder.initial(worlds)
        # Transitions behind each.
        self._count = np.zeros(worlds, int)

    def reset(self, which: np.ndarray, factors: np.ndarray) -> None:
        w = torch.from_numpy(which)
        self._state = torch.where(w[:, None], self._encoder.initial(self.worlds), self._state)
        self._count[which] = 0
        super().reset(which, factors)

    def posterior(self) -> Posterior:
        return self._encoder.read(self._state).where(torch.from_numpy(self._count > 0))

    @torch.no_grad()
    def observe(self, transition: Transition, valid: np.ndarray) -> None:
        use = valid & self.adapting
        state = self._encoder.step(self._state, self._rows(transition))
        self._state = torch.where(torch.from_numpy(use)[:, None], state, self._state)
        self._count += use


def _on_cpu(module: M) -> M:
    on_cpu = all(p.device.type == "cpu" for p in module.parameters())
    return module if on_cpu else copy.deepcopy(module).cpu()

"""PEARL's adaptation for B worlds in lock-step: `adapt.adapters.gaussian`, batched."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from policies.networks.modules import Actor, FactorEncoder


class BatchAdapter:
    """Belief, latent and action for B worlds.

    Args:
        actor, encoder: networks. Without an encoder there is no latent, or it is what `tell` says,
            as in the worlds of `told`.
        worlds, n_z: sizes.
        capacity: transitions whose factors count; the oldest is dropped.
        hold: control periods for which a drawn latent is kept, 0 for the whole episode.
        generator: of the latents' and actions' noise.
        exploration: latents are drawn with the belief's standard deviations times this.
    """

    def __init__(
        self,
        actor: Actor,
        encoder: FactorEncoder | None,
        worlds: int,
        n_z: int,
        capacity: int,
        hold: int,
        generator: torch.Generator,
        exploration: float = 1.0,
    ) -> None:
        self.actor, self.encoder = actor, encoder
        self.worlds, self.n_z, self.capacity, self.hold = worlds, n_z, capacity, hold
        self.generator = generator
        self.exploration = exploration
        self.adapting = np.ones(worlds, bool)
        # Without a belief to draw from, every latent is told.
        self.told = np.full(worlds, encoder is None and n_z > 0)
        self._truth = torch.zeros(worlds, n_z)
        self._ring = torch.zeros(2, worlds, capacity, n_z)
        self._next = np.zeros(worlds, int)
        self.latent = torch.zeros(worlds, n_z)
        self._held = np.zeros(worlds, int)
        self.forget(np.ones(worlds, bool))

    def forget(self, which: np.ndarray) -> None:
        """Back to the prior in worlds (B,): a new task."""
        w = torch.from_numpy(which)
        self._ring[:, w] = 0.0
        self._next[which] = 0
        self.begin_episode(which)

    def begin_episode(self, which: np.ndarray) -> None:
        """Draw a fresh latent before the next action in worlds (B,)."""
        self._held[which] = 0

    @property
    def wants_truth(self) -> bool:
        """Whether some worlds' latents are told rather than drawn from a belief."""
        return bool(self.told.any())

    def tell(self, factors: np.ndarray) -> None:
        """Each world's true standardised factors (B, n_f), its latent where it is told."""
        self._truth = torch.from_numpy(factors)

    def belief(self) -> tuple[Tensor, Tensor]:
        """Mean and variance (B, n_z)."""
        precision, weighted = self._ring.sum(2)
        variance = 1.0 / (1.0 + precision)
        return weighted * variance, variance

    @torch.no_grad()
    def act(self, observation: np.ndarray, stochastic: np.ndarray | bool) -> np.ndarray:
        """Action (B, n_a) in [−1, 1] for observation (B, n_o).

        stochastic: whether, or in which worlds (B,), to draw it; elsewhere it is the policy's mean.
        """
        due = self._held == 0
        if self.hold:
            due |= self._held % self.hold == 0
        if self.encoder is not None and due.any():
            mean, variance = self.belief()
            noise = torch.randn(self.worlds, self.n_z, generator=self.generator)
            drawn = mean + self.exploration * variance.sqrt() * noise
            self.latent = torch.where(torch.from_numpy(due)[:, None], drawn, self.latent)
        if self.wants_truth:
            self.latent = torch.where(
                torch.from_numpy(self.told)[:, None], self._truth, self.latent
            )
        self._held += 1
        mean, log_std = self.actor(torch.from_numpy(observation), self.latent)
        noise = torch.randn(mean.shape, generator=self.generator)
        drawn = torch.from_numpy(np.broadcast_to(stochastic, self.worlds).astype(np.float32))
        return torch.tanh(mean + drawn[:, None] * log_std.exp() * noise).numpy()

    @torch.no_grad()
    def observe(self, transition: np.ndarray, valid: np.ndarray) -> None:
        """Fold one transition per world (B, n_c) into its belief where valid (B,)."""
        if self.encoder is None:
            return
        use = valid & self.adapting
        mean, log_precision = self.encoder(torch.from_numpy(transition))
        precision = log_precision.exp() * torch.from_numpy(use)[:, None]
        world = torch.arange(self.worlds)
        slot = torch.from_numpy(self._next % self.capacity)
        keep = torch.from_numpy(use)[:, None]
        old = self._ring[:, world, slot]
        new = torch.stack([precision, precision * mean])
        self._ring[:, world, slot] = torch.where(keep, new, old)
        self._next += use

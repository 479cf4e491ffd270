"""Networks: normaliser, actor, factor encoder. Legend as in docs: n_o, n_a, n_z."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from policies.networks.belief import Diagonal, ProductPrefixes, prefix_posteriors

LOG_STD_MIN, LOG_STD_MAX = -5.0, 1.0


class Normaliser(nn.Module):
    """Per-feature standardisation, fitted to data and not learnt; part of the exported graph."""

    mean: Tensor
    std: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))

    def fit(self, data: Tensor) -> None:
        """Take mean and standard deviation of data (N, size); a constant feature keeps std 1."""
        self.mean.copy_(data.mean(0))
        std = data.std(0)
        self.std.copy_(torch.where(std > 1e-8, std, torch.ones_like(std)))

    def forward(self, x: Tensor) -> Tensor:
        # Clipped: one outlier from an unseen robot should not drive a network to its far end.
        return ((x - self.mean) / self.std).clamp(-8.0, 8.0)


class RewardUnits(nn.Module):
    """Rewards in units of their own spread, and what a state is worth on average; fitted once.

    Adam moves a critic's output by tenths an update, and through a target of rate τ a change of all
    values' mean takes some 1 / (τ (1 − γ)) updates. Values of a thousand would take longer than a
    schedule of 20,000 updates, and until then the critic's error hides what one action is worth
    beside another. So a critic learns values less `worth`, in these units. The task stays what it
    was: a terminal state is still worth 0, so what leads to it is worth its reward alone.
    """

    unit: Tensor
    worth: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("unit", torch.ones(()))
        self.register_buffer("worth", torch.zeros(()))

    def fit(self, reward: Tensor, going_on: Tensor, discount: float) -> None:
        """From rewards (N,) and whether the episode went on after them (N,), 1 or 0."""
        std = reward.std(correction=0)
        self.unit.copy_(torch.where(std > 1e-8, std, torch.ones_like(std)))
        # r / (1 − γ p) solves V = r + γ p V, with the mean reward and the mean chance to go on.
        self.worth.copy_(reward.mean() / self.unit / (1 - discount * going_on.mean()))


def mlp(sizes: Sequence[int], layer_norm: bool) -> nn.Sequential:
    """Linear, optional LayerNorm, ReLU, …, Linear."""
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(sizes)):
        layers.append(nn.Linear(a, b))
        if i < len(sizes) - 2:
            if layer_norm:
                layers.append(nn.LayerNorm(b))
            # In place: the layer before it keeps nothing of its output.
            layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class Actor(nn.Module):
    """Squashed Gaussian policy π(a | o, z)."""

    def __init__(self, n_o: int, n_z: int, n_a: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.normaliser = Normaliser(n_o)
        self.body = mlp([n_o + n_z, *hidden, 2 * n_a], layer_norm=True)

    def forward(self, observation: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation (B, n_a) before the tanh."""
        x = torch.cat([self.normaliser(observation), latent], -1)
        mean, raw = self.body(x).float().chunk(2, -1)
        span = 0.5 * (LOG_STD_MAX - LOG_STD_MIN)
        return mean, LOG_STD_MIN + span * (torch.tanh(raw) + 1)

    def sample(self, observation: Tensor, latent: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Reparametrised action (B, n_a) in (−1, 1) and its log density (B,).

        noise: standard normal (B, n_a).
        """
        mean, log_std = self(observation, latent)
        u = mean + log_std.exp() * noise
        log_density = -0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi)
        # log(1 − tanh²u) = 2 (log 2 − u − softplus(−2u)), which does not overflow.
        log_density = log_density - 2 * (math.log(2) - u - F.softplus(-2 * u))
        return torch.tanh(u), log_density.sum(-1)


class FactorEncoder(nn.Module):
    """One transition → one Gaussian factor over the latent.

    The factor's precision is bounded: above, so that no single transition can claim the context
    for certain; below, at a value that no number of transitions adds up to anything.
    """

    LOG_PRECISION_MIN, LOG_PRECISION_MAX = -12.0, 6.0
    START = -5.0
    """Initial log precision: a new encoder should say little, not disagree loudly."""

    def __init__(self, n_c: int, n_z: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.normaliser = Normaliser(n_c)
        self.body = mlp([n_c, *hidden, 2 * n_z], layer_norm=True)
        with torch.no_grad():
            next(self.body[-1].parameters()).mul_(0.1)

    def forward(self, transition: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log precision (…, n_z) of the factors of transitions (…, n_c)."""
        mean, raw = self.body(self.normaliser(transition)).float().chunk(2, -1)
        log_precision = (raw + self.START).clamp(self.LOG_PRECISION_MIN, self.LOG_PRECISION_MAX)
        return mean, log_precision

    def posteriors(self, context: Tensor, valid: Tensor) -> ProductPrefixes:
        """Beliefs after every prefix of runs: products of factors.

        context: transitions (n, T, n_c). valid: (n, T), 0 drops a factor.
        """
        mean, log_precision = self(context)
        with torch.autocast(context.device.type, enabled=False):
            return ProductPrefixes(Diagonal(*prefix_posteriors(mean, log_precision, valid)))

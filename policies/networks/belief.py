"""The belief in torch: products of Gaussian factors for many worlds or many prefixes at once.

The prior is standard normal in every latent dimension. `adapt.belief.gaussian` is the same product
on a robot, one transition at a time; tests hold the two together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Posterior(Protocol):
    """Beliefs over the latent, in any number of leading dimensions (…)."""

    @property
    def mean(self) -> Tensor:
        """(…, n_z)."""
        ...

    @property
    def variance(self) -> Tensor:
        """(…, n_z)."""
        ...

    def negative_log_density(self, target: Tensor) -> Tensor:
        """−log q(target) (…,) [nat] of targets that broadcast to (…, n_z)."""
        ...

    def sample(self, exploration: float, generator: torch.Generator) -> Tensor:
        """Latents (…, n_z); `exploration` scales the standard deviations."""
        ...


@dataclass(frozen=True)
class Diagonal:
    """Gaussians that are independent in each dimension: a `Posterior`. mean, variance: (…, n_z)."""

    mean: Tensor
    variance: Tensor

    def negative_log_density(self, target: Tensor) -> Tensor:
        return negative_log_density(target, self.mean, self.variance).sum(-1)

    def sample(self, exploration: float, generator: torch.Generator) -> Tensor:
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device)
        return self.mean + exploration * self.variance.sqrt() * noise

    def at(self, first: Tensor, second: Tensor) -> Diagonal:
        return Diagonal(self.mean[first, second], self.variance[first, second])


class Prefixes(Protocol):
    """The beliefs of n runs after every prefix of their T transitions; after none, the prior."""

    def after(self, run: Tensor, prefix: Tensor) -> Posterior:
        """Beliefs (N,) of runs (N,) after prefixes (N,) of so many transitions, or of all that are
        valid."""
        ...

    def final(self) -> Posterior:
        """Beliefs (n,) after whole runs."""
        ...

    def loss(self, truth: Tensor, generator: torch.Generator) -> Tensor:
        """−log q(truth) [nat], mean over runs and prefixes, or over some that the generator draws.

        truth: (n, n_z).
        """
        ...


@dataclass(frozen=True)
class ProductPrefixes:
    """`Prefixes` of products. beliefs: (n, T + 1)."""

    beliefs: Diagonal

    def after(self, run: Tensor, prefix: Tensor) -> Diagonal:
        return self.beliefs.at(run, prefix)

    def final(self) -> Diagonal:
        return Diagonal(self.beliefs.mean[:, -1], self.beliefs.variance[:, -1])

    def loss(self, truth: Tensor, generator: torch.Generator) -> Tensor:
        return self.beliefs.negative_log_density(truth[:, None]).mean()


def prefix_posteriors(mean: Tensor, log_precision: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Posterior after every prefix of a run.

    Args:
        mean, log_precision: factors (n, T, n_z).
        valid: (n, T), 0 drops a factor.

    Returns:
        mean and variance (n, T + 1, n_z); entry t uses the first t factors: entry 0 is the prior.
    """
    precision = log_precision.exp() * valid[..., None]
    first = torch.zeros_like(mean[:, :1])
    total = torch.cat([first, precision.cumsum(1)], 1) + 1.0
    weighted = torch.cat([first, (precision * mean).cumsum(1)], 1)
    return weighted / total, 1.0 / total


def negative_log_density(target: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """−log N(target; mean, variance), element by element."""
    return 0.5 * ((target - mean) ** 2 / variance + variance.log() + math.log(2 * math.pi))


def kl_to_prior(mean: Tensor, variance: Tensor) -> Tensor:
    """KL(N(mean, variance) ‖ N(0, 1)), element by element."""
    return 0.5 * (variance + mean**2 - 1.0 - variance.log())

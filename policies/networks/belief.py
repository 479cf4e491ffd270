"""The belief in torch: products of Gaussian factors for many worlds or many prefixes at once.

The prior is standard normal in every latent dimension. `adapt.belief.gaussian` is the same product
on a robot, one transition at a time; tests hold the two together.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


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

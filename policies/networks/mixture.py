"""Mixtures of Gaussians with full covariances, for many beliefs at once.

    q(z) = sum_k w_k N(z; m_k, L_k L_k^T)

`adapt.belief.mixture` is the same on a robot, one belief at a time; tests hold the two together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mixture:
    """A `Posterior`. log_weight: (…, K), normalised. means: (…, K, n_z). roots: (…, K, n_z, n_z),
    lower triangular with a positive diagonal."""

    log_weight: Tensor
    means: Tensor
    roots: Tensor

    @property
    def mean(self) -> Tensor:
        return (self.log_weight.exp()[..., None] * self.means).sum(-2)

    @property
    def variance(self) -> Tensor:
        # Within the components and between them.
        apart = self.means - self.mean[..., None, :]
        within = (self.roots**2).sum(-1)
        return (self.log_weight.exp()[..., None] * (within + apart**2)).sum(-2)

    def negative_log_density(self, target: Tensor) -> Tensor:
        """−log q(target) (…,) of targets (…, n_z)."""
        apart = (target[..., None, :] - self.means).unbind(-1)
        diagonal = self.roots.diagonal(dim1=-2, dim2=-1)
        # Forward substitution: whitened = L⁻¹ (target − mean). Thousands of small matrices are
        # solved faster so than by LAPACK one by one.
        whitened: list[Tensor] = []
        for distance, row in zip(apart, self.roots.unbind(-2), strict=True):
            entries = row.unbind(-1)
            for before, entry in zip(whitened, entries, strict=False):
                distance = distance - entry * before
            whitened.append(distance / entries[len(whitened)])
        square = torch.stack(whitened, -1).square().sum(-1)
        constant = len(whitened) * math.log(2 * math.pi)
        log_density = -0.5 * (square + constant) - diagonal.log().sum(-1)
        return -torch.logsumexp(self.log_weight + log_density, -1)

    def sample(self, exploration: float, generator: torch.Generator) -> Tensor:
        weight = self.log_weight.exp()
        flat = weight.reshape(-1, weight.shape[-1])
        component = torch.multinomial(flat, 1, generator=generator).reshape(weight.shape[:-1])
        at = component[..., None, None]
        mean = self.means.take_along_dim(at, -2)[..., 0, :]
        root = self.roots.take_along_dim(at[..., None], -3)[..., 0, :, :]
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        return mean + exploration * (root @ noise[..., None])[..., 0]

    def where(self, met: Tensor) -> Mixture:
        """These beliefs (B,) where met (B,), elsewhere the standard normal prior."""
        k, n_z = self.means.shape[-2:]
        eye = torch.eye(n_z, device=self.means.device)
        flat = self.log_weight.new_tensor(-math.log(k))
        return Mixture(
            torch.where(met[:, None], self.log_weight, flat),
            torch.where(met[:, None, None], self.means, 0.0),
            torch.where(met[:, None, None, None], self.roots, eye),
        )

"""MAESN's adaptation step (Gupta et al. 2018, arXiv 1802.07245), as a module that exports.

The belief is N(mean, diag exp(2 log_std)). A latent z is drawn from it and held; the step climbs
the expected return by the score-function gradient at the draws,

    g_mean    = E[ A (z − mean) / std² ]          g_log_std = E[ A ((z − mean)² / std² − 1) ]

each multiplied by the inverse of the Gaussian's Fisher information, std² and 1/2. So
preconditioned, a step of a given size changes the belief by a given KL, however narrow the belief
has become; at std = 1, where adaptation starts, the gradient of the mean is the published one. The
gradient in closed form needs no differentiation on the robot.

A is the return from the draw onwards less a linear-feature baseline (Duan et al. 2016, arXiv
1604.06778, §5), standardised over the draws. A step that nothing speaks for is zero: with equal
returns A vanishes.

Legend: B beliefs, E episodes, T steps, D draws in an episode (1 if z is held throughout).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

RIDGE = 0.1
"""Of the baseline, against features of variance about 1: few episodes must not be fitted away."""
SOLVER_STEPS = 12
"""Of conjugate gradients, unrolled: ONNX has no linear solver. The ridge bounds the condition."""
LEAST_SPREAD = 1e-6
"""Of advantages against returns: below lies rounding."""
LEAST = 1e-24
"""Of a squared number that is divided by. As a lower bound, not added: the exporter drops an
addition this small."""
NORM = 3.0
"""Largest Euclidean norm of the preconditioned gradient, in units of std."""


class LatentStep(nn.Module):
    """Old belief, step sizes and padded episodes → new belief; every argument is flattened.

    Args:
        n_o, n_z: sizes.
        episodes, horizon: E, T.
        hold: steps for which a draw is held; 0 for the episode.
        discount: of the return.
        centre, scale: (n_o,) normalise observations for the baseline.
    """

    discounts: Tensor
    clock: Tensor
    centre: Tensor
    scale: Tensor
    pick: Tensor

    def __init__(
        self,
        n_o: int,
        n_z: int,
        episodes: int,
        horizon: int,
        hold: int,
        discount: float,
        centre: Tensor,
        scale: Tensor,
    ) -> None:
        super().__init__()
        self.n_o, self.n_z, self.episodes, self.horizon = n_o, n_z, episodes, horizon
        self.draws = -(-horizon // hold) if hold else 1
        steps = torch.arange(horizon, dtype=torch.float32)
        ahead = steps[:, None] - steps[None, :]  # (T rewarded, T now)
        weight = torch.where(ahead >= 0, discount ** ahead.clamp(min=0.0), torch.zeros(()))
        self.register_buffer("discounts", weight)
        t = steps / max(horizon, 1)
        self.register_buffer("clock", torch.stack([t, t**2, torch.ones_like(t)], -1))
        self.register_buffer("centre", centre.clone())
        self.register_buffer("scale", scale.clone())
        # The draws' steps are picked by a product: (T, D), one 1 in each column.
        pick = torch.zeros(horizon, self.draws)
        pick[[d * hold for d in range(self.draws)], range(self.draws)] = 1.0
        self.register_buffer("pick", pick)

    def forward(
        self,
        mean: Tensor,
        log_std: Tensor,
        step_sizes: Tensor,
        latent: Tensor,
        observation: Tensor,
        reward: Tensor,
        mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """New mean and log_std (B, n_z).

        mean, log_std: (B, n_z). step_sizes: (B, 2 n_z), of the mean, then of log_std.
        latent: (B, E·D·n_z) the draws. observation (B, E·T·n_o), reward (B, E·T).
        mask: (B, E·T), 1 where a step was taken; a missing episode is all zeros.
        """
        b, e, n = mean.shape[0], self.episodes, self.n_z
        mask = mask.reshape(b, e, self.horizon)
        advantage, count = self.advantage(observation, reward, mask)
        noise = (latent.reshape(b, -1, n) - mean[:, None]) / log_std.exp()[:, None]
        weight = (advantage / count).reshape(b, -1, 1)
        # Times Fisher's inverse: the mean's σ² leaves σ ε, the log std's 1/2.
        on_mean = log_std.exp() * (weight * noise).sum(1)
        on_log_std = 0.5 * (weight * (noise**2 - 1.0)).sum(1)
        # Bounded in units of σ, so that the bound too is the same for a narrow belief.
        step = torch.cat([on_mean / log_std.exp(), on_log_std], 1)
        norm = (step**2).sum(1, keepdim=True).clamp(min=LEAST).sqrt()
        step = step_sizes * step * torch.clamp(NORM / norm, max=1.0)
        return mean + log_std.exp() * step[:, :n], log_std + step[:, n:]

    def advantage(self, observation: Tensor, reward: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised advantage of every draw (B, E, D), zero where none was made, and how many
        were (B, 1, 1). mask: (B, E, T)."""
        b, e, t = mask.shape
        returns = (reward.reshape(b, e, t) * mask) @ self.discounts
        observation = (observation.reshape(b, e, t, self.n_o) - self.centre) / self.scale
        clock = self.clock.expand(b, e, t, 3)
        features = torch.cat([observation.clamp(-3.0, 3.0), clock], -1) * mask[..., None]
        features = features.reshape(b, e * t, -1)
        flat = (returns * mask).reshape(b, e * t, 1)
        spread = (flat**2).mean((1, 2), keepdim=True).clamp(min=LEAST).sqrt()
        weight = _ridge(features, flat / spread)
        baseline = (features @ weight * spread).reshape(b, e, t)
        made = mask @ self.pick
        drawn = ((returns - baseline) * mask) @ self.pick
        count = made.sum((1, 2), keepdim=True).clamp(min=1.0)
        centred = (drawn - drawn.sum((1, 2), keepdim=True) / count) * made
        std = ((centred**2).sum((1, 2), keepdim=True) / count).sqrt()
        floor = LEAST_SPREAD * spread
        signal = (std > floor).to(std.dtype)
        return signal * centred / (std + floor), count


def _ridge(features: Tensor, target: Tensor) -> Tensor:
    """argmin_w |features w − target|² / N + RIDGE |w|²: (B, F, 1) from (B, N, F) and (B, N, 1)."""
    n = features.shape[1]
    transposed = features.transpose(1, 2)
    matrix = transposed @ features / n
    residual = transposed @ target / n
    solution = torch.zeros_like(residual)
    direction = residual
    squared = (residual**2).sum(1, keepdim=True)
    for _ in range(SOLVER_STEPS):
        product = matrix @ direction + RIDGE * direction
        size = squared / (direction * product).sum(1, keepdim=True).clamp(min=LEAST)
        solution = solution + size * direction
        residual = residual - size * product
        following = (residual**2).sum(1, keepdim=True)
        direction = residual + following / squared.clamp(min=LEAST) * direction
        squared = following
    return solution


def gaussian_kl(mean: Tensor, log_std: Tensor, to_mean: Tensor, to_log_std: Tensor) -> Tensor:
    """KL(N(mean, std) ‖ N(to_mean, to_std)) summed over the last axis [nat]."""
    ratio = torch.exp(2.0 * (log_std - to_log_std))
    distance = (mean - to_mean) ** 2 * torch.exp(-2.0 * to_log_std)
    return 0.5 * (ratio + distance - 1.0 - 2.0 * (log_std - to_log_std)).sum(-1)

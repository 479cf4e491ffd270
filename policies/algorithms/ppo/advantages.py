"""Generalised advantage estimation (Schulman et al. 2016, arXiv 1506.02438)."""

from __future__ import annotations

import torch
from torch import Tensor


def generalised_advantages(
    reward: Tensor,
    value: Tensor,
    following: Tensor,
    discount: Tensor,
    ended: Tensor,
    valid: Tensor,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """Advantages (B, T) of the steps of a roll-out: Σ_k (γλ)^k δ_{t+k}, eq. 16, as far as the
    episode and the roll-out go, with δ = r + γ · discount · following − value.

    Args:
        reward, value: (B, T) of each step and of the state before it.
        following: (B, T) value of the state that each step led to. Where time ran out, that is the
            state in which the episode was cut: its value stands for what is left out.
        discount: (B, T) 0 where that state is terminal, else 1.
        ended: (B, T) the next step does not follow from this one.
        valid: (B, T) 0 where the physics failed: the advantage is 0 there, and the step before
            ends with the value of the state that both share.
    """
    delta = reward + gamma * discount * following - value
    delta = torch.where(valid > 0, delta, torch.zeros_like(delta))
    carried = gamma * gae_lambda * (~ended & (valid > 0)).to(delta.dtype)
    advantage = torch.empty_like(delta)
    later = torch.zeros_like(delta[:, 0])
    for t in range(delta.shape[1] - 1, -1, -1):
        later = delta[:, t] + carried[:, t] * later
        advantage[:, t] = later
    return advantage

"""PPO's networks: a normaliser that is fitted on the way, the actor, the critic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from adapt.bundle.observed_range import Seen
from policies.networks.modules import Normaliser

RETURN_MEMORY = 0.05
"""Share by which the newest roll-out moves the moments of the returns."""


class RunningNormaliser(Normaliser):
    """A `Normaliser` of all that it was shown so far, batch by batch."""

    count: Tensor
    total_mean: Tensor
    squares: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, size: int) -> None:
        super().__init__(size)
        # In double precision: a million float32 lose the digits that a small spread needs.
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("total_mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("squares", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("low", torch.full((size,), math.inf))
        self.register_buffer("high", torch.full((size,), -math.inf))

    @torch.no_grad()
    def update(self, data: Tensor) -> None:
        """Count data (N, size) in (Chan et al. 1979); a constant feature keeps std 1."""
        if not len(data):
            return
        wide = data.double()
        mean = wide.mean(0)
        n, before = len(data), self.count.clone()
        off = mean - self.total_mean
        self.count += n
        self.total_mean += off * (n / self.count)
        self.squares += ((wide - mean) ** 2).sum(0) + off**2 * (before * n / self.count)
        std = (self.squares / self.count).sqrt()
        self.mean.copy_(self.total_mean)
        self.std.copy_(torch.where(std > 1e-8, std, torch.ones_like(std)))
        torch.minimum(self.low, data.min(0).values, out=self.low)
        torch.maximum(self.high, data.max(0).values, out=self.high)

    def seen(self) -> Seen | None:
        """What it was shown, for the robot's guard; None where that is nothing."""
        if not self.count:
            return None
        std = (self.squares / self.count).sqrt()
        return Seen(
            int(self.count),
            self.total_mean.tolist(),
            std.tolist(),
            self.low.tolist(),
            self.high.tolist(),
        )


def elu_mlp(sizes: Sequence[int], last_gain: float) -> nn.Sequential:
    """Linear, ELU, …, Linear with orthogonal weights (Saxe et al. 2014, arXiv 1312.6120) and no
    biases at first. last_gain: scale of the last layer's weights."""
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(sizes)):
        last = i == len(sizes) - 2
        linear = nn.Linear(a, b)
        nn.init.orthogonal_(linear.weight, last_gain if last else math.sqrt(2))
        nn.init.zeros_(linear.bias)
        layers += [linear] if last else [linear, nn.ELU()]
    return nn.Sequential(*layers)


class PpoActor(nn.Module):
    """π(a | o, k): tanh of a Gaussian whose standard deviation is the same in every state.

    k: (B, n_k) what the policy is fed of the task; n_k may be 0.
    """

    def __init__(
        self, n_o: int, n_k: int, n_a: int, hidden: Sequence[int], action_std: float
    ) -> None:
        super().__init__()
        self.normaliser = RunningNormaliser(n_o)
        # A new policy should do little in every state, so that its noise explores.
        self.body = elu_mlp([n_o + n_k, *hidden, n_a], 0.01)
        self.log_std = nn.Parameter(torch.full((n_a,), math.log(action_std)))

    def forward(self, observation: Tensor, fed: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation (B, n_a) before the tanh."""
        mean = self.body(torch.cat([self.normaliser(observation), fed], -1))
        return mean, self.log_std.expand_as(mean)


class PpoCritic(nn.Module):
    """V(o, k, f), in units of the returns' spread about their mean.

    centre, spread: moments of the returns; `forward` is (V − centre) / spread.
    """

    centre: Tensor
    spread: Tensor
    moments: Tensor
    weight: Tensor

    def __init__(self, n_in: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.body = elu_mlp([n_in, *hidden, 1], 1.0)
        self.register_buffer("centre", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))
        self.register_buffer("moments", torch.zeros(2, dtype=torch.float64))
        self.register_buffer("weight", torch.zeros((), dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        """(B,) standardised values of inputs (B, n_in)."""
        return self.body(inputs).squeeze(-1)

    @torch.no_grad()
    def value(self, inputs: Tensor) -> Tensor:
        """(B,) values in the reward's units."""
        return self.centre + self.spread * self(inputs)

    @torch.no_grad()
    def follow(self, returns: Tensor) -> None:
        """Let centre and spread follow returns (N,), and change the last layer so that every value
        stays what it was (PopArt: van Hasselt et al. 2016, arXiv 1602.07714)."""
        wide = returns.double()
        newest = torch.stack([wide.mean(), (wide**2).mean()])
        self.moments.lerp_(newest, RETURN_MEMORY)
        self.weight.lerp_(torch.ones_like(self.weight), RETURN_MEMORY)
        mean, square = self.moments / self.weight
        variance = square - mean**2
        spread = torch.where(variance > 1e-12, variance.clamp(min=1e-12).sqrt(), 1.0)
        last = self.body[-1]
        weight, bias = last.get_parameter("weight"), last.get_parameter("bias")
        ratio = (self.spread / spread).float()
        weight.mul_(ratio)
        bias.copy_(bias * ratio + ((self.centre - mean) / spread).float())
        self.centre.copy_(mean)
        self.spread.copy_(spread)

"""MAESN's networks: the policy, and the learned sizes of the adaptation step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from policies.networks.modules import Actor, Normaliser, mlp


class GaussianPolicy(nn.Module):
    """π(a | o, z): tanh of a Gaussian whose standard deviation is the same in every state."""

    def __init__(
        self, n_o: int, n_z: int, n_a: int, hidden: tuple[int, ...], action_std: float
    ) -> None:
        super().__init__()
        self.normaliser = Normaliser(n_o)
        self.body = mlp([n_o + n_z, *hidden, n_a], layer_norm=True)
        self.log_std = nn.Parameter(torch.full((n_a,), math.log(action_std)))
        with torch.no_grad():
            # A new policy should do little in every state, so that its noise explores.
            next(self.body[-1].parameters()).mul_(0.1)

    def forward(self, observation: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation (B, n_a) before the tanh."""
        mean = self.body(torch.cat([self.normaliser(observation), latent], -1))
        return mean, self.log_std.expand_as(mean)

    def start_from(self, actor: Actor) -> None:
        """Take over the means and the normaliser of an actor with the same layers."""
        self.normaliser.load_state_dict(actor.normaliser.state_dict())
        state = actor.body.state_dict()
        n_a = self.log_std.numel()
        last = str(len(self.body) - 1)
        for name in (f"{last}.weight", f"{last}.bias"):
            state[name] = state[name][:n_a]
        self.body.load_state_dict(state)


class StepParameters(nn.Module):
    """What the adaptation step is made with.

    raw: (2 n_z,) its learned sizes, kept positive by a softplus: a negative step would unlearn.
    centre, scale: (n_o,) normalise the features of its baseline; 0 and 1 until they are fitted.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, n_o: int, n_z: int, size: float) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.full((2 * n_z,), math.log(math.expm1(size))))
        self.register_buffer("centre", torch.zeros(n_o))
        self.register_buffer("scale", torch.ones(n_o))

    @property
    def belief(self) -> Tensor:
        """(2 n_z,) of the belief's mean, then of its log std."""
        return F.softplus(self.raw)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Earlier runs kept the size of a step that no bundle can take, and no normalisation.
        state_dict.pop(f"{prefix}raw_policy", None)
        for name in ("centre", "scale"):
            state_dict.setdefault(prefix + name, getattr(self, name))
        super()._load_from_state_dict(state_dict, prefix, *rest)

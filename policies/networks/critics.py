"""Twin critics: two Q networks in one, every layer one batched product over the pair.

layer_norm: LayerNorm before each ReLU; it keeps off-policy values bounded. The default.
plain: no normalisation.
crossq: CrossQ (Bhatt et al. 2024, arXiv 1902.05605v4). Batch normalisation in place of a target
    network: present and following state-action pairs pass as one batch, so that one set of
    statistics fits both. The published code turns it into batch *re*normalisation after 100,000
    updates, more than any schedule here takes; that is left out, and so are the normalised actor
    and its update every third time.
simba: SimbaV2 (Lee et al. 2025, arXiv 2502.15280). Activations and weights stay on unit spheres;
    residual blocks interpolate between two points of one. Its distribution over values is left
    out: the head is a scalar, in units of the value of a reward of 1 at every step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adapt.errors import AcclimateError
from policies.networks.modules import Normaliser

CriticKind = Literal["layer_norm", "plain", "crossq", "simba"]


def make_critic(
    kind: CriticKind, n_o: int, n_rest: int, hidden: Sequence[int], value_scale: float
) -> Critic:
    """A twin critic for observations of n_o and n_rest further inputs.

    hidden: widths; for "simba" the stream's, then each residual block's inner one.
    value_scale: what a reward of 1 at every step is worth, the unit of "simba".

    Raises AcclimateError for widths that the kind cannot have.
    """
    if kind == "crossq":
        return CrossQCritic(n_o, n_rest, hidden)
    if kind == "simba":
        return SimbaCritic(n_o, n_rest, hidden, value_scale)
    return TwinCritic(n_o, n_rest, hidden, layer_norm=kind == "layer_norm")


class Critic(nn.Module):
    """What a learner may ask of a twin critic.

    bootstraps: whether targets come from a copy that follows slowly. Where not, the learner passes
        present and following pairs through in training mode, as one batch.
    betas: of its Adam.
    """

    bootstraps: ClassVar[bool] = True
    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)

    def __init__(self, n_o: int) -> None:
        super().__init__()
        self.normaliser = Normaliser(n_o)

    def project(self) -> None:
        """Called after each step of the optimiser: weights bound to a sphere return to it."""

    def forward(self, observation: Tensor, *rest: Tensor) -> Tensor:
        """Q values (2, B) of observation (B, n_o) with action, latent, … (B, ·)."""
        return self.values(torch.cat([self.normaliser(observation), *rest], -1)).float()

    def values(self, x: Tensor) -> Tensor:
        """Q values (2, B) of inputs (B, n_o + n_rest)."""
        raise NotImplementedError


class TwinCritic(Critic):
    """Linear, LayerNorm where wanted, ReLU, …, linear."""

    def __init__(self, n_o: int, n_rest: int, hidden: Sequence[int], layer_norm: bool) -> None:
        super().__init__(n_o)
        sizes = [n_o + n_rest, *hidden, 1]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        self.gains = nn.ParameterList()
        self.shifts = nn.ParameterList()
        for a, b in pairwise(sizes):
            self.weights.append(_uniform(2, a, b, fan_in=a))
            self.biases.append(_uniform(2, 1, b, fan_in=a))
        for b in hidden if layer_norm else ():
            self.gains.append(nn.Parameter(torch.ones(2, 1, b)))
            self.shifts.append(nn.Parameter(torch.zeros(2, 1, b)))

    def values(self, x: Tensor) -> Tensor:
        x = x.expand(2, -1, -1)
        for i, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(b, x, w)
            if i < len(self.gains):
                x = F.layer_norm(x, x.shape[-1:])
                x = torch.addcmul(self.shifts[i], x, self.gains[i])
            if i < len(self.weights) - 1:
                x = F.relu_(x)
        return x.squeeze(-1)


class CrossQCritic(Critic):
    """Batch normalisation, linear, ReLU, batch normalisation, …, linear.

    Activations lie as (2, width, B), so that torch's own batch normalisation takes both networks'
    features for its channels, without a copy.
    """

    bootstraps = False
    betas = (0.5, 0.999)

    def __init__(self, n_o: int, n_rest: int, hidden: Sequence[int]) -> None:
        super().__init__(n_o)
        sizes = [n_o + n_rest, *hidden, 1]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        self.norms = nn.ModuleList()
        for a, b in pairwise(sizes):
            self.weights.append(_uniform(2, b, a, fan_in=a))
            self.biases.append(_uniform(2, b, 1, fan_in=a))
            self.norms.append(nn.BatchNorm1d(2 * a, eps=1e-3, momentum=0.01))

    def values(self, x: Tensor) -> Tensor:
        x = x.T.expand(2, -1, -1)
        layers = zip(self.norms, self.weights, self.biases, strict=True)
        for i, (norm, w, b) in enumerate(layers):
            x = norm(x.reshape(1, -1, x.shape[-1])).view(x.shape)
            x = torch.baddbmm(b, w, x)
            if i < len(self.weights) - 1:
                x = F.relu(x)
        return x.squeeze(1)


class SimbaCritic(Critic):
    """Residual blocks between points of a unit sphere; every unit's weights are a unit vector.

    `scales` multiply a layer's outputs; `lerps`, in units of `lerp_unit`, say how far a block goes
    towards its result. Both start as published, but for the head's.
    """

    SHIFT = 3.0
    """Appended to the inputs before they are normalised, which would else lose their length."""
    HEAD = 0.01
    """The head's initial scale; at the logits' 1, values would start random and large."""

    def __init__(self, n_o: int, n_rest: int, hidden: Sequence[int], value_scale: float) -> None:
        super().__init__(n_o)
        if not hidden:
            raise AcclimateError(
                "learner.critic_hidden is empty; critic simba needs the stream's width, then one "
                "inner width for each residual block"
            )
        width, *inner = hidden
        self.value_scale = value_scale
        self.lerp_unit = math.sqrt(width) / (len(inner) + 1)
        self.weights = nn.ParameterList([_orthogonal(n_o + n_rest + 1, width)])
        self.scales = nn.ParameterList([_full(width, math.sqrt(2 / width))])
        self.lerps = nn.ParameterList()
        for m in inner:
            self.weights.extend([_orthogonal(width, m), _orthogonal(m, width)])
            self.scales.append(_full(m, math.sqrt(2 / m)))
            self.lerps.append(_full(width, 1 / math.sqrt(width)))
        self.weights.extend([_orthogonal(width, width), _orthogonal(width, 1)])
        self.scales.append(_full(width, self.HEAD))
        self.bias = _full(1, 0.0)
        self.project()

    @torch.no_grad()
    def project(self) -> None:
        for w in self.weights:
            w.copy_(F.normalize(w, dim=1))

    def values(self, x: Tensor) -> Tensor:
        x = F.normalize(F.pad(x, (0, 1), value=self.SHIFT), dim=-1).expand(2, -1, -1)
        first, *middle, up, down = self.weights
        # Scaled weights in place of scaled outputs: they are fewer.
        x = F.normalize(torch.bmm(x, first * self.scales[0]), dim=-1)
        for i, lerp in enumerate(self.lerps):
            y = F.relu(torch.bmm(x, middle[2 * i] * self.scales[i + 1]))
            y = F.normalize(torch.bmm(y, middle[2 * i + 1]), dim=-1)
            x = F.normalize(x + self.lerp_unit * lerp * (y - x), dim=-1)
        # Two linear layers in a row, as published: the first turns what the second scales.
        x = torch.bmm(torch.bmm(x, up * self.scales[-1]), down) + self.bias
        return self.value_scale * x.squeeze(-1)


def _uniform(*shape: int, fan_in: int) -> nn.Parameter:
    """As torch initialises a linear layer."""
    bound = 1 / math.sqrt(fan_in)
    return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))


def _orthogonal(a: int, b: int) -> nn.Parameter:
    return nn.Parameter(torch.stack([nn.init.orthogonal_(torch.empty(a, b)) for _ in range(2)]))


def _full(width: int, value: float) -> nn.Parameter:
    return nn.Parameter(torch.full((2, 1, width), value))

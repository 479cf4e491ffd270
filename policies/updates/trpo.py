"""Trust-region policy optimisation (Schulman et al. 2015, arXiv 1502.05477): one step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

CG_STEPS = 10
BACKTRACKS = 12
SHRINK = 0.7


@dataclass(frozen=True)
class TrustRegionReport:
    """loss_before, loss_after; kl: mean KL after [nat]; accepted: whether anything moved."""

    loss_before: float
    loss_after: float
    kl: float
    accepted: bool


def trust_region_step(
    parameters: Sequence[Tensor],
    objective: Callable[[], tuple[Tensor, Tensor]],
    curvature: Callable[[], Tensor],
    radius: float,
    damping: float,
) -> TrustRegionReport:
    """Lower the loss within a mean KL of `radius` of the present parameters.

    Args:
        parameters: leaves that require gradients; changed in place.
        objective: loss and mean KL to the policy that collected, both scalars.
        curvature: the mean KL on a part of the data, whose second derivative is Fisher's matrix.
        radius: bound on the mean KL [nat].
        damping: added to Fisher's diagonal.

    The direction solves Fisher · x = gradient by conjugate gradients; a line search then shrinks
    the step until the loss falls and the KL holds, or gives up and changes nothing.
    """
    loss, _ = objective()
    gradient = _flat(torch.autograd.grad(loss, parameters, allow_unused=True), parameters)
    slope = torch.autograd.grad(curvature(), parameters, create_graph=True, allow_unused=True)
    flat_slope = _flat(slope, parameters)

    def fisher(vector: Tensor) -> Tensor:
        product = torch.autograd.grad(
            flat_slope @ vector, parameters, retain_graph=True, allow_unused=True
        )
        return _flat(product, parameters) + damping * vector

    before = float(loss.detach())
    unchanged = TrustRegionReport(before, before, 0.0, False)
    if not torch.isfinite(gradient).all() or not float(gradient.abs().max()) > 0.0:
        return unchanged
    direction = _conjugate_gradients(fisher, gradient)
    squared_length = float(direction @ fisher(direction))
    if not squared_length > 0.0:
        return unchanged
    step = direction * (2.0 * radius / squared_length) ** 0.5
    start = [p.detach().clone() for p in parameters]
    fraction = 1.0
    for _ in range(BACKTRACKS):
        _assign(parameters, start, -fraction * step)
        with torch.no_grad():
            after, moved = (float(x) for x in objective())
        # NaN compares false, so this refuses it too.
        if after < before and moved <= radius:
            return TrustRegionReport(before, after, moved, True)
        fraction *= SHRINK
    _assign(parameters, start, torch.zeros_like(step))
    return unchanged


def _conjugate_gradients(product: Callable[[Tensor], Tensor], target: Tensor) -> Tensor:
    solution = torch.zeros_like(target)
    residual, direction = target.clone(), target.clone()
    squared = residual @ residual
    for _ in range(CG_STEPS):
        image = product(direction)
        size = squared / (direction @ image)
        solution += size * direction
        residual -= size * image
        following = residual @ residual
        if float(following) < 1e-10:
            break
        direction = residual + following / squared * direction
        squared = following
    return solution


def _flat(gradients: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> Tensor:
    pairs = zip(gradients, parameters, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).reshape(-1) for g, p in pairs])


@torch.no_grad()
def _assign(parameters: Sequence[Tensor], start: Sequence[Tensor], step: Tensor) -> None:
    offset = 0
    for parameter, origin in zip(parameters, start, strict=True):
        size = parameter.numel()
        parameter.copy_(origin + step[offset : offset + size].view_as(parameter))
        offset += size

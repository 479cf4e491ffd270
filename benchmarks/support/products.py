"""The matrix products of a computation: recorded while it runs, then run again by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
BARE: dict[Any, Callable[[Tensor, Tensor], Tensor]] = {
    aten.mm.default: torch.mm,
    aten.addmm.default: torch.mm,
    aten.bmm.default: torch.bmm,
    aten.baddbmm.default: torch.bmm,
}
"""The product of each operation, without its addition."""


@dataclass(frozen=True)
class Layout:
    """How a tensor lies in memory."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @staticmethod
    def of(tensor: Tensor) -> Layout:
        return Layout(tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device)

    def tensor(self) -> Tensor:
        """A tensor with this layout, of ordinary numbers, because denormal ones would be slow."""
        pairs = zip(self.shape, self.stride, strict=True)
        size = 1 + sum((n - 1) * step for n, step in pairs)
        flat = torch.full((size,), 0.5, dtype=self.dtype, device=self.device)
        return flat.as_strided(self.shape, self.stride)


@dataclass(frozen=True)
class Product:
    """Of two matrices, or of two stacks of them."""

    function: Callable[[Tensor, Tensor], Tensor]
    left: Layout
    right: Layout


class _Recorder(TorchDispatchMode):
    def __init__(self, found: list[Product]) -> None:
        super().__init__()
        self._found = found

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in BARE:
            left, right = args[-2:]
            self._found.append(Product(BARE[func], Layout.of(left), Layout.of(right)))
        return func(*args, **(kwargs or {}))


@contextmanager
def recorded() -> Iterator[list[Product]]:
    """Every matrix product of torch in the block, forward and backward. Raises RuntimeError if
    there is none."""
    found: list[Product] = []
    with _Recorder(found):
        yield found
    if not found:
        raise RuntimeError("no matrix product was seen")


def again(products: list[Product]) -> Callable[[], None]:
    """A function that runs all of them once, on factors with the same layout."""
    made = cache(Layout.tensor)
    calls = [(p.function, made(p.left), made(p.right)) for p in products]

    @torch.no_grad()
    def run() -> None:
        for function, left, right in calls:
            function(left, right)

    return run

"""Float32 products by the fastest library: the precision stays, and so does the learner."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from policies.algorithms.pearl.networks import PearlNetworks
from policies.training import device
from policies.training.device import float32_products
from tests.policies.algorithms.test_pearl import filled, learner


@pytest.fixture(autouse=True)
def untried() -> Iterator[None]:
    """Each test tries the libraries anew, and leaves no answer to the next."""
    device._fastest_exact.cache_clear()
    yield
    device._fastest_exact.cache_clear()


def test_products_keep_the_precision_of_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 2, 256, 256, generator=generator)
    with float32_products("cpu"):
        found = torch.bmm(a, b)
    # Sums of 256 products near 1; bfloat16 would be off by some 1e-1.
    torch.testing.assert_close(found.double(), torch.bmm(a.double(), b.double()), atol=3e-4, rtol=0)


@pytest.mark.parametrize("product", ["bmm", "matmul"])
def test_a_library_that_rounds_is_not_used(product: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = torch if product == "bmm" else Tensor
    name = product if product == "bmm" else "__matmul__"
    exact: Callable[[Tensor, Tensor], Tensor] = getattr(owner, name)

    def rounded(a: Tensor, b: Tensor) -> Tensor:
        if a.dtype is torch.float32 and torch.get_float32_matmul_precision() == "medium":
            return exact(a.bfloat16(), b.bfloat16()).float()
        return exact(a, b)

    monkeypatch.setattr(owner, name, rounded)
    with float32_products("cpu"):
        assert torch.get_float32_matmul_precision() == "highest"


def test_the_setting_ends_with_the_block_and_leaves_a_gpu_alone() -> None:
    before = torch.get_float32_matmul_precision()
    with float32_products("cuda"):
        assert torch.get_float32_matmul_precision() == before
    with pytest.raises(RuntimeError, match="within"), float32_products("cpu"):
        raise RuntimeError("within")
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.parametrize("objective", ["posterior", "critic"])
def test_updates_are_those_of_the_slower_library(
    objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def updates(of: PearlNetworks) -> list[dict[str, Tensor]]:
        replay, factors = filled(of)
        rng = np.random.default_rng(3)
        return [of.update(replay, factors, rng) for _ in range(10)]

    found = updates(learner(objective=objective))
    monkeypatch.setattr(device, "_fastest_exact", lambda: "highest")
    slower = updates(learner(objective=objective))
    for step, (one, other) in enumerate(zip(found, slower, strict=True)):
        for name, value in one.items():
            torch.testing.assert_close(
                value,
                other[name],
                rtol=1e-3,
                atol=1e-4,
                msg=lambda m, s=step, n=name: f"{s} {n} {m}",
            )

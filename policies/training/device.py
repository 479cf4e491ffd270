"""Which device and precision a machine deserves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Literal

import torch

from adapt.errors import AcclimateError

Products = Literal["highest", "medium"]
"""What `torch.set_float32_matmul_precision` takes."""
BFLOAT16_FLAGS = {"amx_bf16", "avx512_bf16"}


def choose_device(wanted: str) -> str:
    """ "auto", "cpu" or "cuda" → a torch device; CUDA asked for and absent is an error."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise AcclimateError("device=cuda was asked for, but torch finds none; use device=cpu")
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted


def choose_bfloat16(wanted: str, device: str) -> bool:
    """Whether to run products in bfloat16. A CPU without native support emulates it, tens of times
    slower than float32, so "auto" asks the processor first."""
    if wanted != "auto":
        return wanted == "bfloat16"
    if device == "cuda":
        return torch.cuda.is_bf16_supported()
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return False
    return bool(words & BFLOAT16_FLAGS)


@contextmanager
def float32_products(device: str) -> Iterator[None]:
    """Within the block, products of float32 matrices run by the fastest library of this device that
    keeps float32's precision."""
    if device != "cpu":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(_fastest_exact())
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@cache
def _fastest_exact() -> Products:
    """ "medium" hands float32 products to oneDNN and lets it round them to bfloat16, which it does
    only where the processor has AMX. Elsewhere it runs float32 kernels for AVX-512, which MKL,
    behind "highest", does not use on AMD's processors: it takes half the time there.

    The precision is measured, because no flag of the processor promises what a library does."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 2, 64, 64, generator=generator)
    exact = torch.bmm(a.double(), b.double())
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        found = [torch.bmm(a, b), torch.stack([a[0] @ b[0], a[1] @ b[1]])]
    finally:
        torch.set_float32_matmul_precision(before)
    # Sums of 64 products near 1: float32 is within 1e-5 of them, bfloat16 is off by some 1e-1.
    off = max(float((product.double() - exact).abs().max()) for product in found)
    return "medium" if off < 1e-4 else "highest"

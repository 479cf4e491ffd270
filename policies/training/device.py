"""Which device and precision a machine deserves."""

from __future__ import annotations

from pathlib import Path

import torch

from adapt.errors import AcclimateError

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

"""Checkpoints: one file that holds everything a run depends on, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adapt.errors import AcclimateError
from policies.training.files import replacing


class CheckpointError(AcclimateError):
    """A checkpoint that is absent, truncated, or not of this run; the message says which."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors, numbers, strings and containers of them. Raises OutputError, the checkpoint
    before as it was."""
    with replacing(path) as stream:
        torch.save(state, stream)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint. Nothing but tensors and plain containers is ever unpickled."""
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no checkpoint")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds for a damaged file
        raise CheckpointError(f"{path}: not a readable checkpoint ({error})") from error


def generator_state(rng: np.random.Generator) -> str:
    """A numpy generator's state as text: its integers are longer than a tensor's."""
    return json.dumps(rng.bit_generator.state)


def restore_generator(rng: np.random.Generator, state: str) -> None:
    rng.bit_generator.state = json.loads(state)

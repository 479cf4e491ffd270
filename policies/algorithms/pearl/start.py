"""Networks that a run takes over from a run folder or from a bundle."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from adapt.bundle.archive import read_files
from adapt.bundle.policy_bundle import open_bundle
from policies.training.checkpoint import load_checkpoint

BEST = "best.pt"
GRAPHS = {"policy": "actor", "encoder": "encoder", "belief_step": "encoder"}
"""Modules that a bundle's graphs were exported from, by the graph's name."""


def states_of(source: Path) -> dict[str, dict[str, Tensor]]:
    """Parameters and buffers of modules, by the module's name.

    source: a run folder, or a bundle as a folder or .zip. Raises AcclimateError for neither.
    """
    if (source / BEST).is_file():
        return load_checkpoint(source / BEST)["modules"]
    files = read_files(source)
    open_bundle(files, str(source))
    found: dict[str, dict[str, Tensor]] = {}
    for graph, module in GRAPHS.items():
        if f"{graph}.onnx" in files:
            found[module] = _initialisers(files[f"{graph}.onnx"], f"{module}.")
    return found


def _initialisers(model: bytes, prefix: str) -> dict[str, Tensor]:
    """The exporter keeps a parameter's name; constants of its own have no such prefix."""
    parts = onnx.load_model_from_string(model).graph.initializer
    return {
        part.name.removeprefix(prefix): torch.from_numpy(numpy_helper.to_array(part).copy())
        for part in parts
        if part.name.startswith(prefix)
    }

"""What every exported bundle is made of: graphs with golden vectors, limits, provenance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from adapt.bundle.fields import Limit
from adapt.errors import AcclimateError
from adapt.settings import resolved
from policies.algorithms.registry import AnyTrainer
from policies.training.runs import revision

OPSET = 18
GOLDEN_ROWS = 16


def provenance(trainer: AnyTrainer, state: dict[str, Any], run: Path) -> dict[str, Any]:
    """The manifest's `training`: settings, revision, and what the run reached.

    state: of the run's best.pt.
    """
    evaluation = run / "evaluation.json"
    return {
        "settings": resolved(trainer.settings),
        "revision": revision(),
        "iteration": state["iteration"],
        "validation": {k: v for k, v in state["metrics"].items() if k.startswith("validate/")},
        "held_out": json.loads(evaluation.read_text()) if evaluation.is_file() else {},
    }


def limits(trainer: AnyTrainer) -> list[Limit]:
    """The family's own, and the action fields' ranges as limits on each command."""
    return [
        *trainer.family.spec.limits,
        *(
            Limit("position", f.name, f.low, f.high, f.unit, "largest that training used")
            for f in trainer.family.spec.action
        ),
    ]


def like(normaliser: nn.Module, generator: torch.Generator) -> Tensor:
    """Inputs (rows, size) spread as the training data were, half as far again."""
    mean, std = normaliser.get_buffer("mean").cpu(), normaliser.get_buffer("std").cpu()
    return mean + 1.5 * std * torch.randn(GOLDEN_ROWS, len(mean), generator=generator)


@torch.no_grad()
def onnx_graph(
    module: nn.Module,
    golden_inputs: dict[str, Tensor],
    outputs: tuple[str, ...],
    name: str,
    golden: dict[str, np.ndarray],
) -> bytes:
    """Export a module with a dynamic batch; record golden vectors it was not traced with."""
    module.eval()
    batch = torch.export.Dim("batch")
    example = tuple(torch.zeros_like(v[:2]) for v in golden_inputs.values())
    shapes = tuple({0: batch} for _ in example)
    program = torch.onnx.export(
        module,
        example,
        dynamo=True,
        opset_version=OPSET,
        input_names=list(golden_inputs),
        output_names=list(outputs),
        dynamic_shapes=shapes,
        verbose=False,
    )
    if program is None:
        raise AcclimateError(f"{name}: torch exported no graph")
    model = program.model_proto
    _forget_where(model)
    onnx.checker.check_model(model, full_check=True)
    results = module(*golden_inputs.values())
    arrays = {**golden_inputs, **dict(zip(outputs, results, strict=True))}
    golden.update({f"{name}/{k}": v.numpy().astype(np.float32) for k, v in arrays.items()})
    return model.SerializeToString()


def _forget_where(model: onnx.ModelProto) -> None:
    """Take out the exporter's notes: stack traces with the paths of the machine that trained."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        del part.metadata_props[:]

"""Torch modules as ONNX graphs, with golden vectors."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from adapt.errors import AcclimateError

OPSET = 18
GOLDEN_ROWS = 16


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
    with _without_advice():
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


@contextmanager
def _without_advice() -> Iterator[None]:
    """Within it torch's exporter prints no warnings: they concern packages that are not needed and
    torch's own code. The golden vectors check what it exports."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _forget_where(model: onnx.ModelProto) -> None:
    """Take out the exporter's notes: stack traces with the paths of the machine that trained."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        del part.metadata_props[:]

"""Golden vectors: what torch answered, replayed through onnxruntime."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from adapt.bundle.archive import decode_arrays
from adapt.errors import BundleError
from adapt.inference.graph_signature import GraphSignature
from adapt.inference.session import Graph

# Relative above 1, absolute below: float32 itself resolves 1e-7 of a number.
TOLERANCE = 1e-5


def encode_golden(arrays: Mapping[str, npt.ArrayLike]) -> bytes:
    """An .npz of float32 arrays under the keys `graph/name`, the same bytes for the same numbers.

    The keys are given to numpy as they are, so a slash in them becomes a folder of the zip.
    """
    stream = io.BytesIO()
    ordered = {key: np.ascontiguousarray(arrays[key], np.float32) for key in sorted(arrays)}
    np.savez(stream, allow_pickle=False, **ordered)
    return stream.getvalue()


def decode_golden(
    data: bytes, signatures: Mapping[str, GraphSignature], where: str
) -> dict[str, npt.NDArray[np.float32]]:
    """Arrays (rows, width) by `graph/name`: all that the signatures ask for, and no others."""
    arrays = decode_arrays(data, where)
    widths = {
        f"{graph}/{name}": width
        for graph, signature in signatures.items()
        for name, width in (*signature.inputs.items(), *signature.outputs.items())
    }
    if set(arrays) != set(widths):
        raise BundleError(f"{where}: arrays are {sorted(arrays)}; expected {sorted(widths)}")
    rows = {key: array.shape[0] if array.ndim else 0 for key, array in arrays.items()}
    for key, array in arrays.items():
        expected = (rows[f"{key.partition('/')[0]}/{_first(signatures, key)}"], widths[key])
        if array.shape != expected or not array.shape[0]:
            raise BundleError(
                f"{where}: array {key!r} has shape {array.shape}; expected (rows, {widths[key]}), "
                "with as many rows, at least 1, as the graph's other arrays"
            )
        if not np.isfinite(array).all():
            raise BundleError(f"{where}: array {key!r} is not finite")
    return arrays


def _first(signatures: Mapping[str, GraphSignature], key: str) -> str:
    return next(iter(signatures[key.partition("/")[0]].inputs))


def replay(graph: Graph, golden: Mapping[str, npt.NDArray[np.float32]], where: str) -> float:
    """Run the graph on its golden inputs; returns the largest |found - stored| / max(1, |stored|).

    Raises BundleError naming the output, row and column where that exceeds TOLERANCE.
    """
    inputs = {name: golden[f"{graph.name}/{name}"] for name in graph.signature.inputs}
    try:
        outputs = graph.run(**inputs)
    # onnxruntime's exceptions share no base of their own below Exception.
    except Exception as error:
        raise BundleError(
            f"{where}: {graph.name}.onnx fails on its golden inputs: {error}"
        ) from error
    worst = 0.0
    for name, found in outputs.items():
        stored = golden[f"{graph.name}/{name}"].astype(np.float64)
        error = np.abs(found - stored) / np.maximum(1.0, np.abs(stored))
        # Written so that a NaN among the errors counts as a mismatch.
        if not (error <= TOLERANCE).all():
            row, column = np.unravel_index(int(np.argmax(error)), error.shape)
            raise BundleError(
                f"{where}: golden vectors differ: {graph.name} output {name!r} row {row} column "
                f"{column} is {found[row, column]:.9g}; expected {stored[row, column]:.9g} within "
                f"{TOLERANCE:g}"
            )
        worst = max(worst, float(error.max()))
    return worst

"""Where a GPU starts to win over one CPU thread: one run of a policy network, host memory to host
memory, by width and by how many robots share the run.

    python -m benchmarks.bench_providers [--quick]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from adapt.errors import ProviderError
from adapt.manifest import Signature
from adapt.runtime import CPU, CUDA, TENSORRT, Graph
from benchmarks.results import FOLDER, record
from robot_bridge import machine

NAME = "providers"
SIGNATURE = Signature(inputs={"observation": 48, "latent": 8}, outputs={"mean": 12, "log_std": 12})
WIDTHS = (64, 256, 512, 1024, 2048)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# Who runs the network: name, onnxruntime's providers, and whether a captured CUDA graph is used.
RUNNERS: dict[str, tuple[tuple[str, ...], bool]] = {
    "CPU": ((CPU,), False),
    "CUDA": ((CUDA,), False),
    "CUDA graph": ((CUDA,), True),
    "TensorRT graph": ((TENSORRT, CUDA), True),
}
SECONDS = 0.3  # of each combination
LAYERS = 3


def network(width: int, seed: int) -> bytes:
    """A policy as they are exported: observation and latent through hidden layers of one width."""
    rng = np.random.default_rng(seed)
    nodes = [helper.make_node("Concat", list(SIGNATURE.inputs), ["x0"], axis=1)]
    weights: dict[str, np.ndarray] = {}
    before = sum(SIGNATURE.inputs.values())

    def dense(name: str, source: str, target: str, rows: int, columns: int) -> None:
        scale = 1.0 / np.sqrt(rows)
        weights[f"{name}_w"] = (scale * rng.normal(size=(rows, columns))).astype(np.float32)
        weights[f"{name}_b"] = np.zeros(columns, np.float32)
        nodes.append(helper.make_node("Gemm", [source, f"{name}_w", f"{name}_b"], [target]))

    for layer in range(LAYERS):
        dense(f"layer{layer}", f"x{layer}", f"h{layer}", before, width)
        nodes.append(helper.make_node("Relu", [f"h{layer}"], [f"x{layer + 1}"]))
        before = width
    for name, size in SIGNATURE.outputs.items():
        dense(name, f"x{LAYERS}", name, before, size)
    takes, gives = (
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
            for name, size in sizes.items()
        ]
        for sizes in (SIGNATURE.inputs, SIGNATURE.outputs)
    )
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "policy", takes, gives, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def duration(graph: Graph, batch: int, seconds: float) -> float:
    """Median [s] of one run of `batch` rows, copies to and from a device included."""
    rows = graph.bind_rows(batch)
    rng = np.random.default_rng(0)
    for array in rows.inputs.values():
        array[:] = rng.normal(size=array.shape)
    took: list[int] = []
    end = time.perf_counter() + seconds
    for _ in range(10):
        rows.run(batch)
    while time.perf_counter() < end or len(took) < 20:
        start = time.perf_counter_ns()
        rows.run(batch)
        took.append(time.perf_counter_ns() - start)
    return float(np.median(took)) / 1e9


def measure(
    widths: tuple[int, ...], batches: tuple[int, ...], seconds: float, folder: Path
) -> None:
    """Record every runner that this machine can open, and from which batch on it beats the CPU."""
    absent: dict[str, str] = {}
    for width in widths:
        model = network(width, 0)
        reference: dict[int, float] = {}
        for runner, (providers, capture) in RUNNERS.items():
            try:
                graph = Graph("policy", model, SIGNATURE, providers, capture=capture)
            except ProviderError as error:
                absent.setdefault(runner, str(error).splitlines()[0])
                continue
            won = 0
            for batch in batches:
                value = duration(graph, batch, seconds)
                parameters = {"runner": runner, "width": width, "batch": batch}
                record(NAME, "one run", value * 1e6, "µs", parameters, 0, folder=folder)
                reference.setdefault(batch, value)
                # From here on up, not once by chance.
                won = won or batch if value < reference[batch] else 0
            if runner != "CPU":
                # 0: not within the batches that were tried.
                parameters = {"runner": runner, "width": width}
                metric = "wins from batch"
                record(NAME, metric, won, "1", parameters, 0, folder=folder)
    for runner, reason in absent.items():
        print(f"{runner}: not here: {reason}", flush=True)
    if not machine.gpu_names():
        print("no GPU is at hand: these are the CPU's numbers alone", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke test; records nothing")
    if parser.parse_args().quick:
        with TemporaryDirectory() as scratch:
            measure((64,), (1, 4), 0.02, Path(scratch))
    else:
        measure(WIDTHS, BATCHES, SECONDS, FOLDER)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

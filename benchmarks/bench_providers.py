"""When a GPU is faster than one CPU thread: one run of a policy network, from host memory to host
memory, by width and by the number of robots that share the run. Also the cost of a bridge's answer
when robots share its runs, from frames to frames without a socket.

    python -m benchmarks.bench_providers [robots] [--quick]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from adapt.bundle.policy_bundle import PolicyBundle
from adapt.errors import ProviderError
from adapt.inference.graph_signature import GraphSignature
from adapt.inference.session import CPU, CUDA, TENSORRT, Graph
from benchmarks.support.results import FOLDER, ROOT, record
from robot_bridge.protocol.codec import (
    decode,
    decode_command,
    decode_message,
    encode_message,
    encode_observation,
)
from robot_bridge.protocol.handshake import specs
from robot_bridge.protocol.messages import NO_FLAGS, Flag, Hello, Kind, Mode, Observation, Welcome
from robot_bridge.server.dispatcher import Dispatcher
from robot_bridge.system import host_info as machine

NAME = "providers"
SIGNATURE = GraphSignature(
    inputs={"observation": 48, "latent": 8}, outputs={"mean": 12, "log_std": 12}
)
WIDTHS = (64, 256, 512, 1024, 2048)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# What runs the network: name, onnxruntime's providers, and whether it uses a captured CUDA graph.
RUNNERS: dict[str, tuple[tuple[str, ...], bool]] = {
    "CPU": ((CPU,), False),
    "CUDA": ((CUDA,), False),
    "CUDA graph": ((CUDA,), True),
    "TensorRT graph": ((TENSORRT, CUDA), True),
}
BUNDLE = ROOT / "bundles" / "insertion-pearl"
ROBOTS = (1, 2, 4, 8, 16)
TURNS = 500  # of every robot
SECONDS = 0.3  # of each combination
LAYERS = 3


def network(width: int, seed: int) -> bytes:
    """A policy like the exported ones: observation and latent, then hidden layers of one width."""
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
                # For this batch and all larger ones, not for one by chance.
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


class Crowd:
    """Robots whose observations reach a bridge at the same time."""

    def __init__(self, bundle: PolicyBundle, count: int, together: bool) -> None:
        manifest = bundle.manifest
        self._sent: list[tuple[int, bytes]] = []
        self.peers = Dispatcher(
            bundle, self._send, 0, 10**9, lambda *_, **__: None, together=together
        )
        self._sessions: dict[bytes, int] = {}
        self._turn = 0
        seen = manifest.seen
        middle = np.zeros(manifest.observation_size) if seen is None else np.asarray(seen.mean)
        self._payload = middle.astype(np.float32)
        for number in range(count):
            name = f"robot{number}"
            hello = Hello(
                "robot",
                name,
                observation=specs(manifest.observation),
                action=specs(manifest.action),
                control_period=manifest.control_period,
            )
            self.peers.take(name.encode(), encode_message(hello))
            welcome = decode_message(decode(self._sent[0][1]), Welcome)
            self._sessions[name.encode()] = welcome.session
            self._sent.clear()

    def _send(self, address: bytes, data: bytes) -> bool:
        self._sent.append((time.perf_counter_ns(), data))
        return True

    def turn(self) -> tuple[float, float]:
        """Handle one observation of each robot. Returns the time to the last command, divided by
        the number of robots, and the time to the first command [s]."""
        self._turn += 1
        flags = Flag.FIRST if self._turn == 1 else NO_FLAGS
        seen = Observation(self._turn, 0, self._payload, 0.0, flags)
        frames = [(a, encode_observation(seen, s)) for a, s in self._sessions.items()]
        self._sent.clear()
        start = time.perf_counter_ns()
        for address, frame in frames:
            self.peers.take(address, frame)
        self.peers.flush()
        answers = [(at, decode(data)) for at, data in self._sent]
        times = [
            at
            for at, frame in answers
            if frame.kind is Kind.COMMAND and decode_command(frame).mode is Mode.TRACK
        ]
        if len(times) != len(frames):
            raise RuntimeError(f"{len(times)} commands to {len(frames)} observations")
        # Belief updates run between the turns; only answers are timed.
        self.peers.teach()
        robots = [peer.robot for peer in self.peers.robots().values() if peer.robot]
        while any(robot.episodes.waiting for robot in robots):
            time.sleep(0.0001)
        return (max(times) - start) / len(frames) / 1e9, (min(times) - start) / 1e9


def measure_robots(counts: tuple[int, ...], turns: int, folder: Path) -> None:
    """Record an answer's cost by how many robots ask at once, each alone or together."""
    for runner, (providers, capture) in RUNNERS.items():
        # A bundle's graphs are captured where this is possible.
        if providers != (CPU,) and not capture:
            continue
        try:
            bundle = PolicyBundle.load(BUNDLE, providers)
        except ProviderError as error:
            print(f"{runner}: not here: {str(error).splitlines()[0]}", flush=True)
            continue
        for count in counts:
            crowds = {
                name: Crowd(bundle, count, name == "together") for name in ("alone", "together")
            }
            found: dict[str, list[tuple[float, float]]] = {name: [] for name in crowds}
            # In turns, so that other work on the machine affects both.
            for _ in range(turns):
                for name, crowd in crowds.items():
                    found[name].append(crowd.turn())
            for name, crowd in crowds.items():
                crowd.peers.dismiss("done")
                each, first = np.median(found[name][turns // 10 :], axis=0) * 1e6
                parameters = {"runner": runner, "runs": name, "robots": count}
                record(NAME, "answer per robot", each, "µs", parameters, 0, folder=folder)
                record(NAME, "first answer out", first, "µs", parameters, 0, folder=folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=["robots"], help="only that; all without it")
    parser.add_argument("--quick", action="store_true", help="a smoke test; records nothing")
    asked = parser.parse_args()
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) if asked.quick else FOLDER
        if asked.what is None and asked.quick:
            measure((64,), (1, 4), 0.02, folder)
        elif asked.what is None:
            measure(WIDTHS, BATCHES, SECONDS, folder)
        measure_robots((1, 2) if asked.quick else ROBOTS, 10 if asked.quick else TURNS, folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""A bundle with a recurrent belief, small enough to make in a test, and the same in numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from onnx import helper

from adapt.bundle.algorithms import Recurrent, TransitionRow
from adapt.bundle.fields import Latent
from adapt.bundle.manifest import Condition, Phase
from adapt.bundle.policy_bundle import write_bundle
from tests.support import tiny_bundle

Array = tiny_bundle.Array
Head = Literal["gaussian", "mixture", "none"]
N_O, N_A, N_Z, N_S, K = 6, 3, 2, 4, 3
N_C = N_O + N_A + 1 + N_O
INITIAL = [0.5, -0.25, 0.0, 0.125]
LOWER = np.tril(np.ones((N_Z, N_Z), np.float32), -1).reshape(-1)
DIAGONAL = 0.3 * np.eye(N_Z, dtype=np.float32).reshape(-1)


class Network:
    """Weights from a seed; `step` is what the graph computes."""

    def __init__(self, head: Head, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.head = head
        self.carry = (0.3 * rng.normal(size=(N_S + N_C, N_S))).astype(np.float32)
        widths = {"gaussian": (N_Z, N_Z), "mixture": (K, K * N_Z, K * N_Z * N_Z), "none": ()}
        self.read = [rng.normal(size=(N_S, n)).astype(np.float32) for n in widths[head]]

    def step(self, state: Array, transition: Array) -> dict[str, Array]:
        """state (B, n_s), transition (B, n_c); the graph's outputs by name."""
        made = np.tanh(np.concatenate([state, transition], axis=1) @ self.carry)
        found = {"new_state": made}
        if self.head == "gaussian":
            mean, spread = (made @ weight for weight in self.read)
            found |= {"mean": mean, "variance": np.log1p(np.exp(spread)) + np.float32(0.05)}
        if self.head == "mixture":
            logits, mean, below = (made @ weight for weight in self.read)
            weight = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            root = np.tanh(below) * np.tile(LOWER, K) + np.tile(DIAGONAL, K)
            found |= {"weight": weight, "mean": mean, "cholesky": root}
        return found

    def graph(self) -> bytes:
        node = helper.make_node
        nodes = [
            node("Concat", ["state", "transition"], ["x"], axis=1),
            node("MatMul", ["x", "carry"], ["y"]),
            node("Tanh", ["y"], ["new_state"]),
        ]
        constants = {"carry": self.carry}
        for index, weight in enumerate(self.read):
            constants[f"read{index}"] = weight
            nodes.append(node("MatMul", ["new_state", f"read{index}"], [f"out{index}"]))
        if self.head == "gaussian":
            constants["floor"] = np.array([0.05], np.float32)
            nodes += [
                node("Identity", ["out0"], ["mean"]),
                node("Softplus", ["out1"], ["spread"]),
                node("Add", ["spread", "floor"], ["variance"]),
            ]
        if self.head == "mixture":
            constants |= {"lower": np.tile(LOWER, K), "diagonal": np.tile(DIAGONAL, K)}
            nodes += [
                node("Softmax", ["out0"], ["weight"], axis=1),
                node("Identity", ["out1"], ["mean"]),
                node("Tanh", ["out2"], ["below"]),
                node("Mul", ["below", "lower"], ["strict"]),
                node("Add", ["strict", "diagonal"], ["cholesky"]),
            ]
        outputs = {
            name: array.shape[1]
            for name, array in self.step(
                np.zeros((1, N_S), np.float32), np.zeros((1, N_C), np.float32)
            ).items()
        }
        inputs = {"state": N_S, "transition": N_C}
        return tiny_bundle.model("belief_step", nodes, inputs, outputs, constants)


def policy(fed: int, seed: int) -> tuple[bytes, dict[str, Array], Array]:
    """Graph, golden vectors without their graph's name, and the weight (n_o + fed, n_a)."""
    rng = np.random.default_rng(seed)
    weight = (0.3 * rng.normal(size=(N_O + fed, N_A))).astype(np.float32)
    nodes = [
        helper.make_node("Concat", ["observation", "latent"], ["x"], axis=1),
        helper.make_node("MatMul", ["x", "weight"], ["mean"]),
        helper.make_node("Tanh", ["mean"], ["log_std"]),
    ]
    inputs, outputs = {"observation": N_O, "latent": fed}, {"mean": N_A, "log_std": N_A}
    graph = tiny_bundle.model("policy", nodes, inputs, outputs, {"weight": weight})
    rows = {name: rng.normal(size=(4, n)).astype(np.float32) for name, n in inputs.items()}
    mean = np.concatenate(list(rows.values()), axis=1) @ weight
    return graph, {**rows, "mean": mean, "log_std": np.tanh(mean)}, weight


def build(
    head: Head = "gaussian",
    conditions: dict[str, tuple[Condition, int]] | None = None,
    **changes: Any,
) -> tuple[Any, dict[str, bytes], dict[str, Array], Network, dict[str, Array]]:
    """Manifest, graphs and golden vectors; the network, and the policies' weights by name.

    conditions: by policy, what it is fed and for how many episodes.
    """
    conditions = conditions or {"policy": ("sample" if head != "none" else "state", 0)}
    n_z, components = (0 if head == "none" else N_Z), (K if head == "mixture" else 0)
    network = Network(head)
    row = TransitionRow(reward=True, next_observation=True)
    manifest = msgspec.structs.replace(
        tiny_bundle.build()[0],
        name="tiny-recurrent",
        algorithm=Recurrent(row, INITIAL, head, components, max_widening=100.0),
        latent=Latent(n_z, [0.0] * n_z, [1.0] * n_z, 1, []),
        phases=tuple(Phase(name, n, condition) for name, (condition, n) in conditions.items()),
        **changes,
    )
    graphs, golden, weights = {"belief_step": network.graph()}, {}, {}
    rng = np.random.default_rng(1)
    rows = {"state": rng.normal(size=(4, N_S)), "transition": rng.normal(size=(4, N_C))}
    rows = {name: array.astype(np.float32) for name, array in rows.items()}
    arrays = rows | network.step(rows["state"], rows["transition"])
    golden |= {f"belief_step/{name}": array for name, array in arrays.items()}
    for seed, (name, (condition, _)) in enumerate(conditions.items()):
        graphs[name], each, weights[name] = policy(manifest.fed_size(condition), seed)
        golden |= {f"{name}/{key}": array for key, array in each.items()}
    return manifest, graphs, golden, network, weights


def write(path: Path, head: Head = "gaussian", **options: Any) -> Path:
    """Write a bundle folder at path and return path; see `build`."""
    write_bundle(path, *build(head, **options)[:3])
    return path

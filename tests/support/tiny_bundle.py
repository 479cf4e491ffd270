"""A bundle small enough to make in a test: one dense layer per graph, weights from a seed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from adapt.bundle.algorithms import Gaussian, NoAdaptation, TransitionRow
from adapt.bundle.archive import digest
from adapt.bundle.fields import ActionField, Factor, Field, Latent, Limit
from adapt.bundle.manifest import Manifest
from adapt.bundle.policy_bundle import write_bundle

Array = npt.NDArray[np.float32]
OPSET = 18
FILES = ("manifest.json", "policy.onnx", "encoder.onnx", "golden.npz")


def write(
    path: Path,
    *,
    observation_size: int = 6,
    action_size: int = 3,
    latent_size: int = 2,
    hold: int = 0,
    algorithm: Literal["gaussian", "none"] = "gaussian",
    capacity: int = 8,
    control_period: float = 0.05,
    seed: int = 0,
) -> Path:
    """Write a bundle folder at path and return path; algorithm "none" has no latent."""
    manifest, graphs, golden = build(
        observation_size=observation_size,
        action_size=action_size,
        latent_size=latent_size,
        hold=hold,
        algorithm=algorithm,
        capacity=capacity,
        control_period=control_period,
        seed=seed,
    )
    write_bundle(path, manifest, graphs, golden)
    return path


def build(
    *,
    observation_size: int = 6,
    action_size: int = 3,
    latent_size: int = 2,
    hold: int = 0,
    algorithm: Literal["gaussian", "none"] = "gaussian",
    capacity: int = 8,
    control_period: float = 0.05,
    seed: int = 0,
) -> tuple[Manifest, dict[str, bytes], dict[str, Array]]:
    """The arguments of write_bundle: manifest, graphs by name, golden vectors."""
    latent_size = latent_size if algorithm == "gaussian" else 0
    observation = [
        Field(name, (size,), unit, -10.0, 10.0)
        for name, size, unit in _split(observation_size, ("tip_position", "m"), ("wrench", "N"))
    ]
    action = [
        ActionField(name, (size,), unit, -scale, scale, scale)
        for (name, size, unit), scale in zip(
            _split(action_size, ("translation", "m"), ("yaw", "rad")), (0.001, 0.02), strict=False
        )
    ]
    factors = [Factor("socket_x", "m", 0.5, 0.01, 0)] if latent_size else []
    manifest = Manifest(
        name="tiny",
        algorithm=Gaussian(TransitionRow(True, True), capacity)
        if algorithm == "gaussian"
        else NoAdaptation(),
        observation=observation,
        action=action,
        squash="tanh",
        control_period=control_period,
        latent=Latent(latent_size, [0.0] * latent_size, [1.0] * latent_size, hold, factors),
        limits=[Limit("rate", action[0].name, -0.04, 0.04, "m/s", "full swing in one period")],
        task_space={"name": "tiny"},
        training={"seed": seed},
        tools={"onnx": onnx.__version__},
        opset=OPSET,
        files={},
    )
    rng = np.random.default_rng(seed)
    graphs, golden = {}, {}
    graphs["policy"] = _policy(manifest, rng, golden)
    if algorithm == "gaussian":
        graphs["encoder"] = _encoder(manifest, rng, golden)
    return manifest, graphs, golden


def _split(
    size: int, first: tuple[str, str], second: tuple[str, str]
) -> list[tuple[str, int, str]]:
    """Two fields where there is room for two, so that order and offsets matter."""
    if size == 1:
        return [(first[0], 1, first[1])]
    head = (size + 1) // 2
    return [(first[0], head, first[1]), (second[0], size - head, second[1])]


def _policy(manifest: Manifest, rng: np.random.Generator, golden: dict[str, Array]) -> bytes:
    n_o, n_a, n_z = manifest.observation_size, manifest.action_size, manifest.latent.size
    weight = _weights(rng, n_o + n_z, n_a)
    spread = _weights(rng, n_o + n_z, n_a)
    inputs = {"observation": n_o, "latent": n_z} if n_z else {"observation": n_o}
    nodes = [
        helper.make_node("Concat", list(inputs), ["x"], axis=1),
        helper.make_node("MatMul", ["x", "weight"], ["mean"]),
        helper.make_node("MatMul", ["x", "spread"], ["s"]),
        helper.make_node("Tanh", ["s"], ["log_std"]),
    ]
    rows = {name: _weights(rng, 5, width) for name, width in inputs.items()}
    x = np.concatenate(list(rows.values()), axis=1)
    outputs = {"mean": x @ weight, "log_std": np.tanh(x @ spread)}
    golden.update({f"policy/{name}": array for name, array in (rows | outputs).items()})
    constants = {"weight": weight, "spread": spread}
    return model("policy", nodes, inputs, {"mean": n_a, "log_std": n_a}, constants)


def _encoder(manifest: Manifest, rng: np.random.Generator, golden: dict[str, Array]) -> bytes:
    n_c, n_z = TransitionRow(True, True).size(manifest), manifest.latent.size
    weight, spread = _weights(rng, n_c, n_z), _weights(rng, n_c, n_z)
    floor = np.array([0.05], np.float32)
    nodes = [
        helper.make_node("MatMul", ["transition", "weight"], ["mean"]),
        helper.make_node("MatMul", ["transition", "spread"], ["s"]),
        helper.make_node("Softplus", ["s"], ["p"]),
        helper.make_node("Add", ["p", "floor"], ["variance"]),
    ]
    rows = _weights(rng, 5, n_c)
    golden["encoder/transition"] = rows
    golden["encoder/mean"] = rows @ weight
    golden["encoder/variance"] = np.log1p(np.exp(rows @ spread)) + floor
    constants = {"weight": weight, "spread": spread, "floor": floor}
    outputs = {"mean": n_z, "variance": n_z}
    return model("encoder", nodes, {"transition": n_c}, outputs, constants)


def _weights(rng: np.random.Generator, rows: int, columns: int) -> Array:
    return rng.normal(0.0, 0.5, (rows, columns)).astype(np.float32)


def model(
    name: str,
    nodes: list[onnx.NodeProto],
    inputs: dict[str, int],
    outputs: dict[str, int],
    constants: dict[str, Array],
) -> bytes:
    """A serialised ONNX model with inputs and outputs of shape (batch, width)."""
    takes, gives = (
        [
            helper.make_tensor_value_info(key, TensorProto.FLOAT, ["batch", width])
            for key, width in widths.items()
        ]
        for widths in (inputs, outputs)
    )
    initializers = [numpy_helper.from_array(array, key) for key, array in constants.items()]
    graph = helper.make_graph(nodes, name, takes, gives, initializers)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def edit_manifest(folder: Path, change: Callable[[dict], object]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_bytes())
    change(manifest)
    path.write_text(json.dumps(manifest))


def reseal(folder: Path) -> None:
    """Make the digests fit again, as a forger would."""
    edit_manifest(
        folder,
        lambda m: m.update(files={n: digest((folder / n).read_bytes()) for n in FILES[1:]}),
    )

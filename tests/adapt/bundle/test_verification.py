"""A bundle that never ends, takes all memory or reads other files is refused, and nothing of it is
left in this process."""

import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from adapt.bundle import verification
from adapt.bundle.policy_bundle import PolicyBundle
from adapt.errors import BundleError
from robot_bridge.session.model_registry import ModelRegistry
from tests.support import tiny_bundle

N_C, N_Z = 16, 2
MEAN = helper.make_node("MatMul", ["transition", "weight"], ["mean"])


def with_encoder(path: Path, nodes: list, constants: dict) -> Path:
    """A bundle with another encoder, its digests right, as a forger would leave it."""
    tiny_bundle.write(path)
    weight = np.zeros((N_C, N_Z), np.float32)
    model = tiny_bundle.model(
        "encoder",
        [MEAN, *nodes],
        {"transition": N_C},
        {"mean": N_Z, "variance": N_Z},
        {"weight": weight, **constants},
    )
    (path / "encoder.onnx").write_bytes(model)
    tiny_bundle.reseal(path)
    return path


def endless(path: Path) -> Path:
    """The variance is what a loop leaves that runs while its condition holds, which is always."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Tanh", ["carried"], ["next"]),
        ],
        "body",
        [
            value("i", TensorProto.INT64, []),
            value("go", TensorProto.BOOL, []),
            value("carried", TensorProto.FLOAT, ["batch", N_Z]),
        ],
        [
            value("on", TensorProto.BOOL, []),
            value("next", TensorProto.FLOAT, ["batch", N_Z]),
        ],
    )
    loop = helper.make_node("Loop", ["", "true", "mean"], ["variance"], body=body)
    return with_encoder(path, [loop], {"true": np.array(True)})


def greedy(path: Path) -> Path:
    """6 GB of float32, summed."""
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["memory"]),
        helper.make_node("ReduceSum", ["memory"], ["zero"], keepdims=0),
        helper.make_node("Add", ["mean", "zero"], ["variance"]),
    ]
    return with_encoder(path, nodes, {"shape": np.array([1_500_000_000], np.int64)})


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "CPU_TIME", 1.0)


def test_what_is_intact_passes(tmp_path: Path) -> None:
    bundle = PolicyBundle.load(tiny_bundle.write(tmp_path / "b"), apart=True)
    assert bundle.manifest.name == "tiny"


def test_a_graph_that_never_ends_is_refused(tmp_path: Path, short: None) -> None:
    before = threading.active_count()
    with pytest.raises(BundleError, match="take more than 1 s or 2 GiB") as caught:
        PolicyBundle.load(endless(tmp_path / "b"), apart=True)
    assert str(tmp_path / "b") in str(caught.value)
    assert threading.active_count() == before


def test_a_process_that_hangs_without_working_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "PATIENCE", 0.01)
    with pytest.raises(BundleError, match=r"do not end within 0\.01 s"):
        PolicyBundle.load(tiny_bundle.write(tmp_path / "b"), apart=True)


def test_a_graph_that_takes_all_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"encoder\.onnx fails|2 GiB"):
        PolicyBundle.load(greedy(tmp_path / "b"), apart=True)


def test_what_differs_is_named_as_without_a_process(tmp_path: Path) -> None:
    path = tiny_bundle.write(tmp_path / "b")
    (path / "golden.npz").write_bytes((path / "golden.npz").read_bytes()[:-1])
    tiny_bundle.reseal(path)
    found = []
    for apart in (False, True):
        with pytest.raises(BundleError) as caught:
            PolicyBundle.load(path, apart=apart)
        found.append(str(caught.value))
    assert found[0] == found[1]


def test_a_load_after_one_that_never_ends_is_served(tmp_path: Path, short: None) -> None:
    served = PolicyBundle.load(tiny_bundle.write(tmp_path / "served"))
    models = ModelRegistry(served, lambda path: PolicyBundle.load(path, apart=True))
    for path, fits in ((endless(tmp_path / "bad"), False), (tmp_path / "served", True)):
        models.load(path)
        until = time.monotonic() + 60
        while (ended := models.finished()) is None and time.monotonic() < until:
            time.sleep(0.05)
        assert ended is not None and ended[0] is fits


@pytest.mark.parametrize("location", ["weights.bin", "./weights.bin", "/{folder}/weights.bin"])
@pytest.mark.parametrize("place", ["initializer", "constant", "branch"])
def test_weights_in_another_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str, place: str
) -> None:
    path = tiny_bundle.write(tmp_path / "b")
    np.zeros((N_C, N_Z), np.float32).tofile(tmp_path / "weights.bin")
    monkeypatch.chdir(tmp_path)
    model = onnx.load_from_string((path / "encoder.onnx").read_bytes())
    graph = model.graph
    (tensor,) = [each for each in graph.initializer if each.name == "weight"]
    outside = TensorProto(name="weight", data_type=TensorProto.FLOAT, dims=tensor.dims)
    outside.data_location = TensorProto.EXTERNAL
    values = {"location": location.format(folder=tmp_path), "length": str(4 * N_C * N_Z)}
    for key, value in values.items():
        outside.external_data.add(key=key, value=value)
    graph.initializer.remove(tensor)
    if place == "initializer":
        graph.initializer.append(outside)
    elif place == "constant":
        graph.node.insert(0, helper.make_node("Constant", [], ["weight"], value=outside))
    else:
        out = helper.make_tensor_value_info("chosen", TensorProto.FLOAT, ["batch", N_Z])
        product = helper.make_node("MatMul", ["transition", "weight"], ["chosen"])
        branch = helper.make_graph([product], "branch", [], [out], [outside])
        (first,) = [node for node in graph.node if "mean" in node.output]
        graph.node.insert(
            0, helper.make_node("If", ["true"], ["mean"], then_branch=branch, else_branch=branch)
        )
        graph.node.remove(first)
        graph.initializer.append(numpy_helper.from_array(np.array(True), "true"))
    (path / "encoder.onnx").write_bytes(model.SerializeToString())
    tiny_bundle.reseal(path)
    with pytest.raises(BundleError, match=r"encoder\.onnx: onnxruntime refuses it"):
        PolicyBundle.load(path)

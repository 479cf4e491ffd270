"""A graph or a provider other than promised is an error, never a quiet substitute."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from adapt.bundle.policy_bundle import PolicyBundle
from adapt.errors import BundleError, ProviderError
from adapt.inference.bound_buffers import DeviceRun, Rows
from adapt.inference.graph_signature import GraphSignature
from adapt.inference.session import CPU, CUDA, SHARED_ROWS, TENSORRT, Graph, provider_options
from tests.support import tiny_bundle
from tests.support.tiny_bundle import reseal


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle.write(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def copy(intact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(intact, tmp_path / "copy"))


def test_a_graph_of_another_shape_is_refused(copy: Path) -> None:
    _, graphs, _ = tiny_bundle.build(observation_size=7)
    (copy / "policy.onnx").write_bytes(graphs["policy"])
    reseal(copy)
    with pytest.raises(
        BundleError, match=r"'observation' is tensor\(float\) \['batch', 7\].*\['batch', 6\]"
    ):
        PolicyBundle.load(copy)


def test_a_graph_with_other_names_is_refused(copy: Path) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    (copy / "policy.onnx").write_bytes(tiny_bundle.model("policy", nodes, {"x": 6}, {"y": 6}, {}))
    reseal(copy)
    with pytest.raises(BundleError, match=r"inputs are \['x'\]; .* \['latent', 'observation'\]"):
        PolicyBundle.load(copy)


def test_a_file_that_is_no_graph_is_refused(copy: Path) -> None:
    (copy / "encoder.onnx").write_bytes(b"not a graph")
    reseal(copy)
    with pytest.raises(BundleError, match=r"encoder\.onnx: onnxruntime refuses it"):
        PolicyBundle.load(copy)


def test_an_unknown_provider_is_an_error(intact: Path) -> None:
    with pytest.raises(ProviderError, match="'NoSuchProvider' is not in this onnxruntime; it has"):
        PolicyBundle.load(intact, providers=("NoSuchProvider",))
    with pytest.raises(ProviderError, match="no execution provider named"):
        PolicyBundle.load(intact, providers=())


@pytest.mark.parametrize("rest", [(), ("CPUExecutionProvider",)])
def test_a_provider_that_cannot_serve_is_an_error(
    intact: Path, rest: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnxruntime lists a provider it was built with, and may still give the CPU instead."""
    import onnxruntime

    real = onnxruntime.InferenceSession

    def falls_back(model: bytes, *, sess_options: object, providers: object) -> object:
        return real(model, providers=["CPUExecutionProvider"])

    monkeypatch.setattr("onnxruntime.InferenceSession", falls_back)
    listed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: listed)
    with pytest.raises(ProviderError, match="onnxruntime gave CPUExecutionProvider"):
        PolicyBundle.load(intact, providers=("CUDAExecutionProvider", *rest))


def gathered(graph: Graph, rows: Rows, seed: int) -> dict[str, np.ndarray]:
    """Fill the rows from a seed; what the graph makes of them one by one."""
    rng = np.random.default_rng(seed)
    for array in rows.inputs.values():
        array[:] = rng.normal(size=array.shape).astype(np.float32)
    return {
        name: np.concatenate(
            [
                graph.run(**{key: array[i : i + 1] for key, array in rows.inputs.items()})[name]
                for i in range(rows.capacity)
            ]
        )
        for name in rows.outputs
    }


def test_rows_give_what_each_gives_alone(intact: Path) -> None:
    graph = PolicyBundle.load(intact).policy
    rows = graph.bind_rows(7)
    for seed, count in enumerate((1, 7, 3, 7, 1)):
        alone = gathered(graph, rows, seed)
        for array in rows.outputs.values():
            array[:] = 7.0
        rows.run(count)
        for name, array in rows.outputs.items():
            np.testing.assert_allclose(array[:count], alone[name][:count], rtol=1e-6, atol=1e-6)
            assert (array[count:] == 7.0).all()
    for count in (0, 8, -1):
        with pytest.raises(ValueError, match=f"{count} rows; these buffers have 1 to 7"):
            rows.run(count)
    with pytest.raises(ValueError, match="capacity 0"):
        graph.bind_rows(0)


@pytest.mark.parametrize(("name", "sizes"), [("encoder", [1, 8, 4]), ("policy", [SHARED_ROWS])])
def test_buffers_on_a_device_give_what_buffers_here_give(
    intact: Path, monkeypatch: pytest.MonkeyPatch, name: str, sizes: list[int]
) -> None:
    """The CPU stands in for the device: copies, sizes and captures are the same to this code."""
    graph = PolicyBundle.load(intact).graphs[name]
    rows = graph.bind_rows(6)
    made: list[int] = []
    real = DeviceRun.__init__

    def counted(self: DeviceRun, *arguments: Any) -> None:
        made.append(arguments[2])
        real(self, *arguments)

    monkeypatch.setattr(DeviceRun, "__init__", counted)
    for seed, count in enumerate((1, 6, 5, 3, 1, 4)):
        alone = gathered(graph, rows, seed)
        graph.run_on_device(rows.inputs, rows.outputs, count)
        for key, array in rows.outputs.items():
            np.testing.assert_allclose(array[:count], alone[key][:count], rtol=1e-6, atol=1e-6)
    assert made == sizes


def test_what_is_asked_of_a_gpu() -> None:
    signature = GraphSignature(inputs={"observation": 6, "latent": 2}, outputs={"mean": 3})
    assert provider_options(CPU, signature, True) == {}
    assert provider_options(CUDA, signature, True) == {"use_tf32": "0", "enable_cuda_graph": "1"}
    assert provider_options(CUDA, signature, False) == {"use_tf32": "0"}
    tensorrt = provider_options(TENSORRT, signature, False)
    assert tensorrt["trt_profile_min_shapes"] == "observation:1x6,latent:1x2"
    assert tensorrt["trt_profile_max_shapes"] == "observation:1024x6,latent:1024x2"
    assert tensorrt["trt_cuda_graph_enable"] == "0"


def test_an_option_that_is_not_taken_is_an_error(
    intact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "adapt.inference.session.provider_options",
        lambda provider, signature, capture: {"use_tf32": "0"},
    )
    with pytest.raises(ProviderError, match="asked for use_tf32=0; onnxruntime took None"):
        PolicyBundle.load(intact)

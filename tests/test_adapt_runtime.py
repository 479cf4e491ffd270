"""A graph or a provider other than promised is an error, never a quiet substitute."""

import shutil
from pathlib import Path

import pytest
import tiny_bundle
from onnx import helper
from tiny_bundle import reseal

from adapt.bundle import PolicyBundle
from adapt.errors import BundleError, ProviderError


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

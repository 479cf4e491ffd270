"""onnxruntime sessions: the provider is named, checked and never swapped in silence."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from adapt.errors import BundleError, ProviderError
from adapt.inference.bound_buffers import DeviceRun, Row, Rows
from adapt.inference.graph_signature import GraphSignature

ONNXRUNTIME = ort.__version__
CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
Float32 = npt.NDArray[np.float32]

# TensorRT builds its engine for a range of batches; outside it, it would build another, for
# seconds, in the middle of serving.
MOST_ROWS = 1024
# Rows of the smallest run of a policy on a device: so the same kernels compute a robot's row alone
# and among others, up to this many.
SHARED_ROWS = 16


class Graph:
    """One ONNX graph, float32, inputs and outputs of shape (batch, width).

    name: for messages. model: the serialised graph. signature: what the manifest says it takes.
    providers: onnxruntime execution providers, the preferred one first; all of them must serve.
    capture: replay a captured CUDA graph instead of launching kernel by kernel, which for small
    nets is most of the time; needs a GPU provider that runs the whole graph.
    least_rows: of a run on a device; rows beyond those asked for are computed and dropped.
    Raises ProviderError for an absent provider, BundleError for another graph than promised.
    """

    def __init__(
        self,
        name: str,
        model: bytes,
        signature: GraphSignature,
        providers: Sequence[str] = (CPU,),
        *,
        capture: bool = True,
        least_rows: int = 1,
    ) -> None:
        self.name = name
        self._least_rows = least_rows
        self.signature = signature
        self.providers = tuple(providers)
        capture = capture and CPU not in self.providers
        options = {name: provider_options(name, signature, capture) for name in self.providers}
        self.session = _open(name, model, options)
        _check(name, "input", self.session.get_inputs(), signature.inputs)
        _check(name, "output", self.session.get_outputs(), signature.outputs)
        self._outputs = list(signature.outputs)
        self._captured = capture
        # One buffer on the device per size, for all who share this graph: each captured graph
        # costs device memory, and robots come and go.
        self._device_runs: dict[int, DeviceRun] = {}
        self._device_lock = threading.Lock()

    @property
    def on_cpu(self) -> bool:
        """Whether buffers are read and written where they are, in this machine's memory."""
        return self.providers[0] == CPU

    def run(self, **arrays: Float32) -> dict[str, Float32]:
        """Any batch: inputs by name, each (batch, width) float32; outputs by name, the same."""
        options = _uncaptured() if self._captured else None
        found = self.session.run(self._outputs, arrays, options)
        return {name: np.asarray(a) for name, a in zip(self._outputs, found, strict=True)}

    def bind(self) -> Row:
        """Buffers of the caller's own for batch 1; the session stays shared."""
        return Row(self)

    def bind_rows(self, capacity: int) -> Rows:
        """Buffers of the caller's own for up to `capacity` rows; the session stays shared."""
        return Rows(self, capacity)

    def run_on_device(
        self, inputs: Mapping[str, Float32], outputs: Mapping[str, Float32], count: int
    ) -> None:
        """The first `count` rows of inputs (capacity, width), through buffers on the device, into
        those of outputs. For any thread; one at a time."""
        with self._device_lock:
            # Few sizes, so few captured graphs; the rows in between are computed for nothing.
            size = 1 << (max(count, self._least_rows) - 1).bit_length()
            if size not in self._device_runs:
                capture = len(self._device_runs) + 1 if self._captured else None
                device = "cuda" if not self.on_cpu else "cpu"
                self._device_runs[size] = DeviceRun(
                    self.session, self.signature, size, device, capture
                )
            self._device_runs[size].run(inputs, outputs, count)


def provider_options(provider: str, signature: GraphSignature, capture: bool) -> dict[str, str]:
    """What is asked of an execution provider; onnxruntime must confirm every one of them."""
    if provider == CUDA:
        # TF32 keeps 10 bits of the mantissa, which would break the agreement with torch to 1e-5.
        options = {"use_tf32": "0"}
        return options | {"enable_cuda_graph": "1"} if capture else options
    if provider == TENSORRT:

        def shapes(rows: int) -> str:
            return ",".join(f"{name}:{rows}x{width}" for name, width in signature.inputs.items())

        return {
            "trt_fp16_enable": "0",
            "trt_int8_enable": "0",
            "trt_profile_min_shapes": shapes(1),
            "trt_profile_opt_shapes": shapes(1),
            "trt_profile_max_shapes": shapes(MOST_ROWS),
            "trt_cuda_graph_enable": "1" if capture else "0",
        }
    return {}


def _uncaptured() -> ort.RunOptions:
    options = ort.RunOptions()
    # Arrays of any size at any address: what was captured for others must not be replayed.
    options.add_run_config_entry("gpu_graph_id", "-1")
    return options


def _open(name: str, model: bytes, asked: Mapping[str, Mapping[str, str]]) -> ort.InferenceSession:
    """A session with these providers, the preferred one first, and these options of each."""
    providers = tuple(asked)
    available = ort.get_available_providers()
    for provider in providers:
        if provider not in available:
            raise ProviderError(
                f"{name}: execution provider {provider!r} is not in this onnxruntime; it has "
                f"{', '.join(available)}"
            )
    if not providers:
        raise ProviderError(f"{name}: no execution provider named; there are {available}")
    options = ort.SessionOptions()
    # One thread that sleeps when idle: a small net gains nothing from two, and threads that spin
    # take the core on which the robot's own loop runs.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Weights in files beside the graph escape the digest: with no folder to read them from, each
    # of them is refused.
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", os.devnull
    )
    if CPU not in providers:
        # Otherwise onnxruntime moves single nodes to the CPU without saying so.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    if TENSORRT in providers:
        # TensorRT takes TF32 from here alone; see use_tf32 above.
        os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
    try:
        session = ort.InferenceSession(
            model,
            sess_options=options,
            providers=[(provider, dict(wanted)) for provider, wanted in asked.items()],
        )
    # onnxruntime's exceptions share no base of their own below Exception.
    except Exception as error:
        if providers == (CPU,):
            raise BundleError(f"{name}.onnx: onnxruntime refuses it: {error}") from error
        raise ProviderError(
            f"{name}.onnx: {', '.join(providers)} alone cannot run it; libraries may be missing, "
            f"or nodes need {CPU} named after them: {error}"
        ) from error
    session.disable_fallback()
    found = session.get_providers()
    if tuple(found[: len(providers)]) != providers:
        raise ProviderError(
            f"{name}: asked for {', '.join(providers)}; onnxruntime gave {', '.join(found)}. Its "
            "libraries are probably missing"
        )
    taken = session.get_provider_options()
    for provider, wanted in asked.items():
        for option, value in wanted.items():
            given = taken.get(provider, {}).get(option)
            if given != value:
                raise ProviderError(
                    f"{name}: {provider}: asked for {option}={value}; onnxruntime took {given}"
                )
    return session


def _check(name: str, kind: str, found: Sequence[Any], expected: dict[str, int]) -> None:
    names = {node.name for node in found}
    if names != set(expected):
        raise BundleError(
            f"{name}.onnx: {kind}s are {sorted(names)}; the manifest makes them {sorted(expected)}"
        )
    for node in found:
        width = expected[node.name]
        dynamic = len(node.shape) == 2 and not isinstance(node.shape[0], int)
        if node.type != "tensor(float)" or not dynamic or node.shape[1] != width:
            raise BundleError(
                f"{name}.onnx: {kind} {node.name!r} is {node.type} {node.shape}; the manifest "
                f"makes it tensor(float) ['batch', {width}]"
            )

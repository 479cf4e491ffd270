"""onnxruntime sessions: the provider is named, checked and never swapped in silence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from adapt.errors import BundleError, ProviderError
from adapt.manifest import Signature

CPU = "CPUExecutionProvider"
Float32 = npt.NDArray[np.float32]

# TF32 keeps 10 bits of the mantissa, which would break the agreement with torch to 1e-5.
PROVIDER_OPTIONS: dict[str, dict[str, str]] = {"CUDAExecutionProvider": {"use_tf32": "0"}}


class Graph:
    """One ONNX graph, float32, inputs and outputs of shape (batch, width).

    name: for messages. model: the serialised graph. signature: what the manifest says it takes.
    providers: onnxruntime execution providers, the preferred one first; all of them must serve.
    Raises ProviderError for an absent provider, BundleError for another graph than promised.
    """

    def __init__(
        self, name: str, model: bytes, signature: Signature, providers: Sequence[str] = (CPU,)
    ) -> None:
        self.name = name
        self.signature = signature
        self.providers = tuple(providers)
        self.session = _open(name, model, self.providers)
        _check(name, "input", self.session.get_inputs(), signature.inputs)
        _check(name, "output", self.session.get_outputs(), signature.outputs)
        self._outputs = list(signature.outputs)

    def run(self, **arrays: Float32) -> dict[str, Float32]:
        """Any batch: inputs by name, each (batch, width) float32; outputs by name, the same."""
        found = self.session.run(self._outputs, arrays)
        return {name: np.asarray(a) for name, a in zip(self._outputs, found, strict=True)}

    def bind(self) -> Row:
        """Buffers of the caller's own for batch 1; the session stays shared."""
        return Row(self)


class Row:
    """A graph bound to buffers for one row: write `inputs`, `run()`, read `outputs`.

    inputs, outputs: float32 arrays (width,) by name, the same memory for the object's life. Not
    for two threads at once: each thread binds its own.
    """

    # Binding once saves the allocation and conversion of every array in every call, and leaves
    # nothing for the garbage collector: 6 us instead of 15 us for a net of one layer.
    def __init__(self, graph: Graph) -> None:
        self._session = graph.session
        self._binding = graph.session.io_binding()
        self._in = {k: np.zeros((1, n), np.float32) for k, n in graph.signature.inputs.items()}
        self._out = {k: np.zeros((1, n), np.float32) for k, n in graph.signature.outputs.items()}
        self.inputs = {name: array[0] for name, array in self._in.items()}
        self.outputs = {name: array[0] for name, array in self._out.items()}
        # Off the CPU, binding an input copies it to the device there and then; so bind each time.
        self._copies = graph.providers[0] != CPU
        for name, array in self._out.items():
            self._binding.bind_output(
                name, "cpu", 0, np.float32, list(array.shape), array.ctypes.data
            )
        self._bind_inputs()

    def _bind_inputs(self) -> None:
        for name, array in self._in.items():
            self._binding.bind_input(
                name, "cpu", 0, np.float32, list(array.shape), array.ctypes.data
            )

    def run(self) -> None:
        if self._copies:
            self._bind_inputs()
        self._session.run_with_iobinding(self._binding)


def _open(name: str, model: bytes, providers: tuple[str, ...]) -> ort.InferenceSession:
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
    if CPU not in providers:
        # Otherwise onnxruntime moves single nodes to the CPU without saying so.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        session = ort.InferenceSession(
            model,
            sess_options=options,
            providers=[(provider, PROVIDER_OPTIONS.get(provider, {})) for provider in providers],
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

"""Buffers that a graph is bound to: written, run and read again without an allocation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from adapt.inference.graph_signature import GraphSignature

if TYPE_CHECKING:
    from adapt.inference.session import Graph

Float32 = npt.NDArray[np.float32]


class Rows:
    """A graph bound to buffers for up to `capacity` rows: write `inputs`, `run(count)`, read
    `outputs`.

    inputs, outputs: float32 arrays (capacity, width) by name, the same memory for the object's
    life. Not for two threads at once: each thread binds its own.
    """

    # Binding once saves the allocation and conversion of every array in every call, and leaves
    # nothing for the garbage collector: 6 us instead of 15 us for a net of one layer.
    def __init__(self, graph: Graph, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity {capacity}; expected at least 1")
        self._graph = graph
        self._session = graph.session
        self.capacity = capacity
        shapes = graph.signature
        self.inputs = {k: np.zeros((capacity, n), np.float32) for k, n in shapes.inputs.items()}
        self.outputs = {k: np.zeros((capacity, n), np.float32) for k, n in shapes.outputs.items()}
        self._bindings: dict[int, ort.IOBinding] = {}
        if not graph.on_cpu:
            # Buffers and captured runs of every size, now and not under a robot.
            for size in range(capacity.bit_length()):
                graph.run_on_device(self.inputs, self.outputs, 1 << size)
            graph.run_on_device(self.inputs, self.outputs, capacity)

    def run(self, count: int) -> None:
        """Compute the first `count` rows, 1 to `capacity`."""
        binding = self._bindings.get(count)
        if binding is not None:
            self._session.run_with_iobinding(binding)
            return
        if not 1 <= count <= self.capacity:
            raise ValueError(f"{count} rows; these buffers have 1 to {self.capacity}")
        if not self._graph.on_cpu:
            self._graph.run_on_device(self.inputs, self.outputs, count)
            return
        binding = self._session.io_binding()
        for arrays, bind in (
            (self.inputs, binding.bind_input),
            (self.outputs, binding.bind_output),
        ):
            for name, array in arrays.items():
                shape = [count, array.shape[1]]
                bind(name, "cpu", 0, np.float32, shape, array.ctypes.data)
        self._bindings[count] = binding
        self._session.run_with_iobinding(binding)


class Row:
    """`Rows` for one: inputs and outputs are arrays (width,)."""

    def __init__(self, graph: Graph) -> None:
        rows = Rows(graph, 1)
        self.inputs = {name: array[0] for name, array in rows.inputs.items()}
        self.outputs = {name: array[0] for name, array in rows.outputs.items()}
        # Not a method of its own: it is called in every control period.
        self.run: Callable[[], None] = partial(rows.run, 1)


class DeviceRun:
    """A session bound to buffers on a device, for batches of one size. One thread at a time.

    device: "cuda", or "cpu". capture: number under which the provider captures and replays the
    whole run as one CUDA graph, None for launching every kernel anew.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        signature: GraphSignature,
        size: int,
        device: str,
        capture: int | None,
    ) -> None:
        self._session = session
        self._binding = session.io_binding()
        # Where rows are gathered; what is beyond the batch stays from an earlier one.
        self._host = {k: np.zeros((size, n), np.float32) for k, n in signature.inputs.items()}
        self._device = {
            name: ort.OrtValue.ortvalue_from_numpy(array, device, 0)
            for name, array in self._host.items()
        }
        self._found = {
            name: ort.OrtValue.ortvalue_from_numpy(np.zeros((size, n), np.float32), device, 0)
            for name, n in signature.outputs.items()
        }
        for name, value in self._device.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in self._found.items():
            self._binding.bind_ortvalue_output(name, value)
        self._options = ort.RunOptions()
        if capture is not None:
            self._options.add_run_config_entry("gpu_graph_id", str(capture))
        # Kernels are loaded in the first run and captured in the next: now, not under a robot.
        for _ in range(3):
            session.run_with_iobinding(self._binding, self._options)

    def run(
        self, inputs: Mapping[str, Float32], outputs: Mapping[str, Float32], count: int
    ) -> None:
        """The first `count` rows of inputs into those of outputs, both (at least count, width)."""
        for name, gathered in self._host.items():
            gathered[:count] = inputs[name][:count]
            self._device[name].update_inplace(gathered)
        self._session.run_with_iobinding(self._binding, self._options)
        for name, value in self._found.items():
            outputs[name][:count] = value.numpy()[:count]

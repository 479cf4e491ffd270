"""Context: the last transitions, in a ring that never grows."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from adapt.errors import ContextError, SnapshotError


class RingState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A ring at rest. rows: its `count` filled slots in slot order, little-endian."""

    count: int
    next: int
    rows: bytes


class Ring:
    """The last `capacity` rows of `width` numbers of one dtype.

    Slots are filled from 0 and then overwritten from 0: `next` is the slot of the coming row.
    """

    def __init__(self, capacity: int, width: int, dtype: npt.DTypeLike) -> None:
        self._rows = np.zeros((capacity, width), dtype)
        self.count = 0
        self.next = 0

    @property
    def capacity(self) -> int:
        return self._rows.shape[0]

    @property
    def filled(self) -> npt.NDArray[Any]:
        """View of the filled slots (count, width), in slot order, not in order of time."""
        return self._rows[: self.count]

    def oldest(self) -> npt.NDArray[Any] | None:
        """View of the row (width,) that the next append overwrites; None while there is room."""
        return self._rows[self.next] if self.count == self.capacity else None

    def append(self, row: npt.NDArray[Any]) -> None:
        """Copy one row (width,) in, over the oldest if the ring is full."""
        if row.shape != self._rows.shape[1:]:
            raise ContextError(f"row has shape {row.shape}; expected {self._rows.shape[1:]}")
        self._rows[self.next] = row
        self.next = (self.next + 1) % self.capacity
        self.count = min(self.count + 1, self.capacity)

    def array(self) -> npt.NDArray[Any]:
        """Copy of the rows (count, width), oldest first."""
        start = self.next if self.count == self.capacity else 0
        return np.roll(self.filled, -start, axis=0)

    def snapshot(self) -> RingState:
        rows = self.filled
        return RingState(self.count, self.next, rows.astype(rows.dtype.newbyteorder("<")).tobytes())

    def restore(self, state: RingState) -> None:
        """Take over a state. Raises SnapshotError, unchanged, if it does not fit this ring."""
        capacity, width = self._rows.shape
        dtype = self._rows.dtype.newbyteorder("<")
        follows = state.next == state.count if state.count < capacity else state.next < capacity
        if not (0 <= state.count <= capacity and state.next >= 0 and follows):
            raise SnapshotError(
                f"ring of {capacity} cannot hold {state.count} rows with slot {state.next} next"
            )
        if len(state.rows) != state.count * width * dtype.itemsize:
            raise SnapshotError(
                f"{state.count} rows of {width} numbers take {state.count * width * dtype.itemsize}"
                f" bytes; found {len(state.rows)}"
            )
        rows = np.frombuffer(state.rows, dtype).reshape(state.count, width)
        if not np.isfinite(rows).all():
            raise SnapshotError("a stored row is not finite")
        self._rows[: state.count] = rows
        self.count, self.next = state.count, state.next


class Context(Ring):
    """Transition rows (K, n_c), float32, in the feature order of the bundle's ContextSpec."""

    def __init__(self, capacity: int, width: int) -> None:
        super().__init__(capacity, width, np.float32)

"""Layout: where each named field lies in a flat array, and whether an array fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from adapt.bundle.fields import ActionField, Field
from adapt.errors import ContextError

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


class Layout:
    """Fields of one flat float32 array (size,), in order. group: its name in messages."""

    def __init__(self, group: str, fields: Sequence[Field]) -> None:
        self.group = group
        self.fields = tuple(fields)
        self.size = sum(field.size for field in fields)

    def locate(self, index: int) -> str:
        """Name of the number at a flat index, such as `wrench[2]`."""
        for field in self.fields:
            if index < field.size:
                place = ", ".join(str(int(i)) for i in np.unravel_index(index, field.shape))
                return f"{field.name}[{place}]" if field.shape else field.name
            index -= field.size
        raise IndexError(f"{self.group} has {self.size} numbers")

    def check(self, values: npt.NDArray[Any], what: str = "") -> npt.NDArray[np.float32]:
        """The same numbers as finite float32 (size,), not copied if they are that already.

        what: a name for messages other than the group's.
        Raises ContextError naming type, shape, or the first field and index that is not finite.
        """
        what = what or self.group
        if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
            kind = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
            raise ContextError(f"{what} is {kind}; expected an array of float32")
        if values.shape != (self.size,):
            names = ", ".join(f"{field.name} {field.shape}" for field in self.fields)
            raise ContextError(f"{what} has shape {values.shape}; expected ({self.size},): {names}")
        if values.dtype != np.float32:
            # A number too large for float32 becomes infinite here and is refused below.
            with np.errstate(over="ignore"):
                values = values.astype(np.float32)
        if not all_finite(values):
            index = int(np.argmin(np.isfinite(values)))
            raise ContextError(f"{what} {self.locate(index)} is {values[index]}; expected finite")
        return values


def all_finite(values: npt.NDArray[Any]) -> bool:
    """Whether every number is finite."""
    # A search through bytes takes a fifth of the time of numpy's all().
    return 0 not in np.isfinite(values).tobytes()


class ActionMap:
    """physical = offset + scale x normalised, for arrays (n_a,) of float32."""

    def __init__(self, fields: Sequence[ActionField]) -> None:
        sizes = [field.size for field in fields]
        exact = np.repeat([field.scale for field in fields], sizes)
        middle = np.repeat([field.offset for field in fields], sizes)
        scale, offset = exact.astype(np.float32), middle.astype(np.float32)
        # Rounded towards zero: float32's next number up may pass a bound.
        while (over := self._passes(scale, exact, offset, middle)).any():
            scale = np.where(over, np.nextafter(scale, np.float32(0.0)), scale)
        self._scale = scale
        # Adding 0 would turn -0 into 0, and cost time in every control period.
        self._offset = offset if middle.any() else None

    @staticmethod
    def _passes(
        scale: Float32, exact: Float64, offset: Float32, middle: Float64
    ) -> npt.NDArray[np.bool_]:
        """Where the ends of the range, in float32, lie outside the exact range."""
        return (offset + scale > middle + exact) | (offset - scale < middle - exact)

    def physical(self, normalised: Float32) -> Float32:
        """A new array."""
        scaled = self._scale * normalised
        return scaled if self._offset is None else self._offset + scaled

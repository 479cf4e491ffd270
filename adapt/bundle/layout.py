"""Layout: where each named field lies in a flat array, and whether an array fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from adapt.bundle.manifest import ActionField, Field
from adapt.errors import ContextError


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
        finite = np.isfinite(values)
        if not finite.all():
            index = int(np.argmin(finite))
            raise ContextError(f"{what} {self.locate(index)} is {values[index]}; expected finite")
        return values


def action_scale(fields: Sequence[ActionField]) -> npt.NDArray[np.float32]:
    """Action scales (n_a,), rounded towards zero: float32's next number up may pass a bound."""
    exact = np.concatenate([np.full(field.size, field.scale) for field in fields])
    scale = exact.astype(np.float32)
    return np.where(scale > exact, np.nextafter(scale, np.float32(0.0)), scale)

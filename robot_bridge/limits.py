"""Margins of one robot, from the bundle: what a command may ask, what a measurement may show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adapt.manifest import ActionField, Field, Limit
from robot_bridge.errors import LimitError
from robot_bridge.messages import Float32, Mode

# What to do when a measured quantity leaves its margin. Staying put is safe at the edge of a
# space; against a force, or in motion that is too fast, stiffness makes matters worse.
RESPONSE = {
    "position": Mode.HOLD,
    "workspace": Mode.HOLD,
    "velocity": Mode.DAMP,
    "effort": Mode.DAMP,
    "force": Mode.DAMP,
}
# A clipped command is reported only beyond rounding: float32 holds 7 digits.
ROUNDING = 1e-6


@dataclass(frozen=True)
class _Margin:
    where: slice
    limit: Limit


class Limits:
    """Clamps commands (n_a,) and judges observations (n_o,), both in physical units.

    period: control period [s]. Raises LimitError for a limit that nothing here could keep.
    """

    def __init__(
        self,
        observation: Sequence[Field],
        action: Sequence[ActionField],
        limits: Sequence[Limit],
        period: float,
    ) -> None:
        seen, acted = _slices(observation), _slices(action)
        self.observation_size = sum(field.size for field in observation)
        self.action_size = sum(field.size for field in action)
        self.scale = _filled(action, [field.scale for field in action])
        self._fields = [(field, seen[field.name]) for field in observation]
        # Of all fields in one row: a comparison costs as much for one number as for a hundred.
        self._lowest = _filled(observation, [field.low for field in observation])
        self._highest = _filled(observation, [field.high for field in observation])
        self._names = [field.name for field in action for _ in range(field.size)]
        self._low = _filled(action, [max(field.low, -field.scale) for field in action])
        self._high = _filled(action, [min(field.high, field.scale) for field in action])
        # Change per period, unlimited where no rate is given.
        self._down = np.full(self.action_size, -np.inf, np.float32)
        self._up = np.full(self.action_size, np.inf, np.float32)
        self._margins: list[_Margin] = []
        for limit in limits:
            if limit.field in acted:
                self._bound(limit, acted[limit.field], period)
            elif limit.field not in seen:
                raise LimitError(
                    f"limit on {limit.field!r}: no such field; there are {', '.join(seen | acted)}"
                )
            elif limit.quantity not in RESPONSE:
                raise LimitError(
                    f"limit on the {limit.quantity} of {limit.field!r}: an observation can be held "
                    f"to {', '.join(RESPONSE)}"
                )
            else:
                self._margins.append(_Margin(seen[limit.field], limit))
        self._rounding = ROUNDING * self.scale
        self._limited = bool(np.isfinite(self._down).any() or np.isfinite(self._up).any())
        self._inner_low, self._inner_high = self._narrowed()
        if not (
            np.all(self._low < self._high) and np.all(self._down <= 0) and np.all(self._up >= 0)
        ):
            raise LimitError(
                "the limits leave an action field no room: ranges must overlap, and a rate's low "
                "and high must lie on either side of 0"
            )

    def _bound(self, limit: Limit, where: slice, period: float) -> None:
        if limit.quantity == "rate":
            self._down[where] = np.maximum(self._down[where], limit.low * period)
            self._up[where] = np.minimum(self._up[where], limit.high * period)
        else:
            self._low[where] = np.maximum(self._low[where], limit.low)
            self._high[where] = np.minimum(self._high[where], limit.high)

    def _narrowed(self) -> tuple[Float32, Float32]:
        """Lowest and highest observation (n_o,) that breaks no margin."""
        low = np.full(self.observation_size, -np.inf, np.float32)
        high = np.full(self.observation_size, np.inf, np.float32)
        for margin in self._margins:
            where, limit = margin.where, margin.limit
            low[where] = np.maximum(low[where], limit.low)
            high[where] = np.minimum(high[where], limit.high)
        return low, high

    def clamp(self, command: Float32, before: Float32 | None) -> tuple[Float32, tuple[str, ...]]:
        """The command within its margins, and the names of the fields that were changed.

        before: the command of the period before, or None where there was none: then no rate
        applies. Raises LimitError when the command is not finite or of another size.
        """
        if command.shape != (self.action_size,):
            raise LimitError(f"command of shape {command.shape}; expected ({self.action_size},)")
        if not np.isfinite(command).all():
            index = int(np.flatnonzero(~np.isfinite(command))[0])
            raise LimitError(f"command[{index}] ({self._names[index]}) is {command[index]}")
        low, high = self._low, self._high
        if before is not None and self._limited:
            low = np.maximum(low, before + self._down)
            high = np.minimum(high, before + self._up)
        within = np.minimum(np.maximum(command, low), high).astype(np.float32, copy=False)
        changed = np.abs(within - command) > self._rounding
        if not changed.any():
            return within, ()
        names = dict.fromkeys(self._names[index] for index in np.flatnonzero(changed))
        return within, tuple(names)

    def invalid(self, observation: Float32) -> str:
        """Why an observation cannot be what the robot measured; "" when it can."""
        if observation.shape != (self.observation_size,):
            return f"{observation.size} numbers; the bundle's fields have {self.observation_size}"
        # Written so that NaN, which is in no range, fails too.
        if ((observation >= self._lowest) & (observation <= self._highest)).all():
            return ""
        for field, where in self._fields:
            values = observation[where]
            wrong = ~((values >= field.low) & (values <= field.high))
            if wrong.any():
                index = int(np.flatnonzero(wrong)[0])
                return (
                    f"{field.name}[{index}] is {values[index]:.6g} {field.unit}; expected "
                    f"{field.low:g} to {field.high:g}"
                )
        return ""

    def broken(self, observation: Float32) -> tuple[Mode, str] | None:
        """The strictest response to margins that this observation breaks, and why."""
        if ((observation >= self._inner_low) & (observation <= self._inner_high)).all():
            return None
        found: tuple[Mode, str] | None = None
        for margin in self._margins:
            limit, values = margin.limit, observation[margin.where]
            wrong = ~((values >= limit.low) & (values <= limit.high))
            mode = RESPONSE[limit.quantity]
            if wrong.any() and (found is None or mode > found[0]):
                worst = values[int(np.flatnonzero(wrong)[0])]
                found = (
                    mode,
                    (
                        f"{limit.quantity} {limit.field} is {worst:.6g} {limit.unit}; the limit is "
                        f"{limit.low:g} to {limit.high:g} ({limit.reason})"
                    ),
                )
        return found


def _slices(fields: Sequence[Field]) -> dict[str, slice]:
    slices: dict[str, slice] = {}
    start = 0
    for field in fields:
        slices[field.name] = slice(start, start + field.size)
        start += field.size
    return slices


def _filled(fields: Sequence[Field], values: Sequence[float]) -> Float32:
    """One number per field, repeated over its elements: (n,)."""
    return np.repeat(np.array(values, np.float32), [field.size for field in fields])

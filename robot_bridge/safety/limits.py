"""The bundle's limits: clamps commands and judges measurements of one robot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adapt.bundle.fields import ActionField, Field, Limit
from robot_bridge.errors import LimitError
from robot_bridge.protocol.messages import Float32, Mode

# What to do when a measured quantity leaves its margin. Staying put is safe at the edge of a
# space; against a force, or in motion that is too fast, stiffness makes matters worse. A
# measurement that jumps is an impact, or a sensor that is not to be believed.
RESPONSE = {
    "position": Mode.HOLD,
    "workspace": Mode.HOLD,
    "velocity": Mode.DAMP,
    "effort": Mode.DAMP,
    "force": Mode.DAMP,
    "rate": Mode.DAMP,
}
# A clipped command is reported only beyond rounding: float32 holds 7 digits.
ROUNDING = 1e-6
_MOST = float(np.finfo(np.float32).max)

Bounds = tuple[Float32, Float32]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Margin:
    where: npt.NDArray[np.intp]
    limit: Limit
    period: float  # that a rate is per; 1 for everything else


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
        self.offset = _filled(action, [field.offset for field in action])
        self._fields = [(field, seen[field.name]) for field in observation]
        self._names = [field.name for field in action for _ in range(field.size)]
        # Infinity is in no range, also where a bound is more than float32 holds.
        self._valid = (
            np.maximum(_filled(observation, [field.low for field in observation]), -_MOST),
            np.minimum(_filled(observation, [field.high for field in observation]), _MOST),
        )
        self._range = (
            _filled(action, [max(field.low, field.offset - field.scale) for field in action]),
            _filled(action, [min(field.high, field.offset + field.scale) for field in action]),
        )
        # Change per period, unlimited where no rate is given.
        self._change = _unlimited(self.action_size)
        self._level = _unlimited(self.observation_size)
        self._jump = _unlimited(self.observation_size)
        self._margins: list[_Margin] = []
        for limit in limits:
            rate = limit.quantity == "rate"
            factor = period if rate else 1.0
            low, high = limit.low * factor, limit.high * factor
            if limit.field in acted:
                where = _elements(limit, acted[limit.field])
                _narrow(self._change if rate else self._range, where, low, high)
            elif limit.field in seen:
                where = _elements(limit, seen[limit.field])
                _narrow(self._jump if rate else self._level, where, low, high)
                self._margins.append(_Margin(where, limit, factor))
            else:
                raise LimitError(
                    f"limit on {limit.field!r}: no such field; there are {', '.join(seen | acted)}"
                )
        self._jumps = bool(np.isfinite(self._jump).any())
        self._rated = bool(np.isfinite(self._change).any())
        self._check_room()
        # Memory for the checks of every control period, so that none is taken there.
        self._seen = np.zeros((2, self.observation_size), np.float32)
        self._values, self._changes = self._seen  # views of its rows
        self._elapsed = np.ones(self.observation_size, np.float32)
        self._bounds = tuple(
            np.stack([narrow(valid, level), jump])
            for narrow, valid, level, jump in zip(
                (np.maximum, np.minimum), self._valid, self._level, self._jump, strict=True
            )
        )
        self._seen_inside = _Comparison(self._seen.shape)
        # A command twice, to compare with the range and with what the rates leave.
        self._commands = np.zeros((2, self.action_size), np.float32)
        self._low, self._high = (
            np.stack(both) for both in zip(self._range, self._change, strict=True)
        )
        self._least, self._most = self._low[1], self._high[1]
        self._command_inside = _Comparison(self._commands.shape)

    def _check_room(self) -> None:
        # A manifest's numbers are float64. One that float32 does not hold becomes infinite, and
        # would let any command pass, infinity too.
        finite = np.isfinite(self.scale) & np.isfinite(self._range).all(axis=0)
        if not finite.all():
            index = int(np.flatnonzero(~finite)[0])
            raise LimitError(
                f"the limits leave action field {self._names[index]!r} without a bound: scale "
                f"{self.scale[index]:g}, range {self._range[0][index]:g} to "
                f"{self._range[1][index]:g}; expected what float32 holds, at most {_MOST:g}"
            )
        if not np.all(self._range[0] < self._range[1]):
            raise LimitError("the limits leave an action field no room: its ranges must overlap")
        for low, high in (self._change, self._jump):
            if not (np.all(low <= 0) and np.all(high >= 0)):
                raise LimitError(
                    "the limits leave a field no room: a rate's low and high must lie on either "
                    "side of 0"
                )
        rated = np.isfinite(self._change).any(axis=0)
        still = (self._range[0] <= self.offset) & (self._range[1] >= self.offset)
        if np.any(rated & ~still):
            index = int(np.flatnonzero(rated & ~still)[0])
            raise LimitError(
                f"the limits leave action field {self._names[index]!r} no room: its rate counts "
                f"from its offset {self.offset[index]:g}, where a robot that stands still starts, "
                "and its range does not hold that"
            )

    def clamp(
        self, command: Float32, before: Float32 | None, allowed: float = 1.0
    ) -> tuple[Float32, tuple[str, ...]]:
        """The command within its margins, and the names of the fields that were changed.

        before: the command followed in the period before, or None where there was none: the robot
        stood still, so the change counts from the offset. allowed: part of a period's change, for a
        command that comes early; above 0. Raises LimitError when the command is not finite or of
        another size.
        """
        if command.shape != (self.action_size,):
            raise LimitError(f"command of shape {command.shape}; expected ({self.action_size},)")
        if self._rated:
            reference = self.offset if before is None else before
            down, up = self._change
            if allowed < 1.0:
                down, up = np.float32(allowed) * down, np.float32(allowed) * up
            np.add(reference, down, self._least)
            np.add(reference, up, self._most)
        self._commands[:] = command
        # Nearly always. The range is finite, so nothing else is inside it.
        if self._command_inside(self._commands, self._low, self._high):
            return command, ()
        if not np.all(np.isfinite(command)):
            index = int(np.flatnonzero(~np.isfinite(command))[0])
            raise LimitError(f"command[{index}] ({self._names[index]}) is {command[index]}")
        within = np.minimum(np.maximum(command, self._low.max(axis=0)), self._high.min(axis=0))
        changed = np.abs(within - command) > ROUNDING * self.scale
        names = dict.fromkeys(self._names[index] for index in np.flatnonzero(changed))
        return within, tuple(names)

    def normalised(self, command: Float32) -> Float32:
        """The action in [-1, 1] that asks for this command (n_a,); nearest where none does."""
        return np.clip((command - self.offset) / self.scale, -1.0, 1.0)

    def confine(self, low: Float64, high: Float64) -> None:
        """Let `sound` be true only within these bounds of an observation (n_o,), too."""
        least, most = low.astype(np.float32), high.astype(np.float32)
        # Rounded inwards: what is inside by float32 is inside by float64.
        least = np.where(least < low, np.nextafter(least, np.float32(np.inf)), least)
        most = np.where(most > high, np.nextafter(most, np.float32(-np.inf)), most)
        self._bounds[0][0] = np.maximum(self._bounds[0][0], least)
        self._bounds[1][0] = np.minimum(self._bounds[1][0], most)

    def sound(
        self, observation: Float32, before: Float32 | None = None, elapsed: float = 1.0
    ) -> bool:
        """Whether an observation is valid and so finite, breaks no limit and lies where `confine`
        says, in one pass. Where False, `invalid` and `broken` say what is wrong. Arguments as of
        `broken`."""
        if observation.shape != (self.observation_size,):
            return False
        self._values[:] = observation
        if self._jumps:
            changes = self._changes
            if before is None:
                changes.fill(0.0)
            else:
                # Divided by an array of the same shape, which takes a third of a number's time.
                self._elapsed.fill(elapsed)
                np.divide(np.subtract(observation, before, changes), self._elapsed, changes)
        return self._seen_inside(self._seen, *self._bounds)

    def invalid(self, observation: Float32) -> str:
        """Why an observation cannot be what the robot measured; "" when it can."""
        if observation.shape != (self.observation_size,):
            much = "few" if observation.size < self.observation_size else "many"
            return (
                f"too {much} numbers: {observation.size}; the bundle's fields have "
                f"{self.observation_size}"
            )
        if _inside(observation, self._valid):
            return ""
        for field, where in self._fields:
            values = observation[where]
            # Written so that NaN, which is in no range, fails too.
            wrong = ~((values >= self._valid[0][where]) & (values <= self._valid[1][where]))
            if wrong.any():
                index = int(np.flatnonzero(wrong)[0])
                cause = "outside its field" if np.isfinite(values[index]) else "not finite"
                return (
                    f"{cause}: {field.name}[{index}] is {values[index]:.6g} {field.unit}; expected "
                    f"{field.low:g} to {field.high:g}"
                )
        return ""

    def broken(
        self, observation: Float32, before: Float32 | None = None, elapsed: float = 1.0
    ) -> tuple[Mode, str] | None:
        """The strictest response to margins that this observation breaks, and why.

        before: the observation before, or None at the start of an episode; elapsed: since then
        [control periods].
        """
        change = None
        if self._jumps and before is not None:
            change = (observation - before) / np.float32(elapsed)
        if _inside(observation, self._level) and (change is None or _inside(change, self._jump)):
            return None
        found: tuple[Mode, str] | None = None
        for margin in self._margins:
            limit = margin.limit
            rate = limit.quantity == "rate"
            if rate and change is None:
                continue
            source = change if rate and change is not None else observation
            values = source[margin.where] / margin.period
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


class _Comparison:
    """Whether all numbers of an array of one shape are within bounds, in memory that is taken once:
    asked for in every control period. NaN is in no range."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        size = int(np.prod(shape))
        self._results = bytearray(2 * size)
        both = np.frombuffer(self._results, np.bool_)
        self._above, self._below = both[:size].reshape(shape), both[size:].reshape(shape)

    def __call__(self, values: Float32, low: Float32, high: Float32) -> bool:
        # By position: a keyword takes a third more time.
        np.greater_equal(values, low, self._above)
        np.less_equal(values, high, self._below)
        # A search through bytes takes a tenth of the time of numpy's all().
        return 0 not in self._results


def _inside(values: Float32, bounds: Bounds) -> bool:
    """Whether all values are; NaN is in no range."""
    return bool(((values >= bounds[0]) & (values <= bounds[1])).all())


def _unlimited(size: int) -> Bounds:
    return np.full(size, -np.inf, np.float32), np.full(size, np.inf, np.float32)


def _narrow(bounds: Bounds, where: npt.NDArray[np.intp], low: float, high: float) -> None:
    bounds[0][where] = np.maximum(bounds[0][where], low)
    bounds[1][where] = np.minimum(bounds[1][where], high)


def _elements(limit: Limit, field: slice) -> npt.NDArray[np.intp]:
    """Where a limit's numbers are."""
    every = np.arange(field.start, field.stop)
    if not limit.elements:
        return every
    if max(limit.elements) >= len(every):
        raise LimitError(
            f"limit on {limit.field!r}: element {max(limit.elements)}; it has {len(every)}"
        )
    return every[limit.elements]


def _slices(fields: Sequence[Field]) -> dict[str, slice]:
    slices: dict[str, slice] = {}
    start = 0
    for field in fields:
        slices[field.name] = slice(start, start + field.size)
        start += field.size
    return slices


def _filled(fields: Sequence[Field], values: Sequence[float]) -> Float32:
    """One number per field, repeated over its elements: (n,)."""
    # What float32 does not hold is infinite, as it should be of an observation without bounds.
    with np.errstate(over="ignore"):
        return np.repeat(np.array(values, np.float32), [field.size for field in fields])

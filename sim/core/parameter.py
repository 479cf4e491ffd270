"""One task parameter: a named physical quantity, its range, and what training never draws of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from adapt.errors import AcclimateError

Scale = Literal["linear", "log", "area", "choice"]
Split = Literal["train", "held_out", "unseen_choice", "all"]

MAX_REJECTIONS = 10_000
"""Draws of one parameter after which its held-out bands count as covering the whole range."""


class TaskSpaceError(AcclimateError):
    """An invalid task space, or an invalid value for one."""


def check_split(split: object) -> Split:
    """The split itself, or an error that lists what there is."""
    for known in get_args(Split):
        if split == known:
            return known
    raise TaskSpaceError(f"no split {split!r}; there are {list(get_args(Split))}")


@dataclass(frozen=True)
class Parameter:
    """One physical quantity that varies between tasks.

    Attributes:
        name: identifier, unique in its space.
        unit: SI unit as text, "1" where there is none.
        low, high: inclusive range, in `unit`. For a choice, 0 and the number of choices less one.
        scale: how the range is drawn from: "linear", "log" and "area" are uniform in the value, in
            its logarithm and in its square, as the radii of a disc's points are; "choice" draws
            one of `choices`.
        nominal: the value that a robot would assume, in `unit`.
        choices: names of the values of a choice, in order.
        held_out: bands (low, high) in unit coordinates [−1, 1] that training never draws from.
        unseen: choices that training never draws.
    """

    name: str
    unit: str
    low: float
    high: float
    scale: Scale = "linear"
    nominal: float = 0.0
    choices: tuple[str, ...] = ()
    held_out: tuple[tuple[float, float], ...] = ()
    unseen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        where = f"parameter {self.name!r}"
        if self.scale not in get_args(Scale):
            raise TaskSpaceError(f"{where}: no scale {self.scale!r}; there are {get_args(Scale)}")
        if not all(math.isfinite(v) for v in (self.low, self.high, self.nominal)):
            raise TaskSpaceError(f"{where}: low, high and nominal must be finite numbers")
        if self.low > self.high:
            raise TaskSpaceError(
                f"{where}: low {self.low:g} is above high {self.high:g} {self.unit}; swap them"
            )
        if not self.low <= self.nominal <= self.high:
            raise TaskSpaceError(
                f"{where}: nominal {self.nominal:g} {self.unit} is outside "
                f"[{self.low:g}, {self.high:g}]"
            )
        if self.scale == "log" and self.low <= 0:
            raise TaskSpaceError(f"{where}: a log scale needs low > 0, got {self.low:g}")
        if self.scale == "area" and self.low < 0:
            raise TaskSpaceError(f"{where}: an area scale needs low ≥ 0, got {self.low:g}")
        if self.scale == "choice":
            if len(self.choices) < 1 or (self.low, self.high) != (0, len(self.choices) - 1):
                raise TaskSpaceError(f"{where}: low must be 0 and high len(choices) − 1")
            unknown = set(self.unseen) - set(self.choices)
            if unknown:
                raise TaskSpaceError(
                    f"{where}: unseen {sorted(unknown)} not among {list(self.choices)}"
                )
            if set(self.unseen) == set(self.choices):
                raise TaskSpaceError(f"{where}: every choice is unseen; training needs one")
        elif self.choices or self.unseen:
            raise TaskSpaceError(f"{where}: choices belong to scale 'choice', not {self.scale!r}")
        for band in self.held_out:
            if not -1 <= band[0] < band[1] <= 1:
                raise TaskSpaceError(f"{where}: held-out band {band} is not within [−1, 1]")

    def to_unit(self, value: np.ndarray) -> np.ndarray:
        """Map values in `unit` to [−1, 1]; a parameter of no width maps to 0."""
        low, high = self._bounds()
        if high == low:
            return np.zeros_like(np.asarray(value, float))
        v = np.asarray(value, float)
        v = np.log(v) if self.scale == "log" else v**2 if self.scale == "area" else v
        return 2 * (v - low) / (high - low) - 1

    def from_unit(self, unit: np.ndarray) -> np.ndarray:
        """Inverse of `to_unit`; a choice is rounded to the nearest."""
        low, high = self._bounds()
        v = low + (np.asarray(unit, float) + 1) * (high - low) / 2
        if self.scale == "log":
            # exp(log(low)) may miss `low` by one unit in the last place.
            return np.clip(np.exp(v), self.low, self.high)
        if self.scale == "area":
            return np.clip(np.sqrt(v), self.low, self.high)
        return np.rint(v) if self.scale == "choice" else v

    def sample(self, n: int, rng: np.random.Generator, split: Split) -> np.ndarray:
        """Draw n values, in `unit`, from the part of the range that belongs to the split."""
        if self.scale == "choice":
            names = {
                "train": [c for c in self.choices if c not in self.unseen],
                "held_out": [c for c in self.choices if c not in self.unseen],
                "unseen_choice": list(self.unseen) or list(self.choices),
                "all": list(self.choices),
            }[split]
            allowed = np.array([self.choices.index(c) for c in names], float)
            # Shuffled passes instead of independent draws: all choices are equally frequent.
            laps = max(1, -(-n // len(allowed)))
            return np.concatenate([rng.permutation(allowed) for _ in range(laps)])[:n]
        if not self.held_out or split in ("all", "unseen_choice"):
            return self.from_unit(rng.uniform(-1, 1, n))
        if split == "held_out":
            low, high = np.array(self.held_out).T
            widths = high - low
            band = rng.choice(len(widths), size=n, p=widths / widths.sum())
            return self.from_unit(rng.uniform(low[band], high[band]))
        draws = rng.uniform(-1, 1, n)
        for _ in range(MAX_REJECTIONS):
            inside = self._in_band(draws)
            if not inside.any():
                return self.from_unit(draws)
            draws[inside] = rng.uniform(-1, 1, int(inside.sum()))
        raise TaskSpaceError(f"parameter {self.name!r}: held-out bands leave nothing to train on")

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, without what a parameter need not have."""
        row: dict[str, Any] = {"name": self.name, "unit": self.unit, "low": self.low}
        row |= {"high": self.high, "scale": self.scale, "nominal": self.nominal}
        if self.choices:
            row |= {"choices": list(self.choices), "unseen": list(self.unseen)}
        if self.held_out:
            row["held_out"] = [list(band) for band in self.held_out]
        return row

    @staticmethod
    def from_dict(index: int, row: object) -> Parameter:
        """Inverse of `to_dict`; an error names the entry, or its index, and the key at fault."""
        if not isinstance(row, Mapping):
            raise TaskSpaceError(f"parameter {index}: expected a mapping, got {type(row).__name__}")
        where = f"parameter {row.get('name', index)!r}"
        known = set(Parameter.__dataclass_fields__)
        if set(row) - known:
            unknown = sorted(map(str, set(row) - known))
            raise TaskSpaceError(f"{where}: unknown {unknown}; known are {sorted(known)}")
        missing = {"name", "unit", "low", "high"} - set(row)
        if missing:
            raise TaskSpaceError(f"{where} lacks {sorted(missing)}")
        values: dict[str, Any] = dict(row)
        for key in ("low", "high", "nominal"):
            number = values.get(key, 0.0)
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise TaskSpaceError(f"{where}: {key} must be a number, got {number!r}")
            values[key] = float(number)
        for key in ("choices", "unseen"):
            names = values.get(key, ())
            if not isinstance(names, list | tuple) or not all(isinstance(n, str) for n in names):
                raise TaskSpaceError(f"{where}: {key} must be a list of names, got {names!r}")
            values[key] = tuple(names)
        try:
            values["held_out"] = tuple((float(a), float(b)) for a, b in values.get("held_out", ()))
        except (TypeError, ValueError) as error:
            raise TaskSpaceError(
                f"{where}: held_out must be a list of pairs of numbers, got {values['held_out']!r}"
            ) from error
        return Parameter(**values)

    def _in_band(self, unit: np.ndarray) -> np.ndarray:
        return np.any([(unit >= a) & (unit <= b) for a, b in self.held_out], axis=0)

    def _bounds(self) -> tuple[float, float]:
        if self.scale == "log":
            return math.log(self.low), math.log(self.high)
        if self.scale == "area":
            return self.low**2, self.high**2
        return self.low, self.high

"""Task parameters: the named physical quantities that differ from one task to the next.

A `TaskSpace` is an ordered list of `Parameter`s. A `Task` is one point in it, in physical units.
The split between training and held-out tasks is a rule written in the space itself: a parameter
may name bands of its range that training never draws from, and a choice may name values that it
never takes. Two people with the same file therefore hold out the same tasks. Or the space fixes
both sets altogether, as published benchmarks do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import yaml

from adapt.errors import AcclimateError
from sim.core.fixed_sets import FixedSets

Scale = Literal["linear", "log", "area", "choice"]
Split = Literal["train", "held_out", "unseen_choice", "all"]

MAX_REJECTIONS = 10_000
"""Draws of one parameter before its held-out bands are declared to leave no room for training."""


class TaskSpaceError(AcclimateError):
    """A task space, or a value for it, that makes no sense; the message says which and why."""


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
            # A shuffled cycle rather than independent draws: every choice gets its share.
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

    def _in_band(self, unit: np.ndarray) -> np.ndarray:
        return np.any([(unit >= a) & (unit <= b) for a, b in self.held_out], axis=0)

    def _bounds(self) -> tuple[float, float]:
        if self.scale == "log":
            return math.log(self.low), math.log(self.high)
        if self.scale == "area":
            return self.low**2, self.high**2
        return self.low, self.high


@dataclass(frozen=True)
class Task:
    """One task: values (n_p,), in the units that its space names."""

    space: TaskSpace
    values: np.ndarray

    def __post_init__(self) -> None:
        values = np.array(self.values, float)
        self.space.check(values)
        values.setflags(write=False)
        object.__setattr__(self, "values", values)

    def __getitem__(self, name: str) -> float:
        return float(self.values[self.space.index(name)])

    def choice(self, name: str) -> str:
        """The name that a choice parameter takes."""
        parameter = self.space[name]
        return parameter.choices[int(self[name])]

    def as_unit(self) -> np.ndarray:
        """The values (n_p,) in [−1, 1]."""
        return np.array(
            [p.to_unit(v) for p, v in zip(self.space.parameters, self.values, strict=True)]
        )

    def as_dict(self) -> dict[str, float | str]:
        """Values by name; choices by their names."""
        return {
            p.name: self.choice(p.name) if p.scale == "choice" else self[p.name]
            for p in self.space.parameters
        }


@dataclass(frozen=True)
class TaskSpace:
    """An ordered set of parameters, and where its ranges come from.

    Attributes:
        name: what the tasks are, e.g. "insertion".
        parameters: in the order of `Task.values`.
        provenance: free text by key: who measured or chose these ranges, with what, and when.
        fixed: the training and the held-out set, if both are drawn once and for all.
    """

    name: str
    parameters: tuple[Parameter, ...]
    provenance: Mapping[str, str] = field(default_factory=dict)
    fixed: FixedSets | None = None

    def __post_init__(self) -> None:
        names = self.names
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise TaskSpaceError(f"task space {self.name!r}: {twice} named twice")
        banded = [p.name for p in self.parameters if p.held_out or p.unseen]
        if self.fixed is not None and banded:
            raise TaskSpaceError(
                f"task space {self.name!r}: its sets are fixed, so {banded} need hold nothing out"
            )

    @property
    def names(self) -> list[str]:
        return [p.name for p in self.parameters]

    def index(self, name: str) -> int:
        if name not in self.names:
            raise TaskSpaceError(f"task space {self.name!r} has no {name!r}; it has {self.names}")
        return self.names.index(name)

    def __getitem__(self, name: str) -> Parameter:
        return self.parameters[self.index(name)]

    def check(self, values: np.ndarray) -> None:
        """Raise `TaskSpaceError` unless values (n_p,) are finite and within the ranges."""
        if values.shape != (len(self.parameters),):
            raise TaskSpaceError(
                f"task space {self.name!r}: expected {len(self.parameters)} values, "
                f"got shape {values.shape}"
            )
        for p, v in zip(self.parameters, values, strict=True):
            # The negation catches NaN as well.
            if not p.low <= v <= p.high:
                raise TaskSpaceError(
                    f"{self.name}.{p.name} = {v:g} {p.unit} is outside [{p.low:g}, {p.high:g}]"
                )
            if p.scale == "choice" and v != int(v):
                raise TaskSpaceError(
                    f"{self.name}.{p.name} = {v:g} is no whole number from 0 to {p.high:g}"
                )

    def sample(self, n: int, rng: np.random.Generator, split: Split = "train") -> list[Task]:
        """Draw n tasks from one side of the split.

        "train" avoids every held-out band and unseen choice; "held_out" lies in a held-out band
        of every parameter that has one, within trained choices; "unseen_choice" takes only the
        choices that training never saw; "all" ignores the split. Of fixed sets, the first two
        draw from the set itself, in shuffled passes.
        """
        split = check_split(split)
        if self.fixed is None or split not in ("train", "held_out"):
            columns = [p.sample(n, rng, split) for p in self.parameters]
            return [Task(self, row) for row in np.stack(columns, axis=1)]
        if not self.fixed.size(split):
            raise TaskSpaceError(
                f"task space {self.name!r} holds no task out: training sees all there are; "
                "say split 'train'"
            )
        return [self._sets[split][i] for i in self.fixed.pick(n, split, rng)]

    def holds_out(self, split: Split) -> bool:
        """Whether that side of the split has tasks which training never meets."""
        if split == "unseen_choice":
            return any(p.unseen for p in self.parameters)
        if split != "held_out":
            return False
        if self.fixed is not None:
            return self.fixed.held_out > 0
        return any(p.held_out for p in self.parameters)

    @cached_property
    def _sets(self) -> dict[str, list[Task]]:
        """The fixed sets' tasks, by their side of the split."""
        sides: tuple[Literal["train", "held_out"], ...] = ("train", "held_out")
        fixed = self.fixed
        if fixed is None:
            return {}
        return {side: self.sample(fixed.size(side), fixed.generator(side), "all") for side in sides}

    def task(self, **values: float | str) -> Task:
        """The nominal task with some values replaced; a choice is given by its name."""
        row = np.array([p.nominal for p in self.parameters], float)
        for name, value in values.items():
            p = self[name]
            if isinstance(value, str):
                if value not in p.choices:
                    raise TaskSpaceError(
                        f"{self.name}.{name} = {value!r} is not one of {list(p.choices)}"
                    )
                value = p.choices.index(value)
            row[self.index(name)] = value
        return Task(self, row)

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, as they stand in YAML and in a bundle's manifest."""
        rows = []
        for p in self.parameters:
            row: dict[str, Any] = {"name": p.name, "unit": p.unit, "low": p.low, "high": p.high}
            row |= {"scale": p.scale, "nominal": p.nominal}
            if p.choices:
                row |= {"choices": list(p.choices), "unseen": list(p.unseen)}
            if p.held_out:
                row["held_out"] = [list(b) for b in p.held_out]
            rows.append(row)
        data = {"name": self.name, "parameters": rows, "provenance": dict(self.provenance)}
        return data if self.fixed is None else data | {"fixed": asdict(self.fixed)}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> TaskSpace:
        """Inverse of `to_dict`; an unknown or missing key is an error that names it."""
        unknown = set(data) - {"name", "parameters", "provenance", "fixed"}
        if unknown or not {"name", "parameters"} <= set(data):
            raise TaskSpaceError(
                f"a task space has keys name, parameters, provenance, fixed; got {sorted(data)}"
            )
        rows = data["parameters"]
        if not isinstance(rows, Sequence) or isinstance(rows, str):
            raise TaskSpaceError(f"parameters: expected a list, got {type(rows).__name__}")
        parameters = [_parameter(i, row) for i, row in enumerate(rows)]
        provenance, fixed = dict(data.get("provenance", {})), _fixed(data.get("fixed"))
        return TaskSpace(data["name"], tuple(parameters), provenance, fixed)

    def save(self, path: Path) -> None:
        """Write as YAML."""
        path.write_text(yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True))

    @staticmethod
    def load(path: Path) -> TaskSpace:
        """Read YAML written by `save`; errors name the file."""
        try:
            data = yaml.safe_load(path.read_text())
            if not isinstance(data, Mapping):
                raise TaskSpaceError("expected a mapping at the top")
            return TaskSpace.from_dict(data)
        except (OSError, yaml.YAMLError, TaskSpaceError) as error:
            raise TaskSpaceError(f"{path}: {error}") from error


def _fixed(row: object) -> FixedSets | None:
    """A file's fixed sets."""
    if row is None:
        return None
    try:
        if not isinstance(row, Mapping):
            raise TypeError(f"expected a mapping, got {type(row).__name__}")
        return FixedSets(**row)
    except (TypeError, ValueError) as error:
        raise TaskSpaceError(f"fixed: {error}; it has keys train, held_out, seed") from error


def _parameter(index: int, row: object) -> Parameter:
    """One entry of a file's parameters; an error names the entry and the key at fault."""
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

"""Task parameters: the named physical quantities that differ from one task to the next.

A `TaskSpace` is an ordered list of `Parameter`s. A `Task` is one point in it, in physical units.
The space itself defines the split between training and held-out tasks: a parameter may name bands
of its range that training never draws from, and a choice may name values that training never takes.
So equal files hold out equal tasks. Or the space fixes both sets, as published benchmarks do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from sim.core.fixed_sets import FixedSets
from sim.core.measured import Measured
from sim.core.parameter import Parameter, Split, TaskSpaceError, check_split


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

    def get(self, name: str, default: float) -> float:
        """The value of a parameter that the space may lack."""
        return self[name] if name in self.space.names else default

    def choice(self, name: str) -> str:
        """The name that a choice parameter takes."""
        parameter = self.space[name]
        return parameter.choices[int(self[name])]


@dataclass(frozen=True)
class TaskSpace:
    """An ordered set of parameters, and where its ranges come from.

    Attributes:
        name: what the tasks are, e.g. "insertion".
        parameters: in the order of `Task.values`.
        provenance: free text by key: the source of these ranges.
        fixed: sizes and seed of both sets, if they are fixed.
        measured: what a calibration measured of some parameters: they are drawn from it, jointly
            and within their ranges.
    """

    name: str
    parameters: tuple[Parameter, ...]
    provenance: Mapping[str, str] = field(default_factory=dict)
    fixed: FixedSets | None = None
    measured: Measured | None = None

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
        self._check_measured()

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
            rows = np.stack([p.sample(n, rng, split) for p in self.parameters], axis=1)
            if self.measured is not None:
                rows[:, self._measured_indices] = self._draw_measured(self.measured, n, rng)
            return [Task(self, row) for row in rows]
        if not self.fixed.size(split):
            why = (
                "holds no task out: training sees all there are; say split 'train'"
                if split == "held_out"
                else "is for tests alone: no run trains on its tasks; say split 'held_out'"
            )
            raise TaskSpaceError(f"task space {self.name!r} {why}")
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

    def narrowed(self, other: TaskSpace) -> TaskSpace:
        """This space with what was measured in another one, by name; provenance is added.

        Of a measured parameter no band is held out any more. Raises `TaskSpaceError` where the
        other has nothing measured that this one varies, or in another unit or scale.
        """
        found = other.measured
        shared = [n for n in found.names if n in self.names] if found else []
        if found is None or not shared:
            raise TaskSpaceError(
                f"task space {other.name!r} has nothing measured of {self.names}, the parameters "
                f"of {self.name!r}"
            )
        for name in shared:
            ours, theirs = self[name], other[name]
            if (ours.unit, ours.scale) != (theirs.unit, theirs.scale):
                raise TaskSpaceError(
                    f"parameter {name!r}: measured in {theirs.unit} on a {theirs.scale} scale; "
                    f"{self.name!r} has {ours.unit} on a {ours.scale} scale"
                )
        parameters = tuple(
            replace(p, held_out=()) if p.name in shared else p for p in self.parameters
        )
        provenance = {**self.provenance, **other.provenance}
        return replace(
            self, parameters=parameters, provenance=provenance, measured=found.marginal(shared)
        )

    @cached_property
    def _measured_indices(self) -> list[int]:
        return [self.index(name) for name in self.measured.names] if self.measured else []

    def _check_measured(self) -> None:
        """Raise `TaskSpaceError` unless the measured parameters can be drawn."""
        if self.measured is not None and self.fixed is not None:
            raise TaskSpaceError(f"task space {self.name!r}: fixed sets cannot be measured as well")
        for p in (self.parameters[i] for i in self._measured_indices):
            if p.scale not in ("linear", "log") or p.held_out:
                raise TaskSpaceError(
                    f"parameter {p.name!r}: only a linear or a log scale without held-out bands "
                    f"can be measured; it has {p.scale!r} and {len(p.held_out)} bands"
                )

    def _draw_measured(self, measured: Measured, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw (n, k) of the measured parameters."""
        drawn = [self.parameters[i] for i in self._measured_indices]
        low, high = np.array([(p.low, p.high) for p in drawn]).T
        try:
            return measured.sample(n, rng, low, high, np.array([p.scale == "log" for p in drawn]))
        except ValueError as error:
            raise TaskSpaceError(f"task space {self.name!r}: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, as they stand in YAML and in a bundle's manifest."""
        rows = [p.to_dict() for p in self.parameters]
        data = {"name": self.name, "parameters": rows, "provenance": dict(self.provenance)}
        if self.fixed is not None:
            data["fixed"] = asdict(self.fixed)
        if self.measured is not None:
            data["measured"] = self.measured.to_dict()
        return data

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> TaskSpace:
        """Inverse of `to_dict`; an unknown or missing key is an error that names it."""
        unknown = set(data) - {"name", "parameters", "provenance", "fixed", "measured"}
        if unknown or not {"name", "parameters"} <= set(data):
            raise TaskSpaceError(
                f"a task space has keys name, parameters, provenance, fixed, measured; "
                f"got {sorted(data)}"
            )
        rows = data["parameters"]
        if not isinstance(rows, Sequence) or isinstance(rows, str):
            raise TaskSpaceError(f"parameters: expected a list, got {type(rows).__name__}")
        parameters = [Parameter.from_dict(i, row) for i, row in enumerate(rows)]
        provenance, fixed = dict(data.get("provenance", {})), _fixed(data.get("fixed"))
        try:
            measured = Measured.from_dict(data["measured"]) if "measured" in data else None
        except ValueError as error:
            raise TaskSpaceError(f"measured: {error}") from error
        return TaskSpace(data["name"], tuple(parameters), provenance, fixed, measured)

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
        except OSError as error:
            raise TaskSpaceError(f"{path}: {error.strerror or error}") from error
        except (UnicodeDecodeError, yaml.YAMLError, TaskSpaceError) as error:
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

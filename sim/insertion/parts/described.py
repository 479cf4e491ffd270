"""A plug described in a YAML file: its pins' outlines in millimetres, as a drawing gives them.

The nine plugs of the published table in `named/` are such files, and a user's own plug is one
(docs/tasks.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from adapt.settings.words import suggestion
from sim.insertion.parts.outline import PinRow, check_room, row_pins
from sim.insertion.plugs import MM, GeometryError, Pin, Plug
from sim.insertion.shapes import MIN_CLEARANCE

NAMED = Path(__file__).with_name("named")
SUFFIX = ".yaml"
MAX_CLEARANCE = 1 * MM
EXPECTED = {
    "name": "a text that reports call the plug by",
    "unit": "mm",
    "clearance": "a number of mm a side, or [smallest, largest]",
    "pins": "a list of pins",
    "source": "a text that says where the dimensions are from",
    "shape": "rectangular, round, d or shell",
    "at": "[x, y] of its centre in mm",
    "size": "[along x, along y] in mm, of a round pin its diameter",
    "length": "a number of mm",
    "edge": "a number of mm, the radius of the rounding of the pin's end",
    "wall": "a number of mm, a shell's thickness",
}


@dataclass(frozen=True)
class Description:
    """A plug's file. clearance: a side [mm]; one number, or the smallest and the largest."""

    name: str
    unit: Literal["mm"]
    clearance: float | tuple[float, float]
    pins: tuple[PinRow, ...]
    source: str = ""

    @property
    def clearances(self) -> tuple[float, float]:
        """Smallest and largest [m]."""
        both = self.clearance if isinstance(self.clearance, tuple) else (self.clearance,) * 2
        return both[0] * MM, both[1] * MM


@dataclass(frozen=True)
class DescribedPlug:
    """A plug that its plate and its simulation hold, and what its file says of it."""

    description: Description
    plug: Plug = field(repr=False)


def named_plugs() -> list[str]:
    """Names of the plugs of the published table."""
    return sorted(path.stem for path in NAMED.glob(f"*{SUFFIX}"))


def plug_file(plug: str) -> Path:
    """The file of a plug: of a name of the published table, or the path itself.

    Raises GeometryError for a name that there is not.
    """
    if plug.endswith(SUFFIX):
        return Path(plug)
    if plug not in named_plugs():
        raise GeometryError(
            f"no plug {plug!r}{suggestion(plug, named_plugs())}; expected one of "
            f"{', '.join(named_plugs())}, or a file FOLDER/FILE{SUFFIX} (docs/tasks.md)"
        )
    return NAMED / f"{plug}{SUFFIX}"


def described_plug(path: Path) -> DescribedPlug:
    """Read a plug's file. Raises GeometryError naming the file, the pin, the key and its value."""
    try:
        return _described(path, path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise GeometryError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    except yaml.YAMLError as error:
        raise GeometryError(f"{path}: no YAML: {error}") from error
    except GeometryError as error:
        raise GeometryError(f"{path}: {error}") from error


@lru_cache(maxsize=64)
def _described(path: Path, text: str) -> DescribedPlug:
    description = _read(yaml.safe_load(text))
    pins = [_pins(number, row) for number, row in enumerate(description.pins, 1)]
    check_room(pins, description.clearances[1])
    return DescribedPlug(description, Plug(str(path), tuple(p for part in pins for p in part)))


def _read(data: object) -> Description:
    keys = [f.name for f in fields(Description)]
    if not isinstance(data, Mapping):
        raise GeometryError(f"expected the keys {', '.join(keys)}, got {data!r}")
    rows = data.get("pins")
    if isinstance(rows, list):
        for number, row in enumerate(rows, 1):
            if not isinstance(row, Mapping):
                raise GeometryError(
                    f"pin {number} is {row!r}; expected {{shape: …, at: […], size: …, length: …}}"
                )
            _convert(row, PinRow, f"pin {number}: ")
    found: Description = _convert(data, Description, "")
    if not found.pins:
        raise GeometryError("pins is []; expected at least one")
    low, high = found.clearances
    # The negation catches NaN as well.
    if not MIN_CLEARANCE <= low <= high <= MAX_CLEARANCE:
        raise GeometryError(
            f"clearance is {data['clearance']}; expected {MIN_CLEARANCE / MM:g} to "
            f"{MAX_CLEARANCE / MM:g} mm a side, the smallest first: rigid contact resolves no less"
        )
    return found


def _pins(number: int, row: PinRow) -> list[Pin]:
    try:
        return row_pins(row)
    except GeometryError as error:
        raise GeometryError(f"pin {number}: {error}") from error


def _convert(data: Mapping[Any, Any], kind: type[Any], where: str) -> Any:
    """The dataclass that a mapping stands for."""
    known = {f.name: f for f in fields(kind)}
    for key in data:
        if key not in known:
            raise GeometryError(
                f"{where}there is no key {key!r}{suggestion(str(key), known)}; the keys are "
                f"{', '.join(known)}"
            )
    try:
        return msgspec.convert(dict(data), kind)
    except msgspec.ValidationError as error:
        wrong = [key for key in known if f"$.{key}" in str(error) or f"field `{key}`" in str(error)]
        key = wrong[0] if wrong else ""
        if key not in data:
            raise GeometryError(f"{where}lacks {key}: {EXPECTED.get(key, error)}") from error
        raise GeometryError(f"{where}{key} is {data[key]!r}; expected {EXPECTED[key]}") from error

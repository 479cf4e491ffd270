"""What a replay counts, and how it names a difference."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Difference:
    """sequence: of the observation. field: which number. recorded, replayed: to the last bit."""

    sequence: int
    field: str
    recorded: str
    replayed: str


@dataclass
class ReplayResult:
    """What a replay found of one robot.

    replayed: steps compared. idle: steps for which the policy was not asked. learnt: lessons that
    changed the belief. different: steps that differ. left_out: steps that no known state leads to,
    by reason. bundles: digests of the bundles that acted.
    """

    replayed: int = 0
    idle: int = 0
    learnt: int = 0
    episodes: int = 0
    different: int = 0
    first: Difference | None = None
    left_out: Counter[str] = field(default_factory=Counter)
    bundles: set[str] = field(default_factory=set)


def difference(sequence: int, name: str, recorded: Array, replayed: Array) -> Difference:
    """Names the first number whose bits differ between two arrays (n,); there must be one."""
    if recorded.shape != replayed.shape:
        shapes = f"shape {recorded.shape}", f"shape {replayed.shape}"
        return Difference(sequence, name, *shapes)
    index = next(
        index
        for index in range(recorded.size)
        if recorded[index].tobytes() != replayed[index].tobytes()
    )
    texts = (f"{value!s} ({float(value).hex()})" for value in (recorded[index], replayed[index]))
    return Difference(sequence, f"{name}[{index}]", *texts)

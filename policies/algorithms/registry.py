"""The algorithms by name, each imported when it is asked for.

An installed package adds its own by an entry point of the group "acclimate.algorithms" that names
an `Algorithm`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points

from adapt.errors import AcclimateError
from adapt.settings import Choice, compose
from policies.algorithms.contract import Algorithm
from policies.training.settings import TrainSettings

GROUP = "acclimate.algorithms"
OURS = tuple(
    EntryPoint(name, f"policies.algorithms.{name}:ALGORITHM", GROUP)
    for name in ("pearl", "maesn", "ppo")
)


def algorithms() -> dict[str, EntryPoint]:
    """All algorithms by name; another package's never replaces ours."""
    return {each.name: each for each in (*entry_points(group=GROUP), *OURS)}


def algorithm(name: str) -> Algorithm:
    """Raises AcclimateError for a name without an algorithm, or whose package does not import."""
    known = algorithms()
    if name not in known:
        raise AcclimateError(f"algorithm {name!r}; there are {', '.join(sorted(known))}")
    try:
        found = known[name].load()
    except (ImportError, AttributeError) as error:
        raise AcclimateError(f"algorithm {name!r}: {known[name].value}: {error}") from error
    if not isinstance(found, Algorithm):
        raise AcclimateError(
            f"algorithm {name!r}: {known[name].value} is a {type(found).__name__}; expected a "
            "policies.algorithms.contract.Algorithm"
        )
    return found


def settings_type(values: object) -> type[TrainSettings]:
    """The settings' type by their key `algorithm`; runs older than that key are PEARL's."""
    name = values.get("algorithm", "pearl") if isinstance(values, Mapping) else "pearl"
    return algorithm(str(name)).settings


def choice() -> Choice:
    """The algorithms' settings by name; another package's that does not load is left out."""
    options: dict[str, type[TrainSettings]] = {}
    for name in algorithms():
        try:
            options[name] = algorithm(name).settings
        except AcclimateError as error:
            print(f"left out: {error}", file=sys.stderr)
    return Choice("algorithm", options)


def train_settings(words: Sequence[str], help: str = "") -> TrainSettings:
    """The settings that `acclimate train` takes from the words of a command line."""
    return compose("train", choice(), words, help)

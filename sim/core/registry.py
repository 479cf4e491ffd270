"""Finds a task family by its name.

A family of ours stands in `FAMILIES`; another package's is found by its entry point in the group
"acclimate.families"; any object by `package.module:NAME` (docs/families.md). A family is imported
when it is asked for.
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points

from adapt.errors import AcclimateError
from sim.core.family import Family

GROUP = "acclimate.families"
FAMILIES = {
    "insertion": "sim.insertion.family:FAMILY",
    "point-sparse": "sim.benchmarks.point:FAMILY",
    "cheetah-vel": "sim.benchmarks.cheetah:VEL_FAMILY",
    "cheetah-dir": "sim.benchmarks.cheetah:DIR_FAMILY",
    "ant-goal": "sim.benchmarks.ant:GOAL_FAMILY",
    "ant-dir": "sim.benchmarks.ant:DIR_FAMILY",
    "walker-params": "sim.benchmarks.walker:FAMILY",
}
"""Name → package.module:NAME."""


def family_names() -> dict[str, str]:
    """Name → package.module:NAME of every installed family; a name of ours cannot be replaced."""
    found = {point.name: point.value for point in entry_points(group=GROUP)}
    return found | FAMILIES


def family(name: str) -> Family:
    """The family of that name, or at `package.module:NAME`.

    Raises AcclimateError if there is none, or if it is not a `Family`.
    """
    path = name if ":" in name else family_names().get(name)
    if path is None:
        raise AcclimateError(
            f"no task family {name!r}; there are {sorted(family_names())}, and "
            "package.module:NAME for one of your own"
        )
    module, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    # An empty or a relative name has errors of its own.
    except (ModuleNotFoundError, TypeError, ValueError) as error:
        raise AcclimateError(
            f"task family {name!r}: {error}; install its package, or name its folder in PYTHONPATH"
        ) from error
    if not isinstance(found, Family):
        what = "nothing" if found is None else f"a {type(found).__name__}"
        raise AcclimateError(
            f"task family {name!r}: {module} holds {what} under {attribute!r}; expected a Family"
        )
    return found

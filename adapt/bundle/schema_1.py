"""Manifests of schema 1, which knew three algorithms by name, read as schema 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ALGORITHMS = ("pearl", "maesn", "none")
# Keys of schema 2 that schema 1 would have refused.
NEWER = ("phases", "synchronous", "reward")
NEWER_IN_FIELDS = ("description", "frame", "convention", "elements", "offset")


def upgraded(old: Mapping[str, Any]) -> dict[str, Any]:
    """The same manifest in schema 2, as plain values; it is checked after that as any other.
    Raises ValueError."""
    new = {**old, "schema_version": 2}
    for key in NEWER:
        if key in old:
            raise ValueError(f"Object contains unknown field `{key}`")
    for group in ("observation", "action"):
        for field in old.get(group) or ():
            for key in NEWER_IN_FIELDS:
                if isinstance(field, Mapping) and key in field:
                    raise ValueError(f"Object contains unknown field `{key}` - at `$.{group}`")
    algorithm, step = old.get("algorithm"), new.pop("latent_step", None)
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm {algorithm!r}; expected one of {', '.join(ALGORITHMS)}")
    if (step is not None) != (algorithm == "maesn"):
        raise ValueError(
            f"algorithm {algorithm!r} with {'a' if step else 'no'} latent_step; 'maesn' needs one, "
            "and no other algorithm has it"
        )
    context = new.pop("context", None)
    if not isinstance(context, Mapping):
        raise ValueError("Object missing required field `context`")
    if algorithm == "pearl":
        row, rest = dict(context), {}
        if "capacity" in row:
            rest["capacity"] = row.pop("capacity")
        new["algorithm"] = {"kind": "gaussian", "transition": row, **rest}
    elif algorithm == "maesn":
        if not isinstance(step, Mapping):
            raise ValueError("Expected `object` - at `$.latent_step`")
        new["algorithm"] = {**step, "kind": "stepped"}
    else:
        new["algorithm"] = {"kind": "none"}
    return new

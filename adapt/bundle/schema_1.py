"""Manifests of schema 1, which knew three algorithms by name, read as schema 2."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

ALGORITHMS = ("pearl", "maesn", "none")
# Keys of schema 2 that schema 1 would have refused.
NEWER = ("phases", "synchronous", "reward", "factor_terms")
NEWER_IN_FIELDS = ("description", "frame", "convention", "elements", "offset")

# What insertion's factors are sums of, with weights. Schema 1 did not say so, and no other family
# had bundles in it.
SUMS = {
    "seat_x": {"socket_x": 1.0, "grasp_x": -1.0},
    "seat_y": {"socket_y": 1.0, "grasp_y": -1.0},
    "seat_yaw": {"socket_yaw": 1.0, "grasp_yaw": -1.0},
    "face_z": {"socket_z": 1.0},
}


class _Range(msgspec.Struct):
    """A uniform parameter of a task space."""

    name: str
    low: float
    high: float


class _Space(msgspec.Struct):
    name: str
    parameters: list[_Range]


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
    if terms := _factor_terms(old):
        new["factor_terms"] = terms
    return new


def _factor_terms(old: Mapping[str, Any]) -> dict[str, Any]:
    """The terms of insertion's factors, with their spread over the manifest's own task space."""
    try:
        factors = {factor["name"] for factor in old["latent"]["factors"]}
        space = msgspec.convert(old["task_space"], _Space)
    except (KeyError, TypeError, msgspec.ValidationError):
        # The latent is checked later, with a better message; a task space may be of any form.
        return {}
    if space.name != "insertion":
        return {}
    std = {each.name: (each.high - each.low) / math.sqrt(12) for each in space.parameters}
    return {
        factor: [{"name": n, "weight": w, "std": std[n]} for n, w in weights.items()]
        for factor, weights in SUMS.items()
        if factor in factors and weights.keys() <= std.keys()
    }

"""Families of the named plugs under a harder condition, for a twin: `family=` takes
`benchmarks.support.harder_plugs:PLUG, CONDITION`, such as `us_ac, 2° tilt`."""

from __future__ import annotations

from dataclasses import replace

from sim.core.family import Family
from sim.insertion.family import FAMILY
from sim.insertion.parts.described import plug_file
from sim.insertion.parts.spaces import plug_space


def __getattr__(name: str) -> Family:
    """The family of that name (PEP 562)."""
    plug, comma, condition = name.partition(", ")
    if not comma:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return replace(FAMILY, space=plug_space(plug_file(plug), condition))

"""Finds a plug that is none of the first families: a procedural one, or one described in a file."""

from __future__ import annotations

from sim.insertion.parts.described import described_plug, plug_file
from sim.insertion.parts.procedural import PROCEDURAL, procedural_plug
from sim.insertion.plugs import TITLES, Plug, Shape


def catalogue_plug(family: str, size: float, shape: Shape) -> Plug:
    """The plug of a procedural family, at one size and shape, or of a file, which has neither.

    family: a name in `PROCEDURAL`, one of the published table, or a file's path. Raises
    GeometryError.
    """
    if family in PROCEDURAL:
        return procedural_plug(family, size, shape)
    return described_plug(plug_file(family)).plug


def plug_title(family: str) -> str:
    """A plug's name for people."""
    if family in TITLES:
        return TITLES[family]
    if family in PROCEDURAL:
        return f"plug of no standard, {family.replace('_', ' ')}"
    return described_plug(plug_file(family)).description.name

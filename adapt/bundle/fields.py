"""What a bundle says about the numbers that a robot sends and takes: names, units, frames, bounds.

Legend: n_o observation, n_a action, n_z latent. The order of fields is the order in the arrays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

# Refused too: NaN and infinity, which MessagePack can carry and no comparison would catch.
Finite = Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)]
Positive = Annotated[float, msgspec.Meta(gt=0.0, le=1e300)]
# A latent is float32, and a normalised quantity: far larger is a mistake.
Modest = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Text = Annotated[str, msgspec.Meta(max_length=4096)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Dimension = Annotated[int, msgspec.Meta(ge=1, le=65_536)]

# float32 keeps 24 bits. A scale that is smaller than this part of its offset would leave fewer than
# 12 bits for the action.
LEAST_SCALE = 2.0**-12


class Meaning(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """What a person needs to write the robot's driver; no program reads it.

    description: what is measured or commanded. frame: of coordinates, and where its origin is.
    convention: of rotations and signs, such as whose force acts on whom. elements: a name for each
    number of the field, or none.
    """

    description: Text = ""
    frame: Text = ""
    convention: Text = ""
    elements: tuple[Name, ...] = ()


class Field(Meaning, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A named stretch of an array. low, high: physical validity bounds in `unit`."""

    name: Name
    shape: tuple[Dimension, ...]
    unit: str
    low: Finite
    high: Finite

    @property
    def size(self) -> int:
        """Numbers in the field; a field of shape () holds one."""
        return math.prod(self.shape)


class ActionField(Field, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """physical [unit] = offset + scale x normalised action in [-1, 1]; the whole of it within low,
    high. A robot that stands still is at the offset."""

    scale: Positive
    offset: Finite = 0.0


class Factor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Meaning of one latent dimension: quantity [unit] = offset + scale x latent[index]."""

    name: Name
    unit: str
    offset: Finite
    scale: Finite
    index: Count


class Term(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One quantity of a factor that is a sum: factor = constant + sum of weight x quantity, all in
    the factor's unit. mean, std: of the quantity over training's tasks."""

    name: Name
    std: Positive
    weight: Finite = 1.0
    mean: Finite = 0.0


class Latent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The latent of size n_z and its Gaussian prior.

    hold: control periods for which a drawn latent is kept; 0 keeps it for the whole episode.
    exploration: latents are drawn with the belief's standard deviations times this. Above 1 it
        reaches the corners of a uniform task space, which a Gaussian of its variance undersamples.
    factors: empty where the latent has no physical meaning.
    """

    size: Count
    prior_mean: list[Modest]
    prior_variance: list[Annotated[float, msgspec.Meta(ge=1e-12, le=1e12)]]
    hold: Count
    factors: list[Factor]
    exploration: Annotated[float, msgspec.Meta(gt=0.0, le=100.0)] = 1.0

    def problems(self) -> list[str]:
        """What is wrong with it, each as one sentence."""
        lists = {"prior_mean": self.prior_mean, "prior_variance": self.prior_variance}
        return [
            f"latent.{key} has {len(values)} numbers; latent.size is {self.size}"
            for key, values in lists.items()
            if len(values) != self.size
        ] + [
            f"factor {factor.name!r}: index {factor.index} lies outside latent.size {self.size}"
            for factor in self.factors
            if factor.index >= self.size
        ]


Quantity = Literal["position", "velocity", "effort", "workspace", "force", "rate"]


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """low and high [unit] bound `quantity` of the observation or action field named `field`.

    elements: which of the field's numbers; empty for all. A rate is their change from one control
    period to the next, divided by the period; of an action, the change of the command, which
    counts from the field's offset where a robot stood still.
    """

    quantity: Quantity
    field: Name
    low: Finite
    high: Finite
    unit: str
    reason: str
    elements: list[Count] = []


def field_problems(group: str, fields: Sequence[Field]) -> list[str]:
    """What is wrong with a group of fields, each as one sentence."""
    problems = [] if fields else [f"{group} has no fields"]
    seen: set[str] = set()
    for field in fields:
        where = f"{group} field {field.name!r}"
        if field.name in seen:
            problems.append(f"{where} appears twice")
        seen.add(field.name)
        if not field.low < field.high:
            problems.append(f"{where}: low {field.low} is not below high {field.high}")
        if len(field.elements) not in (0, field.size):
            problems.append(
                f"{where}: elements names {len(field.elements)} numbers; it has {field.size}"
            )
    return problems


def action_problems(fields: Sequence[ActionField]) -> list[str]:
    """What is wrong with the action's mapping to physical units, each as one sentence."""
    problems: list[str] = []
    for field in fields:
        low, high = field.offset - field.scale, field.offset + field.scale
        # Then clamping never alters what the policy asked for, and the context stays truthful.
        if field.low > low or field.high < high:
            asked = f"±{field.scale}" if not field.offset else f"{low} to {high}"
            problems.append(
                f"action field {field.name!r}: range {field.low} to {field.high} does not hold "
                f"the actions the policy can ask for, offset - scale to offset + scale = {asked}"
            )
        if field.scale < LEAST_SCALE * abs(field.offset):
            problems.append(
                f"action field {field.name!r}: float32 cannot resolve scale {field.scale} about "
                f"offset {field.offset}; expected at least {LEAST_SCALE * abs(field.offset):g}"
            )
    return problems


def limit_problems(limits: Sequence[Limit], fields: Sequence[Field]) -> list[str]:
    """What is wrong with limits on these fields, each as one sentence."""
    problems: list[str] = []
    sizes = {field.name: field.size for field in fields}
    for limit in limits:
        where = f"limit on {limit.field!r}"
        if limit.field not in sizes:
            problems.append(f"{where}: no such field; the fields are {', '.join(sizes)}")
        elif limit.elements and max(limit.elements) >= sizes[limit.field]:
            problems.append(
                f"{where}: element {max(limit.elements)}; it has {sizes[limit.field]}, counted "
                "from 0"
            )
        if not limit.low < limit.high:
            problems.append(f"{where}: low {limit.low} is not below high {limit.high}")
    return problems

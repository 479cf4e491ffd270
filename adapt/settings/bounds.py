"""Bounds that many settings share. Not a number and infinity are refused for every setting."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

Count = Annotated[int, Meta(ge=1)]
WholeNumber = Annotated[int, Meta(ge=0)]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, Meta(gt=0.0)]
NonNegative = Annotated[float, Meta(ge=0.0)]
Widths = Annotated[tuple[Count, ...], Meta(min_length=1)]
"""Of a network's hidden layers, at least one."""

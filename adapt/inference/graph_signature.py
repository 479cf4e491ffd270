"""What a graph takes and gives: names and widths of its arrays."""

from __future__ import annotations

import msgspec


class GraphSignature(msgspec.Struct, frozen=True):
    """Names and widths of a graph's float32 inputs and outputs, each of shape (batch, width)."""

    inputs: dict[str, int]
    outputs: dict[str, int]

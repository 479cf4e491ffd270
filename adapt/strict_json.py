"""JSON from outside: a key that is given twice is refused, not read by its last value."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def parse(data: bytes, kind: type[T]) -> T:
    """`data` as a value of the type `kind`. Raises ValueError naming what is wrong."""
    try:
        # Twice, because msgspec keeps the last of two equal keys and does not say so.
        json.loads(data.decode(), object_pairs_hook=_once)
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error
    # Brackets within brackets, a thousand deep.
    except RecursionError:
        raise ValueError("brackets are nested too deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {twice!r} is given twice in one object")

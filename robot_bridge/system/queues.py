"""Queues by which threads tell the loop what has happened."""

from __future__ import annotations

from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


def drained(waiting: SimpleQueue[T]) -> list[T]:
    """Everything that is in a queue now, oldest first. For its only reader."""
    found: list[T] = []
    while not waiting.empty():
        found.append(waiting.get())
    return found

"""Clients with one exchange per period, like a robot's driver, and their measurements."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.support.clients import Client
from robot_bridge.system.clock import Rate

Float64 = npt.NDArray[np.float64]
# Until caches are warm and both ends sleep regularly between exchanges [s].
WARM_UP = 0.3


@dataclass
class Track:
    """Durations of exchanges [s], over all blocks of a client. missed: periods in which no exchange
    began because the one before took too long."""

    blocks: list[Float64]
    missed: int = 0

    @property
    def all(self) -> Float64:
        return np.concatenate(self.blocks)

    def quantiles(self) -> dict[str, float]:
        """By name [s]."""
        values = np.percentile(self.all, [50, 99, 99.9, 100])
        return dict(zip(("p50", "p99", "p99.9", "max"), values.tolist(), strict=True))


def run(track: Track, exchange: Callable[[], object], period: float, seconds: float) -> None:
    """Call exchange every `period` [s], and keep how long each call took."""
    with _undisturbed():
        _repeat(exchange, period, max(20, round(WARM_UP / period)))
        durations, missed = _repeat(exchange, period, max(20, round(seconds / period)))
    track.blocks.append(durations)
    track.missed += missed


def take_turns(
    tracks: Sequence[tuple[Track, Client]], period: float, seconds: float, turns: int
) -> None:
    """Run every track for `seconds`, in turns, so that other work on the machine affects all."""
    for _ in range(turns):
        for track, client in tracks:
            run(track, client.exchange, period, seconds / turns)
            client.rest()


def _repeat(exchange: Callable[[], object], period: float, count: int) -> tuple[Float64, int]:
    durations = np.empty(count, np.int64)
    rate = Rate(period)
    for index in range(count):
        rate.wait()
        start = time.perf_counter_ns()
        exchange()
        durations[index] = time.perf_counter_ns() - start
    return durations / 1e9, rate.missed


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Without pauses of the garbage collector, as in a driver."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()

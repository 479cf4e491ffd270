"""Durations in an HDR histogram: any quantile of any number of them, to two digits.

prometheus_client's own Histogram has no quantiles, and takes several times as long for each value.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hdrh.histogram import HdrHistogram

LONGEST_NS = 60_000_000_000  # longer ones count as this
DIGITS = 2  # off by less than 1 %; each further digit costs ten times the memory and the reading


class Durations:
    """Counts of durations [ns] since the start and of the last while. One thread at a time.

    The counters are an HdrHistogram's own. Its methods take microseconds a value; `add` takes some
    0.3, and quantiles are read from all counters at once.
    """

    def __init__(self) -> None:
        self.histogram = HdrHistogram(1, LONGEST_NS, DIGITS)
        # A view of the histogram's own counters.
        self._counts = np.frombuffer(self.histogram.counts, np.uint64).view(np.int64)
        self._cells = self._counts.data  # the same, four times faster one by one
        self.total_ns = 0
        self._older = self._newer = np.zeros_like(self._counts)

    @property
    def count(self) -> int:
        return self.histogram.total_count

    def add(self, values: Sequence[int]) -> None:
        """Take in durations [ns]; what is negative or too long counts as the nearest end."""
        if not values:
            return
        histogram, cells = self.histogram, self._cells
        kept = [0 if v < 0 else LONGEST_NS if v > LONGEST_NS else v for v in values]
        for index in self._indices(kept):
            cells[index] += 1
        histogram.total_count += len(kept)
        histogram.min_value = min(histogram.min_value, *kept)
        histogram.max_value = max(histogram.max_value, *kept)
        self.total_ns += sum(kept)

    def turn(self) -> None:
        """Begin a new interval: `recent` then covers the one before and this one."""
        self._older, self._newer = self._newer, self._counts.copy()

    def quantiles(self, fractions: Sequence[float], recent: bool = False) -> list[int]:
        """The duration [ns] that a fraction of all lies at or below, for each fraction in [0, 1];
        zeros when there are none. recent: of the last two intervals alone."""
        counts = self._counts - self._older if recent else self._counts
        total = int(counts.sum())
        if not total:
            return [0] * len(fractions)
        ranks = [max(1, int(fraction * total + 0.5)) for fraction in fractions]
        histogram = self.histogram
        return [
            histogram.get_highest_equivalent_value(histogram.get_value_from_index(int(index)))
            for index in np.searchsorted(np.cumsum(counts), ranks)
        ]

    def below(self, edges_ns: Sequence[int]) -> list[int]:
        """How many durations lie at or below each edge [ns], to the histogram's resolution."""
        sums = np.cumsum(self._counts)
        return [int(sums[index]) for index in self._indices(edges_ns)]

    def _indices(self, values: Sequence[int]) -> list[int]:
        """Which counter each value belongs to: HdrHistogram's own arithmetic."""
        histogram = self.histogram
        mask, half = histogram.sub_bucket_mask, histogram.sub_bucket_half_count
        magnitude = histogram.sub_bucket_half_count_magnitude
        return [
            (((bucket := (value | mask).bit_length() - magnitude - 1) + 1) << magnitude)
            + (value >> bucket)
            - half
            for value in values
        ]

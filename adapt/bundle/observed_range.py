"""Seen: what training observed, in numbers that a manifest can carry."""

from __future__ import annotations

import msgspec


class Seen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Number by number of the observation: each list is (n_o,), in the fields' units.

    rows: observations behind it. low, high: the smallest and the largest of them.
    """

    rows: int
    mean: list[float]
    std: list[float]
    low: list[float]
    high: list[float]

    def problems(self, size: int) -> list[str]:
        """What is wrong with it for an observation of `size` numbers, each as one sentence."""
        lists = {"mean": self.mean, "std": self.std, "low": self.low, "high": self.high}
        found = [
            f"seen.{name} has {len(values)} numbers; the observation has {size}"
            for name, values in lists.items()
            if len(values) != size
        ]
        if found:
            return found
        return [
            f"seen: number {index} has std {std}, low {low}, high {high}; expected std >= 0 and "
            "low <= high"
            for index, (std, low, high) in enumerate(
                zip(self.std, self.low, self.high, strict=True)
            )
            # A NaN compares false, so this refuses it too.
            if not (std >= 0.0 and low <= high)
        ]

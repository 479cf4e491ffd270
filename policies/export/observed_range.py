"""What a run's training observed, for the guard on the robot."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from adapt.bundle.observed_range import Seen
from policies.training.checkpoint import load_checkpoint

CHECKPOINT = "checkpoint.pt"


def seen_in(run: Path) -> Seen | None:
    """Of every valid step in a run folder's replay; None where there is no checkpoint.

    Raises CheckpointError for one that cannot be read.
    """
    path = run / CHECKPOINT
    if not path.is_file():
        return None
    replay = load_checkpoint(path).get("replay")
    if replay is None:
        return None
    arrays = replay["arrays"]
    kept = arrays["valid"].numpy().astype(bool)
    return summary(arrays["observation"].numpy()[kept])


def summary(rows: np.ndarray) -> Seen | None:
    """rows: (N, n_o); None without any."""
    if not len(rows):
        return None
    # Summed in double precision: a million float32 lose the digits that a small spread needs.
    wide = rows.astype(np.float64)
    return Seen(
        rows=len(rows),
        mean=wide.mean(axis=0).tolist(),
        std=wide.std(axis=0).tolist(),
        low=wide.min(axis=0).tolist(),
        high=wide.max(axis=0).tolist(),
    )

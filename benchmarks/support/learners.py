"""Trained runs of one algorithm, for benchmarks that measure its insides."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from adapt.errors import AcclimateError
from policies.training.runs import load_best
from policies.training.trainer import Trainer

L = TypeVar("L")


def expect(found: object, kind: type[L]) -> L:
    """`found`, checked to be of this kind. Raises AcclimateError if it is of another algorithm."""
    if not isinstance(found, kind):
        raise AcclimateError(f"found a {type(found).__name__}; expected a {kind.__name__}")
    return found


def best_of(run: Path, kind: type[L]) -> tuple[Trainer, L]:
    """A run's best networks: the trainer and its learner."""
    trainer, _ = load_best(run)
    return trainer, expect(trainer.learner, kind)

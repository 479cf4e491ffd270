"""Trained networks of one algorithm, for benchmarks that measure its insides."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from adapt.bundle.policy_bundle import PolicyBundle
from adapt.errors import AcclimateError
from policies.algorithms.pearl.agent import PearlPolicy
from policies.algorithms.pearl.config import PearlConfig
from policies.algorithms.pearl.learner import PearlLearner
from policies.algorithms.pearl.networks import PearlNetworks
from policies.algorithms.pearl.start import states_of
from policies.training.runs import load_best
from policies.training.trainer import Trainer
from sim.core.registry import family

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


def policy_of(source: Path) -> PearlPolicy:
    """The policy of a run of PEARL, or of a bundle that was exported from one."""
    if (source / "settings.yaml").is_file():
        return best_of(source, PearlLearner)[1].policy()
    settings = PolicyBundle.load(source).manifest.training["settings"]
    config = msgspec.convert(settings["learner"], PearlConfig)
    networks = PearlNetworks(family(settings["family"]).spec, config, 0, "cpu", False)
    networks.take_over(states_of(source), source)
    return PearlPolicy.of(networks.actor, networks.encoder, networks.n_z, config)

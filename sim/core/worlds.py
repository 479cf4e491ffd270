"""The interface of a batch of simulated worlds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from adapt.bundle.fields import ActionField, Factor, Field, Limit, Term
from sim.core.task_space import Task


@dataclass(frozen=True)
class Step:
    """One control step of B worlds.

    observation: (B, n_o) float32, what the robot measures, after the step.
    reward: (B,) what critics are trained on; may use what no robot can measure.
    measured_reward: (B,) what a robot can measure of its success; goes into the context.
    discount: (B,) 0 at a terminal state, else 1.
    truncated: (B,) the episode ran out of time.
    success: (B,) the episode has succeeded, by the task's own definition.
    diverged: (B,) the physics failed; this step must be neither learned from nor judged.
    """

    observation: np.ndarray
    reward: np.ndarray
    measured_reward: np.ndarray
    discount: np.ndarray
    truncated: np.ndarray
    success: np.ndarray
    diverged: np.ndarray

    @property
    def done(self) -> np.ndarray:
        """(B,) the world must be reset before its next step."""
        return (self.discount == 0) | self.truncated | self.diverged


@dataclass(frozen=True)
class WorldSpec:
    """Sizes, units and time of a family of worlds.

    factors: the privileged quantities that a grounded latent represents. Factor i is offset + scale
        × latent dimension i, in `unit`; the latent's prior is standard normal.
    factor_terms: the parameters of factors that are sums, by factor; a prior measured of one of
        them is then understood.
    reward: the measured reward in words, as a robot computes it; goes into the bundle, as the
        fields' meanings do.
    limits: what a robot that runs a policy of this family must never exceed.
    """

    name: str
    observation: tuple[Field, ...]
    action: tuple[ActionField, ...]
    factors: tuple[Factor, ...]
    control_period: float
    horizon: int
    limits: tuple[Limit, ...] = ()
    reward: str = ""
    factor_terms: Mapping[str, tuple[Term, ...]] = field(default_factory=dict)

    @property
    def observation_size(self) -> int:
        return sum(f.size for f in self.observation)

    @property
    def action_size(self) -> int:
        return sum(f.size for f in self.action)

    def columns(self, field: str) -> slice:
        """Where an observation (..., n_o) holds the field of that name."""
        names = [f.name for f in self.observation]
        start = sum(f.size for f in self.observation[: names.index(field)])
        return slice(start, start + self.observation[names.index(field)].size)


def check_action(action: np.ndarray, worlds: int, spec: WorldSpec) -> np.ndarray:
    """The action (B, n_a) clipped to [−1, 1]; a wrong shape or a NaN is an error that names it."""
    if action.shape != (worlds, spec.action_size):
        raise ValueError(f"action has shape {action.shape}, expected {(worlds, spec.action_size)}")
    if not np.isfinite(action).all():
        world, axis = np.argwhere(~np.isfinite(action))[0]
        names = [f.name for f in spec.action for _ in range(f.size)]
        raise ValueError(f"action {names[axis]!r} of world {world} is {action[world, axis]}")
    return np.clip(action, -1.0, 1.0)


class Worlds(Protocol):
    """B worlds, each on a task of its own."""

    spec: WorldSpec
    worlds: int
    rng: np.random.Generator

    def assign(self, tasks: Sequence[Task]) -> None:
        """Give every world a task (B); each must be reset before its next step."""
        ...

    def factors(self) -> np.ndarray:
        """The tasks' factors (B, n_f), standardised: mean 0, variance 1 over the task space."""
        ...

    def reset(self, which: np.ndarray) -> np.ndarray:
        """Start an episode in the worlds where which (B,) is True; observation (B, n_o)."""
        ...

    def step(self, action: np.ndarray) -> Step:
        """Advance every world by one control period; action (B, n_a) in [−1, 1]."""
        ...

    def close(self) -> None: ...

"""BatchSim: B worlds, each with its own physical parameters, stepped by one C++ call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import mujoco.rollout
import numpy as np

from adapt.errors import AcclimateError

MAX_SPEED = 1e3
"""Joint speed [m/s or rad/s] above which a world counts as diverged."""


class SimulationError(AcclimateError):
    """Models that cannot be stepped together, or states and controls of the wrong shape."""


@dataclass(frozen=True)
class Trajectory:
    """What one control step of n substeps did.

    state: (B, n, n_state) full physics state after each substep: time, positions, velocities.
    sensors: (B, n, n_sensor).
    diverged: (B,) True where the state stopped being finite, exploded, or MuJoCo reset the world.
    """

    state: np.ndarray
    sensors: np.ndarray
    diverged: np.ndarray


class BatchSim:
    """B worlds of equal sizes in `mujoco.rollout`'s thread pool.

    The physics state of world b is `state[b]`, and nothing else persists between calls: writing its
    row resets a world.

    Args:
        models: one per world, all of the same size signature; see `set_model`.
        threads: worker threads of the pool.
    """

    def __init__(self, models: Sequence[mujoco.MjModel], threads: int) -> None:
        if not models:
            raise SimulationError("BatchSim needs at least one world")
        if threads < 1:
            raise SimulationError(f"threads must be at least 1, got {threads}")
        self._models = list(models)
        self._signature = models[0].signature
        for world, model in enumerate(models):
            self._check(world, model)
        first = models[0]
        self.nq, self.nv, self.nu = first.nq, first.nv, first.nu
        self.timestep = first.opt.timestep
        self._data = [mujoco.MjData(first) for _ in range(threads)]
        self._pool = mujoco.rollout.Rollout(nthread=threads)
        self.state = np.zeros((len(models), 1 + self.nq + self.nv + first.na))

    @property
    def worlds(self) -> int:
        return len(self._models)

    @property
    def qpos(self) -> np.ndarray:
        """Positions (B, n_q), a view of `state`."""
        return self.state[:, 1 : 1 + self.nq]

    @property
    def qvel(self) -> np.ndarray:
        """Velocities (B, n_v), a view of `state`."""
        return self.state[:, 1 + self.nq : 1 + self.nq + self.nv]

    def model(self, world: int) -> mujoco.MjModel:
        return self._models[world]

    def set_model(self, world: int, model: mujoco.MjModel) -> None:
        """Give a world other physical parameters: a model of the same sizes."""
        self._check(world, model)
        self._models[world] = model

    def step(self, control: np.ndarray, substeps: int) -> Trajectory:
        """Advance every world by `substeps` physics steps.

        control: (B, n_u), held; or (B, substeps, n_u), one for each physics step. A diverged
        world keeps the state it had before the call; the caller resets it.
        """
        held = control.shape == (self.worlds, self.nu)
        if not held and control.shape != (self.worlds, substeps, self.nu):
            raise SimulationError(
                f"control has shape {control.shape}, expected {(self.worlds, self.nu)} or "
                f"{(self.worlds, substeps, self.nu)}"
            )
        state, sensors = self._pool.rollout(
            self._models,
            self._data,
            self.state,
            control[:, None, :] if held else control,
            nstep=substeps,
        )
        last = state[:, -1]
        # MuJoCo itself resets a world with a bad acceleration; only the clock shows it.
        expected = self.state[:, 0] + substeps * self.timestep
        speed = np.abs(last[:, 1 + self.nq : 1 + self.nq + self.nv]).max(axis=1, initial=0.0)
        healthy = np.isfinite(last).all(axis=1) & np.isfinite(sensors).all(axis=(1, 2))
        healthy &= np.abs(last[:, 0] - expected) < 0.5 * self.timestep
        healthy &= speed < MAX_SPEED
        self.state[healthy] = last[healthy]
        return Trajectory(state, sensors, ~healthy)

    def close(self) -> None:
        """Stop the worker threads."""
        self._pool.close()

    def _check(self, world: int, model: mujoco.MjModel) -> None:
        if model.signature != self._signature:
            raise SimulationError(
                f"world {world}: its model's sizes differ from world 0's "
                f"(n_q {model.nq}, n_v {model.nv}, geoms {model.ngeom}); pad both to the same"
            )

"""What carries the plug, the wrist rig or the arm, as the task sees it: a tool.

The insertion task reads the tool's measured pose and the wrench at its tip from a body, and gives
it a reference pose. Six springs or six joints may lie between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import mujoco
import numpy as np

from sim.core.batch import BatchSim
from sim.core.scene import View
from sim.core.task_space import Task
from sim.insertion.wrist import SPRING_START, delay_steps, seat_pose, task_plug, wrist_model


@dataclass(frozen=True)
class Motion:
    """What one control step of n physics steps did.

    wrench: (B, n, 6) force [N] and torque about the tip [N·m] that the wrist exerts on the plug, in
        the plug's frame, without bias or noise. Pressing down on a socket gives a negative z.
    diverged: (B,) True where the physics failed; that world is back where it was before.
    """

    wrench: np.ndarray
    diverged: np.ndarray


class Body(Protocol):
    """B tools under Cartesian impedance control, each over a socket of its own.

    overview: a camera on the whole robot, for films; None for a tool without one.
    """

    overview: View | None

    @property
    def qpos(self) -> np.ndarray:
        """Pose of the nominal tip (B, 6): x, y, z [m], then yaw, pitch, roll [rad], each about an
        axis that the ones before have turned. In the nominal socket frame."""
        ...

    @property
    def qvel(self) -> np.ndarray:
        """Rates of change of `qpos` (B, 6) [m/s, rad/s]."""
        ...

    def assign(self, tasks: Sequence[Task]) -> None:
        """Give every world its plug, socket and controller."""
        ...

    def place(self, which: np.ndarray, pose: np.ndarray) -> None:
        """Bring the n worlds where which (B,) is True to rest at pose (n, 6)."""
        ...

    def step(self, reference: np.ndarray, substeps: int) -> Motion:
        """Hold the reference pose (B, 6) for `substeps` steps of `sim.insertion.wrist.TIMESTEP`."""
        ...

    def model(self, world: int) -> mujoco.MjModel:
        """The physics of one world, for pictures."""
        ...

    def configuration(self, world: int) -> np.ndarray:
        """Joint positions of `model(world)` (n_q,), for pictures."""
        ...

    def close(self) -> None: ...


class WristBody:
    """B wrist rigs in one batch.

    threads: of the physics.
    """

    overview: View | None = None

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._cache: dict[tuple[str, bytes], mujoco.MjModel] = {}
        self._sim: BatchSim | None = None

    @property
    def sim(self) -> BatchSim:
        if self._sim is None:
            raise RuntimeError("assign tasks to the worlds first")
        return self._sim

    @property
    def qpos(self) -> np.ndarray:
        return self.sim.qpos

    @property
    def qvel(self) -> np.ndarray:
        return self.sim.qvel

    def assign(self, tasks: Sequence[Task]) -> None:
        # Compiling takes 40 ms, so tasks that stay keep their models.
        known, self._cache = self._cache, {}
        # Of two plugs from files, values may be equal.
        keys = [(t.choice("family"), t.values.tobytes()) for t in tasks]
        for key, task in zip(keys, tasks, strict=True):
            if key not in self._cache:
                self._cache[key] = known[key] if key in known else wrist_model(task)
        models = [self._cache[key] for key in keys]
        if self._sim is None:
            self._sim = BatchSim(models, self._threads)
        else:
            for world, model in enumerate(models):
                self._sim.set_model(world, model)
        self._face = np.array([seat_pose(t).z for t in tasks])
        self._travel = np.array([task_plug(t).depth for t in tasks]) - SPRING_START
        self._retention = np.array([t["retention"] for t in tasks])
        self._delay = np.array([delay_steps(t) for t in tasks])
        self._before = np.zeros((len(tasks), 6))

    def place(self, which: np.ndarray, pose: np.ndarray) -> None:
        self.sim.state[which] = 0.0
        self.qpos[which] = pose
        self._before[which] = pose

    def step(self, reference: np.ndarray, substeps: int) -> Motion:
        trajectory = self.sim.step(self._delayed(reference, substeps), substeps)
        height = trajectory.state[:, :, 3]
        wrench = trajectory.sensors[:, :, :6].copy()
        # The rig's springs act at its joint, outside the sensor: add what the wrist would exert
        # against them.
        inside = self._face[:, None] - height - SPRING_START
        pressed = np.clip(inside / self._travel[:, None], 0.0, 1.0)
        wrench[:, :, 2] -= self._retention[:, None] * pressed
        return Motion(wrench, trajectory.diverged)

    def _delayed(self, reference: np.ndarray, substeps: int) -> np.ndarray:
        """The reference (B, 6), or for every physics step (B, n, 6) where one comes late."""
        before, self._before = self._before, reference.copy()
        if not self._delay.any():
            return reference
        late = np.arange(substeps) < self._delay[:, None]
        return np.where(late[:, :, None], before[:, None], reference[:, None])

    def model(self, world: int) -> mujoco.MjModel:
        return self.sim.model(world)

    def configuration(self, world: int) -> np.ndarray:
        return self.qpos[world].copy()

    def close(self) -> None:
        if self._sim is not None:
            self._sim.close()

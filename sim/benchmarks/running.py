"""What the published running families share: batched bodies, episodes, rewards.

The bodies are those that come with Gymnasium (gymnasium/envs/mujoco/assets), which descend from
the ones the papers used; docs/tasks.md lists what differs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from importlib.resources import as_file, files

import mujoco
import numpy as np

from sim.core.batch import MAX_SPEED, BatchSim
from sim.core.scene import Scene, View
from sim.core.task_space import Task
from sim.core.worlds import Step, WorldSpec, check_action

HORIZON = 200
"""Control periods in an episode, in every family."""
ANYWHERE = 1000.0
"""Bound [m or rad] on quantities that only an episode's length bounds."""
JOINT_BOUND = 10.0
"""Bound on a joint's angle [rad]; its limits are soft and far within."""
FRAME = "world: x forward, z up, the floor at z = 0"
VELOCITY_REWARD = (
    "v is the torso's mean velocity along x over the period [m/s], a the actions / scale"
)
SIDE = View((0.0, 0.0, 0.6), 3.0, 90.0, -12.0, 30.0)
SPEED_BOUND = MAX_SPEED
"""Bound on speeds [m/s, rad/s]: beyond it a world counts as diverged."""


def load_model(
    name: str, total_mass: float | None = None, textures: bool = False
) -> mujoco.MjModel:
    """A body from Gymnasium's assets.

    Args:
        name: of the file, e.g. "ant".
        total_mass: to which all masses are scaled [kg], where the file asks for that by an
            attribute that MuJoCo is about to drop.
        textures: keep them, for pictures.
    """
    asset = files("gymnasium") / "envs" / "mujoco" / "assets" / f"{name}.xml"
    with as_file(asset) as path:
        spec = mujoco.MjSpec.from_file(str(path))
    # A texture takes 30 MB, in every world.
    spec.compiler.discardvisual = not textures
    spec.compiler.settotalmass = -1
    model = spec.compile()
    if total_mass is not None:
        mujoco.mj_setTotalmass(model, total_mass)
        mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


@cache
def runner_scene(name: str) -> Scene:
    """The looks of a body from Gymnasium's assets, followed from its right side."""
    model = load_model(name, textures=True)
    colours = model.geom_rgba.copy()
    for geom in np.flatnonzero(model.geom_matid >= 0):
        colours[geom] = model.mat_rgba[model.geom_matid[geom]]
    return Scene(model, colours, SIDE, follow="torso")


class RunnerWorlds(ABC):
    """B bodies on a floor, each on a task of its own. See `sim.core.worlds.Worlds`.

    The measured reward is the reward itself, except for critics of ant-goal (`AntGoalWorlds`). It
    goes into the context, as published. There is no success: these families are judged by their
    return.

    Args:
        worlds: number of worlds B.
        seed: of the start's noise.
        threads: of the physics.
    """

    spec: WorldSpec
    substeps: int
    asset: str  # the body's file in Gymnasium, without its ending

    def __init__(self, worlds: int, seed: int, threads: int = 2) -> None:
        self.worlds = worlds
        self.rng = np.random.default_rng(seed)
        self._threads = threads
        self._sim: BatchSim | None = None

    @property
    def sim(self) -> BatchSim:
        if self._sim is None:
            raise RuntimeError("assign tasks to the worlds first")
        return self._sim

    def assign(self, tasks: Sequence[Task]) -> None:
        if len(tasks) != self.worlds:
            raise ValueError(f"{self.worlds} worlds need as many tasks, got {len(tasks)}")
        models = [self._model(t) for t in tasks]
        if self._sim is None:
            self._sim = BatchSim(models, self._threads)
        else:
            for world, model in enumerate(models):
                self._sim.set_model(world, model)
        self._nominal = models[0].qpos0.copy()
        self._goal = np.array([self._goal_of(t) for t in tasks], float)
        self._factors = np.array([self._factors_of(t) for t in tasks], np.float32)
        self.elapsed = np.zeros(self.worlds, int)

    def factors(self) -> np.ndarray:
        return self._factors

    def reset(self, which: np.ndarray) -> np.ndarray:
        n = int(which.sum())
        if n:
            sim = self.sim
            position, velocity = self._start(n, sim.nv)
            sim.state[which] = 0.0
            sim.qpos[which] = self._nominal + position
            sim.qvel[which] = velocity
            self.elapsed[which] = 0
        return self._observe().astype(np.float32)

    def step(self, action: np.ndarray) -> Step:
        action = check_action(action, self.worlds, self.spec)
        before = self.sim.qpos.copy()
        diverged = self.sim.step(action, self.substeps).diverged
        self.elapsed += 1
        fallen = self._fallen() & ~diverged
        reward = self._reward(before, action).astype(np.float32)
        return Step(
            observation=self._observe().astype(np.float32),
            reward=reward,
            measured_reward=reward.copy(),
            discount=1.0 - fallen.astype(np.float32),
            truncated=(self.elapsed >= self.spec.horizon) & ~fallen,
            success=np.zeros(self.worlds, bool),
            diverged=diverged,
        )

    def scene(self, world: int) -> Scene:
        # Tasks do not change a body's shape.
        return runner_scene(self.asset)

    def configuration(self, world: int) -> np.ndarray:
        return self.sim.qpos[world].copy()

    def close(self) -> None:
        if self._sim is not None:
            self._sim.close()

    def _velocity(self, before: np.ndarray) -> np.ndarray:
        """Mean velocity (B, n_q) over the step that began at positions `before` (B, n_q)."""
        return (self.sim.qpos - before) / self.spec.control_period

    def _start(self, n: int, n_v: int) -> tuple[np.ndarray, np.ndarray]:
        """Noise on n worlds' first positions (n, n_q) and their first velocities (n, n_v)."""
        position = self.rng.uniform(-0.1, 0.1, (n, len(self._nominal)))
        return position, 0.1 * self.rng.normal(size=(n, n_v))

    def _fallen(self) -> np.ndarray:
        """(B,) True where the episode ends as a failure."""
        return np.zeros(self.worlds, bool)

    @abstractmethod
    def _model(self, task: Task) -> mujoco.MjModel:
        """The task's body."""

    @abstractmethod
    def _goal_of(self, task: Task) -> Sequence[float] | np.ndarray:
        """What the reward needs to know of a task, (n_g,)."""

    @abstractmethod
    def _factors_of(self, task: Task) -> np.ndarray:
        """The task's standardised factors (n_f,)."""

    @abstractmethod
    def _observe(self) -> np.ndarray:
        """Observation (B, n_o)."""

    @abstractmethod
    def _reward(self, before: np.ndarray, action: np.ndarray) -> np.ndarray:
        """Reward (B,) of the step that began at positions (B, n_q) under action (B, n_a)."""

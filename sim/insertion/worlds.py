"""The insertion task: bring a plug, known only nominally, into a socket, known only nominally.

Frames: see `sim.insertion.spec`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from adapt.bundle.fields import Factor
from sim.core.scene import Scene
from sim.core.task_space import Task
from sim.core.worlds import Step, WorldSpec, check_action
from sim.insertion.body import Body, WristBody
from sim.insertion.plugs import MM
from sim.insertion.scene import scene
from sim.insertion.space import task_factors
from sim.insertion.spec import (
    ACTION_SCALE,
    FORCE_LIMIT,
    HORIZON,
    REFERENCE_CLIP,
    SPEC,
    SUBSTEPS,
    WORKSPACE_HIGH,
    WORKSPACE_LOW,
)
from sim.insertion.wrist import TIMESTEP, seat_pose, task_plug

FORCE_COMFORT = 30.0
"""Contact force [N] above which critics see a cost."""
START_HEIGHT = 6 * MM
START_NOISE = 1 * MM
SEATED_PERIODS = 2
"""Consecutive control periods that the plug must be seated for success: not a bounce."""
SEATED_WITHIN = 1 * MM
SEATED_FRACTION = 0.95
FORCE_NOISE, TORQUE_NOISE, POSE_NOISE = 0.3, 0.005, 0.02 * MM

SUCCESS_REWARD = 10.0
BREAKING_COST = 30.0
"""As much as a whole failed episode costs: breaking the part never pays."""


@dataclass(frozen=True)
class Constants:
    """Per-world constants of the assigned tasks, stacked: (B, …)."""

    factors: np.ndarray
    seat: np.ndarray  # x, y, z, yaw
    depth: np.ndarray
    yaw_matters: np.ndarray
    bias: np.ndarray
    controller: np.ndarray
    delay: np.ndarray
    noise: np.ndarray  # (B, 1), in multiples of the nominal one

    @staticmethod
    def of(tasks: Sequence[Task], factors: tuple[Factor, ...]) -> Constants:
        seats = [seat_pose(t) for t in tasks]
        axes = ("x", "y", "z")
        names = [f"{kind}_bias_{a}" for kind in ("force", "torque") for a in axes]
        return Constants(
            factors=np.stack([task_factors(t, factors) for t in tasks]).astype(np.float32),
            seat=np.array([[s.x, s.y, s.z, s.yaw] for s in seats]),
            depth=np.array([task_plug(t).depth for t in tasks]),
            yaw_matters=np.array([not task_plug(t).turns_freely for t in tasks], float),
            bias=np.array([[t[n] for n in names] for t in tasks]),
            controller=np.array([[t["controller_x"], t["controller_y"]] for t in tasks]),
            delay=np.array([round(t["wrench_delay"] / TIMESTEP) for t in tasks]),
            noise=np.array([[t.get("noise", 1.0)] for t in tasks]),
        )


class InsertionWorlds:
    """B robots, each with its own plug, socket and controller. See `sim.core.worlds.Worlds`.

    Args:
        worlds: number of worlds B.
        seed: of the measurement and start noise.
        threads: of the physics.
        body: threads → what carries the plugs; see `sim.insertion.body`.
        spec: of the family; families differ in how factors are standardised.

    probing: while True the reference may go as far as it is told, and no episode ends but by force:
        for touches outside of the task's own workspace.
    """

    probing = False

    def __init__(
        self,
        worlds: int,
        seed: int,
        threads: int = 2,
        body: Callable[[int], Body] = WristBody,
        spec: WorldSpec = SPEC,
    ) -> None:
        self.worlds, self.spec = worlds, spec
        self.rng = np.random.default_rng(seed)
        self.sim = body(threads)

    def assign(self, tasks: Sequence[Task]) -> None:
        if len(tasks) != self.worlds:
            raise ValueError(f"{self.worlds} worlds need as many tasks, got {len(tasks)}")
        self.tasks = list(tasks)
        self._scenes: dict[int, Scene] = {}
        self.sim.assign(tasks)
        self.constants = Constants.of(tasks, self.spec.factors)
        b = self.worlds
        self.reference = np.zeros((b, 6))
        self.elapsed = np.zeros(b, int)
        self._seated = np.zeros(b, int)
        self._wrench = np.zeros((b, 6))
        self.peak_force = np.zeros(b)

    def factors(self) -> np.ndarray:
        return self.constants.factors

    @property
    def depth(self) -> np.ndarray:
        """True depth (B,) of the plug's end below the socket's face [m]."""
        return self.constants.seat[:, 2] - self.sim.qpos[:, 2]

    def reset(self, which: np.ndarray) -> np.ndarray:
        n = int(which.sum())
        if n:
            start = np.zeros((n, 6))
            start[:, :2] = self.rng.uniform(-START_NOISE, START_NOISE, (n, 2))
            start[:, 2] = START_HEIGHT + self.rng.uniform(-START_NOISE, START_NOISE, n)
            self.sim.place(which, start)
            self.reference[which] = start
            self.elapsed[which] = 0
            self._seated[which] = 0
            self.peak_force[which] = 0.0
            self._wrench[which] = self.constants.bias[which]
        return self._observe()

    def step(self, action: np.ndarray) -> Step:
        action = check_action(action, self.worlds, SPEC)
        self._move_reference(action)
        control = self.reference.copy()
        control[:, :2] += self.constants.controller
        motion = self.sim.step(control, SUBSTEPS)
        force = self._sense(motion.wrench)
        force[motion.diverged] = 0.0
        self.peak_force = np.maximum(self.peak_force, force)
        self.elapsed += 1

        depth, full = self.depth, self.constants.depth
        seated = depth >= np.minimum(full - SEATED_WITHIN, SEATED_FRACTION * full)
        self._seated = np.where(seated, self._seated + 1, 0)
        broken = force > FORCE_LIMIT
        success = (self._seated >= SEATED_PERIODS) & ~broken & ~motion.diverged
        success &= not self.probing
        terminal = success | broken
        fraction = np.clip(depth / full, 0.0, 1.0)
        observation = self._observe()
        # A robot knows where the face should be, not where it is.
        measured = np.clip(-observation[:, 2] / full, 0.0, 1.0)
        return Step(
            observation=observation,
            reward=self._reward(action, fraction, force, success, broken).astype(np.float32),
            measured_reward=(0.5 * measured + success).astype(np.float32),
            discount=1.0 - terminal.astype(np.float32),
            truncated=(self.elapsed >= HORIZON) & ~terminal & (not self.probing),
            success=success,
            diverged=motion.diverged,
        )

    def scene(self, world: int) -> Scene:
        if world not in self._scenes:
            self._scenes[world] = scene(self.sim.model(world), self.sim.overview)
        return self._scenes[world]

    def configuration(self, world: int) -> np.ndarray:
        return self.sim.configuration(world)

    def close(self) -> None:
        self.sim.close()

    def _move_reference(self, action: np.ndarray) -> None:
        measured = self.sim.qpos[:, :4]
        reference = self.reference[:, :4] + action * ACTION_SCALE
        reference = np.clip(reference, measured - REFERENCE_CLIP, measured + REFERENCE_CLIP)
        if not self.probing:
            reference = np.clip(reference, WORKSPACE_LOW, WORKSPACE_HIGH)
        self.reference[:, :4] = reference

    def _sense(self, wrench: np.ndarray) -> np.ndarray:
        """Update the measured wrench; return each world's peak contact force (B,) [N].

        The wrench (B, n, 6) is averaged over half a control period that ended `delay` ago.
        """
        half = SUBSTEPS // 2
        window = np.arange(SUBSTEPS - half, SUBSTEPS)[None] - self.constants.delay[:, None]
        mean = np.take_along_axis(wrench, window[:, :, None], axis=1).mean(axis=1)
        noise = self.rng.normal(size=(self.worlds, 6))
        noise *= self.constants.noise * ([FORCE_NOISE] * 3 + [TORQUE_NOISE] * 3)
        self._wrench = np.nan_to_num(mean) + self.constants.bias + noise
        return np.nan_to_num(np.linalg.norm(wrench[:, :, :3], axis=2).max(axis=1))

    def _observe(self) -> np.ndarray:
        q, v = self.sim.qpos, self.sim.qvel
        noise = self.rng.normal(0.0, POSE_NOISE, (self.worlds, 3))
        position = q[:, :3] + self.constants.noise * noise
        lead = self.reference[:, :4] - q[:, :4]
        left = position[:, 2:3] + self.constants.depth[:, None]
        return np.concatenate([position, q[:, 3:6], v, self._wrench, lead, left], axis=1).astype(
            np.float32
        )

    def _reward(
        self,
        action: np.ndarray,
        fraction: np.ndarray,
        force: np.ndarray,
        success: np.ndarray,
        broken: np.ndarray,
    ) -> np.ndarray:
        """Dense reward (B,): distance across and about the axis, depth, force, success."""
        q, seat = self.sim.qpos, self.constants.seat
        across = np.linalg.norm(q[:, :2] - seat[:, :2], axis=1)
        yaw = np.abs(q[:, 3] - seat[:, 3]) * self.constants.yaw_matters
        height = np.clip((q[:, 2] - seat[:, 2]) / (5 * MM), 0.0, 2.0)
        reward = -0.25 * np.minimum(across / (3 * MM), 1.5) - 0.25 * np.tanh(across / (0.5 * MM))
        reward -= 0.15 * np.minimum(yaw / 0.1, 1.5) + 0.1 * np.tanh(yaw / 0.03)
        reward -= 0.1 * height
        # Never positive before success. Otherwise holding the plug just above its seat would pay
        # more than seating it.
        reward -= 0.5 * (1.0 - fraction)
        reward -= 0.01 * (action**2).sum(axis=1)
        reward -= 0.01 * np.maximum(force - FORCE_COMFORT, 0.0)
        return reward + SUCCESS_REWARD * success - BREAKING_COST * broken

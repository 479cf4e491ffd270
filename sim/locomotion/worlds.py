"""The locomotion task: follow velocity commands over unseen ground with an unknown body.

Frames: the world's x is uphill where there is a slope. Commands and the base's velocity are in the
heading's frame: x forward, y to the left, z up. Only what a real robot measures is observed; the
base's velocity is not.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from robot_bridge.drivers.gait import GaitClock
from sim.core.batch import BatchSim, Trajectory
from sim.core.scene import Scene, View
from sim.core.task_space import Task
from sim.core.worlds import Step, check_action
from sim.locomotion import terrain
from sim.locomotion.model import ground, task_model
from sim.locomotion.reward import Motion, reward, tracking
from sim.locomotion.spec import (
    CONTROL_PERIOD,
    GYRO_BOUND,
    HORIZON,
    N_ACTION,
    N_JOINTS,
    SPEC,
    SPEED_BOUND,
    SUBSTEPS,
    TIMESTEP,
    modulate,
)
from sim.locomotion.task import FACTORS, ICE_FRICTION, task_factors
from sim.robots.go2 import FOOT_RADIUS, LEGS, STANCE, joint_ranges

HOLD_COMMAND = 250
"""Control periods for which a command lasts: 5 s."""
BESIDE = View((0.0, 0.0, 0.25), 1.6, 130.0, -15.0, 6.0)
FROM_AFAR = View((0.0, 0.0, 0.3), 5.0, 130.0, -25.0, 9.0)
STANDING_SHARE = 0.1
"""Of the commands that say: stand."""
COMMAND_LOW = np.array([-0.5, -0.4, -1.0])
COMMAND_HIGH = np.array([1.0, 0.4, 1.0])
"""Forward, to the left [m/s], turning [rad/s]."""

TILT = 1.2
"""Angle between the body's axis and gravity at which a robot has fallen [rad]."""
LOW = 0.12
"""Height of the base above the ground at which it has fallen [m]."""
GYRO_NOISE, GRAVITY_NOISE, ANGLE_NOISE, SPEED_NOISE = 0.05, 0.01, 0.005, 0.2
"""Standard deviations [rad/s, 1, rad, rad/s] of what is measured."""


class LocomotionWorlds:
    """B robots, each on a task of its own. See `sim.core.worlds.Worlds`.

    Beyond that: `change` gives worlds other tasks within an episode; `damp` lets all joints go
    limp for the next step, but for their damping; `command`, an array (B, 3), is the velocity asked
    for, drawn anew every 5 s unless `commands_drawn` is False.

    Args:
        worlds: number of worlds B.
        seed: of starts, commands and noise.
        threads: of the physics.
    """

    spec = SPEC

    def __init__(self, worlds: int, seed: int, threads: int = 2) -> None:
        self.worlds = worlds
        self.rng = np.random.default_rng(seed)
        self._threads = threads
        self._sim: BatchSim | None = None
        self._scenes: dict[int, Scene] = {}
        self.commands_drawn = True
        self.command = np.zeros((worlds, 3))
        self.elapsed = np.zeros(worlds, int)
        self._clock = GaitClock(worlds, STANCE, CONTROL_PERIOD)
        self._actions = np.zeros((3, worlds, N_ACTION))
        self._targets = np.tile(STANCE, (worlds, 3, 1))
        self._low, self._high = joint_ranges()
        self._limp = False
        # Of each world's episode so far.
        self.distance, self.energy = np.zeros(worlds), np.zeros(worlds)
        self._error = np.zeros(worlds)

    @property
    def sim(self) -> BatchSim:
        if self._sim is None:
            raise RuntimeError("assign tasks to the worlds first")
        return self._sim

    def assign(self, tasks: Sequence[Task]) -> None:
        if len(tasks) != self.worlds:
            raise ValueError(f"{self.worlds} worlds need as many tasks, got {len(tasks)}")
        self._set(range(self.worlds), tasks)

    def change(self, which: np.ndarray, tasks: Sequence[Task]) -> None:
        """Other bodies or ground in worlds (B,), one task for each, in the middle of an episode.

        The ground's shape should stay: a robot would find itself within the new one.
        """
        self._set(np.flatnonzero(which), tasks)

    def _set(self, worlds: Sequence[int] | np.ndarray, tasks: Sequence[Task]) -> None:
        heights = [ground(t) for t in tasks]
        models = [task_model(t, h) for t, h in zip(tasks, heights, strict=True)]
        if self._sim is None:
            self._sim = BatchSim(models, self._threads)
            self._heights = np.stack(heights)
            self._factors = np.zeros((self.worlds, len(FACTORS)), np.float32)
            self._delay, self._ice = np.zeros(self.worlds), np.zeros(self.worlds)
            self._friction, self._slope = np.zeros(self.worlds), np.zeros(self.worlds)
            self._icy = np.zeros((self.worlds, 8, 8), bool)
            model = models[0]
            self._feet = [model.geom(f"{leg}_foot").id for leg in LEGS]
        for world, task, model, height in zip(worlds, tasks, models, heights, strict=True):
            self._scenes.pop(int(world), None)
            self._sim.set_model(int(world), model)
            self._heights[world] = height
            self._factors[world] = task_factors(task)
            self._delay[world], self._ice[world] = task["delay"], task["ice"]
            self._friction[world], self._slope[world] = task["friction"], task["slope"]
            # One cell a metre; the cells are drawn with the ground, so a task is one ground.
            cells = np.random.default_rng(int(task["seed"]) + 1).random((8, 8))
            self._icy[world] = cells < task["ice"]

    def factors(self) -> np.ndarray:
        return self._factors

    def reset(self, which: np.ndarray) -> np.ndarray:
        n = int(which.sum())
        if n:
            sim = self.sim
            place = self.rng.uniform(-0.2, 0.2, (n, 2))
            yaw = self.rng.uniform(-np.pi, np.pi, n)
            sim.state[which] = 0.0
            sim.qpos[which, :2] = place
            sim.qpos[which, 2] = terrain.height_at(self._heights[which], place[:, None])[:, 0] + 0.3
            sim.qpos[which, 3], sim.qpos[which, 6] = np.cos(yaw / 2), np.sin(yaw / 2)
            sim.qpos[which, 7:] = STANCE + self.rng.uniform(-0.05, 0.05, (n, N_JOINTS))
            self.elapsed[which] = 0
            self._clock.reset(which, self.rng.random(n))
            self._actions[:, which] = 0.0
            self._targets[which] = STANCE
            self.distance[which] = self.energy[which] = self._error[which] = 0.0
            if self.commands_drawn:
                self._draw_commands(which)
        return self._observe()

    def _draw_commands(self, which: np.ndarray) -> None:
        n = int(which.sum())
        drawn = self.rng.uniform(COMMAND_LOW, COMMAND_HIGH, (n, 3))
        drawn[self.rng.random(n) < STANDING_SHARE] = 0.0
        self.command[which] = drawn

    def step(self, action: np.ndarray) -> Step:
        action = check_action(action, self.worlds, self.spec)
        self._advance(action)
        self._slip_on_ice()
        trajectory = self._moved()
        self.sim.qpos[:, :2] = terrain.wrap(self.sim.qpos[:, :2])
        self.elapsed += 1
        motion = self._motion(trajectory.sensors[:, -1])
        fallen = self._fallen(motion) & ~trajectory.diverged
        self._account(motion)
        if self.commands_drawn:
            due = (self.elapsed % HOLD_COMMAND == 0) & ~fallen
            self._draw_commands(due)
        tracked = np.where(fallen, 0.0, tracking(motion)).astype(np.float32)
        return Step(
            observation=self._observe(),
            reward=np.clip(reward(motion), -10.0, 10.0).astype(np.float32),
            measured_reward=tracked,
            discount=1.0 - fallen.astype(np.float32),
            truncated=(self.elapsed >= HORIZON) & ~fallen,
            success=(self.elapsed >= HORIZON) & ~fallen,
            diverged=trajectory.diverged,
        )

    @property
    def mean_error(self) -> np.ndarray:
        """(B,) mean difference of velocity and command over the episode so far [m/s]."""
        return self._error / np.maximum(self.elapsed, 1)

    def speed_error(self) -> np.ndarray:
        """(B,) difference of the base's horizontal velocity from the command, now [m/s]."""
        return np.linalg.norm(self._velocity()[:, :2] - self.command[:, :2], axis=1)

    def _account(self, motion: Motion) -> None:
        """Add a control period to the episode's distance [m], error and work [J]."""
        self.distance += CONTROL_PERIOD * np.linalg.norm(motion.velocity[:, :2], axis=1)
        self._error += np.linalg.norm(motion.velocity[:, :2] - motion.command[:, :2], axis=1)
        # Motors that brake give nothing back.
        power = np.maximum(motion.torque * self.sim.qvel[:, 6:], 0.0).sum(axis=1)
        self.energy += CONTROL_PERIOD * power

    def damp(self) -> None:
        """In the next step joints are damped and nothing else: what DAMP and STOP ask."""
        self._limp = True

    def stand(self) -> None:
        """The command is to stand, until the next one is drawn: what HOLD asks."""
        self.command[:] = 0.0

    def scene(self, world: int) -> Scene:
        if world not in self._scenes:
            model = copy.copy(self.sim.model(world))
            # The camera's frame is level: on a slope it is gravity that leans.
            looks = Scene(model, model.geom_rgba.copy(), BESIDE, FROM_AFAR, follow="base")
            self._scenes[world] = looks
        return self._scenes[world]

    def configuration(self, world: int) -> np.ndarray:
        return self.sim.qpos[world].copy()

    def close(self) -> None:
        if self._sim is not None:
            self._sim.close()

    def _advance(self, action: np.ndarray) -> None:
        """New joint targets, the newest of three that a delayed robot may still follow."""
        self._actions = np.stack([action, self._actions[0], self._actions[1]])
        modulation = modulate(action)
        target = np.clip(self._clock.targets(modulation, self.command), self._low, self._high)
        self._targets = np.stack([target, self._targets[:, 0], self._targets[:, 1]], axis=1)

    def _moved(self) -> Trajectory:
        """Advance the physics by a control period."""
        if not self._limp:
            return self.sim.step(self._delayed(), SUBSTEPS)
        models = [self.sim.model(world) for world in range(self.worlds)]
        gains = [(m.actuator_gainprm.copy(), m.actuator_biasprm.copy()) for m in models]
        for model in models:
            model.actuator_gainprm[:, 0] = 0.0
            model.actuator_biasprm[:, 1] = 0.0
        try:
            return self.sim.step(self._delayed(), SUBSTEPS)
        finally:
            self._limp = False
            for model, (gain, bias) in zip(models, gains, strict=True):
                model.actuator_gainprm[:], model.actuator_biasprm[:] = gain, bias

    def _delayed(self) -> np.ndarray:
        """Targets (B, SUBSTEPS, 12) that arrive `delay` after they were sent, to the substep."""
        late = np.rint(self._delay / TIMESTEP).astype(int)[:, None] - np.arange(SUBSTEPS)
        age = np.clip(-(-late // SUBSTEPS), 0, 2)
        return self._targets[np.arange(self.worlds)[:, None], age]

    def _slip_on_ice(self) -> None:
        """Each foot has the friction of the ground that it is over."""
        places = self._foot_places
        for world in np.flatnonzero(self._ice > 0):
            cell = np.floor(terrain.wrap(places[world]) + terrain.TILE / 2).astype(int) % 8
            icy = self._icy[world, cell[:, 0], cell[:, 1]]
            friction = np.where(
                icy, min(ICE_FRICTION, self._friction[world]), self._friction[world]
            )
            self.sim.model(int(world)).geom_friction[self._feet, 0] = friction

    @property
    def _foot_places(self) -> np.ndarray:
        """Roughly, (B, 4, 2): below the hips [m], which is near enough for cells of a metre."""
        yaw = _yaw(self.sim.qpos[:, 3:7])
        c, s = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
        x, y = 0.19 * np.array([1, 1, -1, -1]), 0.14 * np.array([1, -1, 1, -1])
        return self.sim.qpos[:, None, :2] + np.stack([c * x - s * y, s * x + c * y], axis=2)

    def _observe(self) -> np.ndarray:
        q, v, b = self.sim.qpos, self.sim.qvel, self.worlds
        noise = self.rng.standard_normal((b, 6 + 2 * N_JOINTS))
        gravity = _to_body(q[:, 3:7], self._down()) + GRAVITY_NOISE * noise[:, :3]
        gyro = v[:, 3:6] + GYRO_NOISE * noise[:, 3:6]
        joints = q[:, 7:] - STANCE + ANGLE_NOISE * noise[:, 6 : 6 + N_JOINTS]
        speeds = v[:, 6:] + SPEED_NOISE * noise[:, 6 + N_JOINTS :]
        parts = [
            gravity,
            np.clip(gyro, -GYRO_BOUND, GYRO_BOUND),
            joints,
            np.clip(speeds, -SPEED_BOUND, SPEED_BOUND),
            self._actions[0],
            self.command,
            self._clock.observe(),
        ]
        return np.concatenate(parts, axis=1).astype(np.float32)

    def _velocity(self) -> np.ndarray:
        """Of the base in its heading's frame (B, 3) [m/s]."""
        v, yaw = self.sim.qvel, _yaw(self.sim.qpos[:, 3:7])
        c, s = np.cos(yaw), np.sin(yaw)
        forward, left = c * v[:, 0] + s * v[:, 1], -s * v[:, 0] + c * v[:, 1]
        return np.stack([forward, left, v[:, 2]], axis=1)

    def _down(self) -> np.ndarray:
        """Unit vectors of gravity (B, 3) in the world's frame; see `model.task_model`."""
        return np.stack([-np.sin(self._slope), 0 * self._slope, -np.cos(self._slope)], axis=1)

    def _motion(self, sensors: np.ndarray) -> Motion:
        q, v = self.sim.qpos, self.sim.qvel
        place, speed = sensors[:, :12].reshape(-1, 4, 3), sensors[:, 12:24].reshape(-1, 4, 3)
        foot = place[..., 2] - FOOT_RADIUS - terrain.height_at(self._heights, place[..., :2])
        level = np.tile([0.0, 0.0, -1.0], (self.worlds, 1))
        here = terrain.height_at(self._heights, q[:, None, :2])[:, 0]
        return Motion(
            velocity=self._velocity(),
            gyro=v[:, 3:6],
            command=self.command,
            gravity=_to_body(q[:, 3:7], level),
            height=q[:, 2] - here,
            torque=sensors[:, 24:36],
            action=self._actions[0],
            before=self._actions[1],
            earlier=self._actions[2],
            joints=q[:, 7:] - STANCE,
            foot_height=foot,
            foot_speed=np.linalg.norm(speed[..., :2], axis=2),
            contact=foot < 0.01,
            phase=self._clock.phase,
        )

    def _fallen(self, motion: Motion) -> np.ndarray:
        """(B,) the body leans too far or lies on the ground."""
        return (motion.gravity[:, 2] > -np.cos(TILT)) | (motion.height < LOW)


def _yaw(quaternion: np.ndarray) -> np.ndarray:
    w, x, y, z = quaternion.T
    return np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def _to_body(quaternion: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """A world's vectors (B, 3) in the frames of bodies with these orientations (B, 4), w first."""
    w, axis = quaternion[:, :1], -quaternion[:, 1:]
    turned = 2 * np.cross(axis, vector)
    return vector + w * turned + np.cross(axis, turned)

"""The locomotion task: follow velocity commands over unseen ground with an unknown body.

Frames: the world's x is uphill where there is a slope. Commands and the base's velocity are in the
heading's frame: x forward, y to the left, z up. Only what a real robot measures is observed; the
base's velocity is not.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from adapt.errors import AcclimateError
from robot_bridge.drivers.gait import GaitClock
from sim.core.batch import BatchSim, Trajectory
from sim.core.scene import Scene, View
from sim.core.task_space import Task
from sim.core.worlds import Step, check_action
from sim.locomotion import terrain
from sim.locomotion.account import EpisodeAccount
from sim.locomotion.geometry import FOOTPRINT, ground_normal, to_body, yaw_of
from sim.locomotion.model import (
    GRAVITY,
    ground,
    nominal_body,
    set_task,
    task_model,
    user_body,
)
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
    modulate,
)
from sim.locomotion.task import FACTORS, ICE_FRICTION, actual, task_factors
from sim.robots.go2 import LEGS

HOLD_COMMAND = 250
"""Control periods for which a command lasts: 5 s."""
BESIDE = View((0.0, 0.0, 0.25), 1.6, 130.0, -15.0, 6.0)
FROM_AFAR = View((0.0, 0.0, 0.3), 5.0, 130.0, -25.0, 9.0)
STANDING_SHARE = 0.1
"""Of the commands that say: stand."""
COMMAND_LOW = np.array([-0.5, -0.4, -1.0])
COMMAND_HIGH = np.array([1.0, 0.4, 1.0])
"""Forward, to the left [m/s], turning [rad/s]."""

START_CHOICES = 4
"""Places that an episode's start is chosen from, where it may be anywhere."""
ICE_CELLS = 8
"""Cells along each side of a tile that are icy or not: one a metre."""

SEEN_LOAD = 0.1
"""A payload from which on its box is drawn [kg]."""
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
        substeps: physics steps in a control period; two are less exact and nearly twice as fast.
        anywhere: episodes start at any place of the tile; else on its level centre.
        robot: joint map of a robot of the user's own; None for ours.
    """

    spec = SPEC

    def __init__(
        self,
        worlds: int,
        seed: int,
        threads: int = 2,
        substeps: int = SUBSTEPS,
        anywhere: bool = False,
        robot: Path | None = None,
    ) -> None:
        self.worlds = worlds
        self.rng = np.random.default_rng(seed)
        self._threads, self._substeps, self._anywhere = threads, substeps, anywhere
        self._timestep = CONTROL_PERIOD / substeps
        self._sim: BatchSim | None = None
        self._scenes: dict[int, Scene] = {}
        self.commands_drawn = True
        self.command = np.zeros((worlds, 3))
        self.elapsed = np.zeros(worlds, int)
        self._body = body = nominal_body() if robot is None else user_body(robot)
        self._clock = GaitClock(worlds, body.stance, CONTROL_PERIOD)
        self._actions = np.zeros((3, worlds, N_ACTION))
        self._targets = np.tile(body.stance, (worlds, 3, 1))
        self._up = np.tile([0.0, 0.0, 1.0], (worlds, 1))
        self._limp = self._held = False
        self.account = EpisodeAccount(worlds, CONTROL_PERIOD)

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

        Raises AcclimateError where the ground's shape differs: a robot would be within it.
        """
        worlds = np.flatnonzero(which)
        for world, task in zip(worlds, tasks, strict=True):
            if not np.array_equal(ground(task), self._heights[world]):
                raise AcclimateError(
                    "a task cannot change terrain, difficulty or seed within an episode: the robot "
                    "would find itself within the new ground"
                )
        self._set(worlds, tasks)

    def _set(self, worlds: Sequence[int] | np.ndarray, tasks: Sequence[Task]) -> None:
        heights = [ground(t) for t in tasks]
        if self._sim is None:
            models = [
                task_model(t, h, self._timestep, self._body)
                for t, h in zip(tasks, heights, strict=True)
            ]
            self._sim = BatchSim(models, self._threads)
            self._heights = np.stack(heights)
            self._factors = np.zeros((self.worlds, len(FACTORS)), np.float32)
            self._delay, self._weight = np.zeros(self.worlds), np.zeros(self.worlds)
            self._slope = np.zeros(self.worlds)
            self._icy = np.zeros((self.worlds, ICE_CELLS, ICE_CELLS), bool)
            self._grip = np.zeros((self.worlds, 2))
            self._feet = [models[0].geom(f"{leg}_foot").id for leg in LEGS]
            # Views of the models' own numbers.
            self._frictions = [model.geom_friction for model in models]
            self._under = np.zeros((self.worlds, 4))
        for world, task, height in zip(worlds, tasks, heights, strict=True):
            self._scenes.pop(int(world), None)
            model, acts = self._sim.model(int(world)), actual(task)
            set_task(model, task, height, self._body)
            self._heights[world] = height
            self._factors[world] = task_factors(task)
            self._delay[world], self._slope[world] = acts["delay"], acts["slope"]
            self._weight[world] = GRAVITY * float(model.body_mass.sum())
            friction = acts["friction"]
            self._grip[world] = friction, min(ICE_FRICTION, friction)
            self._under[world] = friction
            # The icy cells are drawn with the ground, so a task is one ground.
            cells = np.random.default_rng(int(task["seed"]) + 1).random((ICE_CELLS, ICE_CELLS))
            self._icy[world] = cells < acts["ice"]

    def factors(self) -> np.ndarray:
        return self._factors

    def reset(self, which: np.ndarray) -> np.ndarray:
        n = int(which.sum())
        if n:
            sim = self.sim
            place = self._start_places(self._heights[which])
            yaw = self.rng.uniform(-np.pi, np.pi, n)
            sim.state[which] = 0.0
            sim.qpos[which, :2] = place
            footprint = place[:, None] + FOOTPRINT
            under = terrain.height_at(self._heights[which], footprint).max(axis=1)
            sim.qpos[which, 2] = under + self._body.height
            sim.qpos[which, 3], sim.qpos[which, 6] = np.cos(yaw / 2), np.sin(yaw / 2)
            sim.qpos[which, 7:] = self._body.stance + self.rng.uniform(-0.05, 0.05, (n, N_JOINTS))
            self.elapsed[which] = 0
            self._clock.reset(which, self.rng.random(n))
            self._actions[:, which] = 0.0
            self._targets[which] = self._body.stance
            self.account.reset(which)
            self._lay_ice(which, np.repeat(place[:, None], 4, axis=1))
            if self.commands_drawn:
                self._draw_commands(which)
        return self._observe()

    def _start_places(self, heights: np.ndarray) -> np.ndarray:
        """(n, 2) [m] on tiles of heights (n, CELLS, CELLS)."""
        n = len(heights)
        if not self._anywhere:
            return self.rng.uniform(-0.2, 0.2, (n, 2))
        half = terrain.TILE / 2
        # The most level of a few: a robot that starts with a leg in a gap always falls.
        places = self.rng.uniform(-half, half, (n, START_CHOICES, 2))
        under = terrain.height_at(heights, (places[:, :, None] + FOOTPRINT).reshape(n, -1, 2))
        relief = np.ptp(under.reshape(n, START_CHOICES, 4), axis=2)
        return places[np.arange(n), relief.argmin(axis=1)]

    def _draw_commands(self, which: np.ndarray) -> None:
        n = int(which.sum())
        drawn = self.rng.uniform(COMMAND_LOW, COMMAND_HIGH, (n, 3))
        drawn[self.rng.random(n) < STANDING_SHARE] = 0.0
        self.command[which] = drawn

    def step(self, action: np.ndarray) -> Step:
        action = check_action(action, self.worlds, self.spec)
        self._advance(action)
        trajectory = self._moved()
        self.sim.qpos[:, :2] = terrain.wrap(self.sim.qpos[:, :2])
        self.elapsed += 1
        motion = self._motion(trajectory.sensors[:, -1])
        fallen = self._fallen(motion) & ~trajectory.diverged
        self.account.add(motion, self.sim.qvel[:, 6:], self._weight)
        places = trajectory.sensors[:, -1, :12].reshape(-1, 4, 3)[..., :2]
        self._lay_ice(~trajectory.diverged, places[~trajectory.diverged])
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

    def speed_error(self) -> np.ndarray:
        """(B,) difference of the base's horizontal velocity from the command, now [m/s]."""
        return np.linalg.norm(self._velocity()[:, :2] - self.command[:, :2], axis=1)

    def damp(self) -> None:
        """In the next step joints are damped and nothing else: what DAMP and STOP ask."""
        self._limp = True

    def stand(self) -> None:
        """In the next step the gait stands under any command: what HOLD asks."""
        self._held = True

    def scene(self, world: int) -> Scene:
        if world not in self._scenes:
            model = copy.copy(self.sim.model(world))
            load = model.body("payload").id
            colours = model.geom_rgba.copy()
            if model.body_mass[load] < SEEN_LOAD:
                colours[model.geom("payload").id, 3] = 0.0
            # The camera's frame is level: on a slope it is gravity that leans.
            looks = Scene(model, colours, BESIDE, FROM_AFAR, follow="base")
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
        body, asked = self._body, np.where(self._held, 0.0, self.command)
        target = np.clip(self._clock.targets(modulation, asked), body.low, body.high)
        self._held = False
        self._targets = np.stack([target, self._targets[:, 0], self._targets[:, 1]], axis=1)

    def _moved(self) -> Trajectory:
        """Advance the physics by a control period."""
        if not self._limp:
            return self.sim.step(self._delayed(), self._substeps)
        models = [self.sim.model(world) for world in range(self.worlds)]
        gains = [(m.actuator_gainprm.copy(), m.actuator_biasprm.copy()) for m in models]
        for model in models:
            model.actuator_gainprm[:, 0] = 0.0
            model.actuator_biasprm[:, 1] = 0.0
        try:
            return self.sim.step(self._delayed(), self._substeps)
        finally:
            self._limp = False
            for model, (gain, bias) in zip(models, gains, strict=True):
                model.actuator_gainprm[:], model.actuator_biasprm[:] = gain, bias

    def _delayed(self) -> np.ndarray:
        """Targets (B, substeps, 12) that arrive `delay` after they were sent, to the substep."""
        n = self._substeps
        late = np.rint(self._delay / self._timestep).astype(int)[:, None] - np.arange(n)
        age = np.clip(-(-late // n), 0, 2)
        return self._targets[np.arange(self.worlds)[:, None], age]

    def _lay_ice(self, which: np.ndarray, places: np.ndarray) -> None:
        """Each foot, at places (n, 4, 2) in worlds (B,), has the friction of its ground."""
        cell = np.floor((terrain.wrap(places) / terrain.TILE + 0.5) * ICE_CELLS).astype(int)
        cell %= ICE_CELLS
        world = np.flatnonzero(which)
        icy = self._icy[world[:, None], cell[..., 0], cell[..., 1]]
        under = np.where(icy, self._grip[world, 1:], self._grip[world, :1])
        for row in np.flatnonzero((under != self._under[world]).any(axis=1)):
            self._frictions[world[row]][self._feet, 0] = under[row]
        self._under[world] = under

    def _observe(self) -> np.ndarray:
        q, v, b = self.sim.qpos, self.sim.qvel, self.worlds
        noise = self.rng.standard_normal((b, 6 + 2 * N_JOINTS))
        gravity = to_body(q[:, 3:7], self._down()) + GRAVITY_NOISE * noise[:, :3]
        gyro = v[:, 3:6] + GYRO_NOISE * noise[:, 3:6]
        joints = q[:, 7:] - self._body.stance + ANGLE_NOISE * noise[:, 6 : 6 + N_JOINTS]
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
        v, yaw = self.sim.qvel, yaw_of(self.sim.qpos[:, 3:7])
        c, s = np.cos(yaw), np.sin(yaw)
        forward, left = c * v[:, 0] + s * v[:, 1], -s * v[:, 0] + c * v[:, 1]
        return np.stack([forward, left, v[:, 2]], axis=1)

    def _down(self) -> np.ndarray:
        """Unit vectors of gravity (B, 3) in the world's frame; see `model.task_model`."""
        return np.stack([-np.sin(self._slope), 0 * self._slope, -np.cos(self._slope)], axis=1)

    def _motion(self, sensors: np.ndarray) -> Motion:
        q, v = self.sim.qpos, self.sim.qvel
        place, speed = sensors[:, :12].reshape(-1, 4, 3), sensors[:, 12:24].reshape(-1, 4, 3)
        soil = terrain.height_at(self._heights, place[..., :2])
        foot = place[..., 2] - self._body.foot_radius - soil
        under = terrain.height_at(self._heights, self._corners())
        normal = ground_normal(under, yaw_of(q[:, 3:7]))
        return Motion(
            velocity=self._velocity(),
            gyro=v[:, 3:6],
            command=self.command,
            gravity=to_body(q[:, 3:7], -normal),
            upright=to_body(q[:, 3:7], self._up)[:, 2],
            height=q[:, 2] - under.mean(axis=1),
            torque=sensors[:, 24:36],
            action=self._actions[0],
            before=self._actions[1],
            earlier=self._actions[2],
            joints=q[:, 7:] - self._body.stance,
            foot_height=foot,
            foot_speed=np.linalg.norm(speed[..., :2], axis=2),
            contact=foot < 0.01,
            phase=self._clock.phase,
        )

    def _corners(self) -> np.ndarray:
        """Places (B, 4, 2) under the hips and a little outside of them [m]."""
        yaw = yaw_of(self.sim.qpos[:, 3:7])
        c, s = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
        x, y = FOOTPRINT.T
        return self.sim.qpos[:, None, :2] + np.stack([c * x - s * y, s * x + c * y], axis=2)

    def _fallen(self, motion: Motion) -> np.ndarray:
        """(B,) the body leans too far or lies on the ground."""
        return (motion.upright < np.cos(TILT)) | (motion.height < LOW)

"""What robots with given quantities would have measured under recorded commands, many at a time."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import mujoco.rollout
import numpy as np

from calibration.joints.robot import TARGET_HOLD, TIMESTEP, JointRobot
from calibration.recording import JointRecording

START = 0.1
"""Seconds at a recording's beginning from which its first position and velocity are estimated."""


@dataclass(frozen=True)
class Prediction:
    """Of P robots over T samples: encoder readings q [rad], drive torques [N·m]; each (P, T, n)."""

    q: np.ndarray
    torque: np.ndarray


class Predictor:
    """Simulates robots from a recording's first sample to its last under its commands."""

    def __init__(self, robot: JointRobot, threads: int = 2) -> None:
        self.robot = robot
        self._models: list[mujoco.MjModel] = []
        self._scratch = mujoco.MjData(robot.model)
        self._data = [mujoco.MjData(robot.model) for _ in range(threads)]
        self._pool = mujoco.rollout.Rollout(nthread=threads)

    def __call__(self, values: np.ndarray, recording: JointRecording) -> Prediction:
        """Of robots with values (P, n) in physical units."""
        robot, count, n = self.robot, len(values), len(self.robot.joints)
        while len(self._models) < count:
            self._models.append(robot.copy())
        models = self._models[:count]
        for model, row in zip(models, values, strict=True):
            robot.apply(model, self._scratch, row)
        bias = np.array([robot.values(row, "encoder_bias") for row in values])
        delays = np.array([robot.scalar(row, "delay") for row in values])
        holds = np.array([robot.scalar(row, TARGET_HOLD.name) for row in values])
        q, dq = initial_state(recording)
        state = np.zeros(
            (count, mujoco.mj_stateSize(robot.model, mujoco.mjtState.mjSTATE_FULLPHYSICS))
        )
        state[:, 1 : 1 + n], state[:, 1 + n : 1 + 2 * n] = q - bias, dq
        # The drive compares the target with the reading, which is the position plus the bias.
        control = _targets(recording, delays + holds) - bias[:, None]
        # Friction beyond Coulomb's, at the velocities that were measured.
        applied = np.zeros((count, len(recording.dq), robot.model.nv))
        for torques, row in zip(applied, values, strict=True):
            torques[:, robot.dofs] = -robot.friction_rise(row, recording.dq)
        _, sensors = self._pool.rollout(
            models, self._data, state, np.concatenate([control, applied], axis=2),
            control_spec=mujoco.mjtState.mjSTATE_CTRL | mujoco.mjtState.mjSTATE_QFRC_APPLIED,
        )  # fmt: skip
        # A sensor's row k is what was true before step k, when sample k was taken.
        made, velocity, torque = np.split(np.asarray(sensors), 3, axis=2)
        # The robot's drive logs its torque with another velocity and another target than those
        # that the model's follows.
        late = np.array(
            [robot.values(v, "velocity_gain") * robot.lead(v, TIMESTEP) for v in values]
        )
        acceleration = np.diff(velocity, axis=1, append=velocity[:, -1:]) / TIMESTEP
        stiffness = np.array([robot.values(row, "position_gain") for row in values])
        ahead = _targets(recording, delays) - bias[:, None] - control
        torque = torque - late[:, None] * acceleration + stiffness[:, None] * ahead
        return Prediction(made + bias[:, None], torque)

    def close(self) -> None:
        """End the threads."""
        self._pool.close()


def still(command: np.ndarray) -> JointRecording:
    """A recording to predict along `command` (T, n): it says that the robot starts there, at
    rest."""
    zeros = np.zeros_like(command)
    start = np.tile(command[0], (len(command), 1))
    return JointRecording("model", np.arange(len(command)) * TIMESTEP, start, zeros, zeros, command)


def _targets(recording: JointRecording, delays: np.ndarray) -> np.ndarray:
    """(P, T, n)"""
    return np.stack([delayed(recording.command, max(float(delay), 0.0)) for delay in delays])


def delayed(command: np.ndarray, delay: float) -> np.ndarray:
    """Commands (T, n) as they take effect `delay` seconds late, linear between samples; before the
    first one there was the first one."""
    shift = delay / TIMESTEP
    whole = int(np.floor(shift))
    part = shift - whole
    at = np.arange(len(command)) - whole
    return (1 - part) * command[np.maximum(at, 0)] + part * command[np.maximum(at - 1, 0)]


def initial_state(recording: JointRecording) -> tuple[np.ndarray, np.ndarray]:
    """Readings (n,) [rad] and velocities (n,) [rad/s] at the first sample: a parabola through the
    first `START` seconds, which averages out the encoders' noise."""
    count = min(round(START / TIMESTEP), len(recording.q))
    at = np.arange(count) * TIMESTEP
    fit = np.polynomial.polynomial.polyfit(at, recording.q[:count], 2)
    return fit[0], fit[1]

"""What arms with given quantities would have measured under recorded commands, many at a time."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import mujoco.rollout
import numpy as np

from calibration.arm.model import TIMESTEP, ArmModel
from calibration.recording import JointRecording

START = 0.1
"""Seconds at a recording's beginning from which its first position and velocity are estimated."""


@dataclass(frozen=True)
class Prediction:
    """Of P arms over T samples: encoder readings q [rad], dq [rad/s], drive torques [N·m]; each
    (P, T, 6)."""

    q: np.ndarray
    dq: np.ndarray
    torque: np.ndarray


class Predictor:
    """Simulates arms from a recording's first sample to its last under its commands."""

    def __init__(self, arm: ArmModel, threads: int = 2) -> None:
        self.arm = arm
        self._models: list[mujoco.MjModel] = []
        self._scratch = mujoco.MjData(arm.model)
        self._data = [mujoco.MjData(arm.model) for _ in range(threads)]
        self._pool = mujoco.rollout.Rollout(nthread=threads)

    def __call__(self, values: np.ndarray, recording: JointRecording) -> Prediction:
        """Of arms with values (P, n) in physical units."""
        arm, count = self.arm, len(values)
        while len(self._models) < count:
            self._models.append(arm.copy())
        models = self._models[:count]
        for model, row in zip(models, values, strict=True):
            arm.apply(model, self._scratch, row)
        bias = np.array([arm.values(row, "encoder_bias") for row in values])
        delays = [arm.scalar(row, "delay") for row in values]
        q, dq = initial_state(recording)
        state = np.zeros(
            (count, mujoco.mj_stateSize(arm.model, mujoco.mjtState.mjSTATE_FULLPHYSICS))
        )
        state[:, 1:7], state[:, 7:13] = q - bias, dq
        # The drive compares the target with the reading, which is the position plus the bias.
        control = np.stack([delayed(recording.command, delay) for delay in delays]) - bias[:, None]
        _, sensors = self._pool.rollout(models, self._data, state, control)
        # A sensor's row k is what was true before step k, when sample k was taken.
        sensors = np.asarray(sensors)
        return Prediction(sensors[..., :6] + bias[:, None], sensors[..., 6:12], sensors[..., 12:18])

    def close(self) -> None:
        """End the threads."""
        self._pool.close()


def delayed(command: np.ndarray, delay: float) -> np.ndarray:
    """Commands (T, 6) as they take effect `delay` seconds late, linear between samples; before the
    first one there was the first one."""
    shift = delay / TIMESTEP
    whole = int(np.floor(shift))
    part = shift - whole
    at = np.arange(len(command)) - whole
    return (1 - part) * command[np.maximum(at, 0)] + part * command[np.maximum(at - 1, 0)]


def initial_state(recording: JointRecording) -> tuple[np.ndarray, np.ndarray]:
    """Readings (6,) [rad] and velocities (6,) [rad/s] at the first sample: a parabola through the
    first `START` seconds, which averages out the encoders' noise."""
    count = min(round(START / TIMESTEP), len(recording.q))
    at = np.arange(count) * TIMESTEP
    fit = np.polynomial.polynomial.polyfit(at, recording.q[:count], 2)
    return fit[0], fit[1]

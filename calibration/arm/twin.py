"""A simulated arm that is not quite the model: for tests, benchmarks and rehearsals.

Its quantities are drawn from the prior. Beyond them its links' masses are off by up to 3 %, its
friction rises towards rest (Stribeck), and its drives' torque ripples with the angle: errors that
the model knows nothing of, as every robot has.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from calibration.arm.identification import NOISE
from calibration.arm.model import TIMESTEP, ArmModel
from calibration.arm.prediction import delayed
from calibration.recording import JointRecording, PoseRecording
from calibration.wrench import NOISE as WRENCH_NOISE
from calibration.wrench import WrenchModel, wrench_priors
from sim.robots.ur5e import JOINTS, TORQUE_LIMITS

SPEED_NOISE = 1e-3
"""Of the measured joint velocities [rad/s]."""


@dataclass(frozen=True)
class Mismatch:
    """What the twin has and the model has not.

    masses: the links' errors are uniform within ± this [1]. stribeck: friction at rest above
    Coulomb's [1], fading over `fade` [rad/s]. ripple: amplitude as a share of the torque limit,
    `waves` to a turn. substeps: of the physics and of the drives' control within a step of the
    model; 1 is what the model does, more come nearer to a drive that controls continuously.
    """

    masses: float = 0.03
    stribeck: float = 0.2
    fade: float = 0.1
    ripple: float = 0.002
    waves: int = 12
    substeps: int = 1


EXACT = Mismatch(masses=0.0, stribeck=0.0, ripple=0.0)


class ArmTwin:
    """One arm with hidden quantities `values` (n,) in physical units, drawn with `seed`."""

    def __init__(self, arm: ArmModel, seed: int, mismatch: Mismatch | None = None) -> None:
        self.arm = arm
        self._mismatch = mismatch or Mismatch()
        self._rng = np.random.default_rng(seed)
        self.values = arm.priors.sample(self._rng)
        links = arm.priors.indices([f"link_mass.{joint}" for joint in JOINTS])
        self.values[links] = 1 + self._rng.uniform(-1, 1, 6) * self._mismatch.masses
        self._phase = self._rng.uniform(0, 2 * np.pi, 6)
        self._model = arm.copy()
        self._data = mujoco.MjData(self._model)
        arm.apply(self._model, self._data, self.values)
        self._model.opt.timestep = TIMESTEP / self._mismatch.substeps

    def run(self, command: np.ndarray, name: str = "twin") -> JointRecording:
        """Follow target positions (T, 6), one every `TIMESTEP`, from rest at the first of them."""
        model, data, m = self._model, self._data, self._mismatch
        bias = self.arm.values(self.values, "encoder_bias")
        friction = self.arm.values(self.values, "friction")
        control = delayed(command, self.arm.scalar(self.values, "delay")) - bias
        mujoco.mj_resetData(model, data)
        data.qpos[:] = control[0]
        # The drives hold the first target for a second before the recording begins.
        settling = round(1.0 / TIMESTEP)
        seen = np.zeros((len(command), 18))
        for k in range(-settling, len(command)):
            data.ctrl[:] = control[max(k, 0)]
            for substep in range(m.substeps):
                v, q = data.qvel, data.qpos
                rise = m.stribeck * friction * np.exp(-((v / m.fade) ** 2)) * np.tanh(v / 0.01)
                ripple = m.ripple * TORQUE_LIMITS * np.sin(m.waves * q + self._phase)
                data.qfrc_applied[:] = ripple - rise
                mujoco.mj_step(model, data)
                if substep == 0 and k >= 0:
                    seen[k] = data.sensordata
        noise = self._rng.normal(size=seen.shape)
        return JointRecording(
            name,
            np.arange(len(command)) * TIMESTEP,
            seen[:, :6] + bias + noise[:, :6] * NOISE[:6],
            seen[:, 6:12] + noise[:, 6:12] * SPEED_NOISE,
            seen[:, 12:] + noise[:, 12:] * NOISE[6:],
            command,
        )


class WrenchTwin:
    """A wrist sensor and its tool with hidden quantities, drawn with `seed`."""

    def __init__(self, arm: ArmModel, seed: int) -> None:
        self._arm = arm
        self._rng = np.random.default_rng(seed)
        priors = wrench_priors()
        self.model = WrenchModel(priors, priors.sample(self._rng))

    def run(self, q: np.ndarray, name: str = "twin") -> PoseRecording:
        """Hold still at joint positions (P, 6) [rad], one after the other."""
        wrench = self.model.static(self._arm.tool_rotations(q))
        return PoseRecording(name, q, wrench + self._rng.normal(size=wrench.shape) * WRENCH_NOISE)

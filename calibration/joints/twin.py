"""A simulated robot that is not quite the model: for tests, benchmarks and rehearsals.

Its quantities are drawn from the prior. Beyond them its links' masses are off by up to 3 %, its
friction rises towards rest (Stribeck), and its drives' torque ripples with the angle: errors that
the model knows nothing of, as every robot has. A model that knows a rise of friction knows neither
its law nor how the joints differ in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from calibration.joints.prediction import delayed
from calibration.joints.robot import (
    STRIBECK_SPEED,
    TARGET_HOLD,
    TIMESTEP,
    VELOCITY_LAG,
    JointRobot,
    stribeck,
)
from calibration.recording import JointRecording

SPEED_NOISE = 1e-3
"""Of the measured joint velocities [rad/s]."""
UNLIKE = 0.5
"""How far a joint's rise of friction may be from the others', where a model knows of one [1]."""


@dataclass(frozen=True)
class Mismatch:
    """What the twin has and the model has not.

    masses: the links' errors are uniform within ± this [1]. stribeck: friction at rest above
    Coulomb's [1], fading over `fade` [rad/s] by the law with this `exponent`. ripple: amplitude as
    a share of the torque limit, `waves` to a turn. substeps: of the physics and of the drives'
    control within a step of the model; 1 is what the model does, more come nearer to a drive that
    controls continuously.
    """

    masses: float = 0.03
    stribeck: float = 0.2
    fade: float = 0.1
    exponent: float = 2.0
    ripple: float = 0.002
    waves: int = 12
    substeps: int = 1

    @staticmethod
    def drawn(rng: np.random.Generator) -> Mismatch:
        """Every size by chance, up to twice the usual ones."""
        return Mismatch(
            masses=rng.uniform(0.0, 0.05),
            stribeck=rng.uniform(0.0, 0.4),
            fade=float(np.exp(rng.uniform(np.log(0.05), np.log(0.2)))),
            ripple=rng.uniform(0.0, 0.004),
            waves=int(rng.integers(6, 25)),
            substeps=int(rng.choice([1, 2, 4])),
        )


EXACT = Mismatch(masses=0.0, stribeck=0.0, ripple=0.0)


class JointTwin:
    """One robot with hidden quantities `values` (p,) in physical units, drawn with `seed` unless
    they are given."""

    def __init__(
        self,
        robot: JointRobot,
        seed: int,
        mismatch: Mismatch | None = None,
        values: np.ndarray | None = None,
    ) -> None:
        self.robot = robot
        self.mismatch = m = mismatch or Mismatch()
        self._rng = np.random.default_rng(seed)
        period, n = TIMESTEP / m.substeps, len(robot.joints)
        drawn = robot.priors.sample(self._rng)
        links = robot.priors.indices([f"link_mass.{joint}" for joint in robot.joints])
        drawn[links] = 1 + self._rng.uniform(-1, 1, n) * m.masses
        # A drive holds its torque for a period of its own, each target for the recording's.
        drawn[robot.priors.names.index(VELOCITY_LAG.name)] = period / 2
        drawn[robot.priors.names.index(TARGET_HOLD.name)] = (TIMESTEP - period) / 2
        self._rise = np.full(n, m.stribeck)
        if STRIBECK_SPEED.name in robot.priors.names:
            self._rise *= self._rng.uniform(1 - UNLIKE, 1 + UNLIKE, n)
            rises = robot.priors.indices([f"stribeck.{joint}" for joint in robot.joints])
            drawn[rises] = self._rise
            drawn[robot.priors.names.index(STRIBECK_SPEED.name)] = m.fade
        self.values = drawn if values is None else values
        self._phase = self._rng.uniform(0, 2 * np.pi, n)
        self._model = robot.copy()
        self._model.opt.timestep = period
        self._data = mujoco.MjData(self._model)
        robot.apply(self._model, self._data, self.values)

    def add(self, body: str, mass: float) -> None:
        """Hang a load [kg] on a body, at its centre of mass."""
        self._model.body(body).mass[:] += mass
        mujoco.mj_setConst(self._model, self._data)

    def run(self, command: np.ndarray, name: str = "twin") -> JointRecording:
        """Follow target positions (T, n), one every `TIMESTEP`, from rest at the first of them."""
        robot, model, data, m = self.robot, self._model, self._data, self.mismatch
        bias = robot.values(self.values, "encoder_bias")
        friction = robot.values(self.values, "friction")
        control = delayed(command, robot.scalar(self.values, "delay")) - bias
        mujoco.mj_resetData(model, data)
        places = np.array([model.joint(name).qposadr[0] for name in robot.joints])
        data.qpos[places] = control[0]
        # The drives hold the first target for a second before the recording begins.
        settling = round(1.0 / TIMESTEP)
        seen = np.zeros((len(command), model.nsensordata))
        for k in range(-settling, len(command)):
            data.ctrl[:] = control[max(k, 0)]
            for substep in range(m.substeps):
                v, q = data.qvel[robot.dofs], data.qpos[places]
                rise = self._rise * friction * stribeck(v, m.fade, m.exponent)
                wave = np.sin(m.waves * q + self._phase)
                data.qfrc_applied[robot.dofs] = m.ripple * robot.layout.torque_limits * wave - rise
                mujoco.mj_step(model, data)
                if substep == 0 and k >= 0:
                    seen[k] = data.sensordata
        noise = self._rng.normal(size=seen.shape)
        q, dq, torque = np.split(seen, 3, axis=1)
        on_q, on_dq, on_torque = np.split(noise, 3, axis=1)
        reading, torque_noise = np.split(robot.layout.noise, 2)
        return JointRecording(
            name,
            np.arange(len(command)) * TIMESTEP,
            q + bias + on_q * reading,
            dq + on_dq * SPEED_NOISE,
            torque + on_torque * torque_noise,
            command,
        )

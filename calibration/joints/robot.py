"""A robot with position-controlled joints, and the quantities of it that are unknown.

Each joint's drive receives a target position and produces the torque
Kp (target(t − delay) − q(t)) − Kd q̇(t − lag), where q is the encoder's reading: the joint's
position plus a bias. The lag is half the period for which a drive holds its torque, and what its
estimate of the velocity adds. A drive that works faster than targets arrive holds each of them: its
torque is logged as it takes a new one, and on average it follows them later, by the hold.
"""

from __future__ import annotations

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import mujoco
import numpy as np
from dm_control import mjcf

from calibration.parameters import Prior, Priors

TIMESTEP = 0.002
"""Of the model, and the period of the recordings [s]."""
GRAVITY = 9.81
VELOCITY_LAG = Prior("velocity_lag", "s", 0.0005, 0.7, "log")
"""From a drive that controls continuously to one with a period of several milliseconds."""
MAX_LAG = 0.003
"""Beyond this a lag would leave a joint without inertia in the model [s]."""
TARGET_HOLD = Prior("target_hold", "s", 0.0005, 0.0005)
"""From none, of a drive with the period of the model, to half of this period."""
MASS_ERROR = 0.03
"""Of a link's mass; standard deviation of its logarithm."""
STRIBECK_SPEED = Prior("stribeck_speed", "rad/s", 0.1, 0.5, "log", nuisance=True)
"""Over which friction falls from its value at rest to Coulomb's."""
SIGN_SPEED = 0.01
"""Over which friction changes its sign [rad/s]."""

Motion = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Positions [rad], velocities [rad/s] and accelerations [rad/s²] of n joints; each (T, n)."""


@dataclass(frozen=True)
class Limits:
    """What a motion keeps to. speed [rad/s], acceleration [rad/s²]: of every target. torque: share
    of each joint's limit."""

    speed: float
    acceleration: float
    torque: float = 0.8


@dataclass(frozen=True)
class Excitation:
    """Of what a motion is made. segment: duration of the chirps at one posture [s]. frequencies:
    ends of every chirp [Hz]. amplitude: of its slowest part [rad]. spread (n,): how far a posture
    may lie from the robot's `ready`, joint by joint [rad]."""

    segment: float
    frequencies: tuple[float, float]
    amplitude: float
    spread: np.ndarray


@dataclass(frozen=True)
class Layout:
    """What is known of a kind of robot with n joints.

    torque_limits (n,) [N·m]. noise (2n,): standard deviation of the sensors alone, of readings
    [rad], then of torques [N·m]. ready (n,): where every motion begins and ends [rad].
    chains: indices of joints that move each other; joints of different chains do not. max_delay:
    beyond this a delay is not looked for [s]. worst: held-out error of the readings, over their
    noise, beyond which the model is another robot's; of soft joints it is larger.
    """

    joints: tuple[str, ...]
    torque_limits: np.ndarray
    noise: np.ndarray
    ready: np.ndarray
    chains: tuple[tuple[int, ...], ...]
    limits: Limits
    excitation: Excitation
    max_delay: float
    worst: float


@dataclass(frozen=True)
class Load:
    """A mass that may hang on a robot unannounced. place: for messages. torque (T, n): per kg, as a
    point mass. moments: torques per kg·m, by the name of a quantity, where its centre is unknown.
    quantity: the name of its mass, where that is one."""

    place: str
    torque: np.ndarray
    moments: Mapping[str, np.ndarray]
    quantity: str = ""


@dataclass(frozen=True)
class JointRobot(ABC):
    """The compiled robot and where its unknown quantities go.

    priors: of the quantities in a vector of values (n,), in order.
    """

    priors: Priors
    kind: ClassVar[str]
    """For messages: "arm"."""

    @property
    @abstractmethod
    def layout(self) -> Layout:
        """What is known of this kind of robot."""

    @abstractmethod
    def build(self) -> mujoco.MjModel:
        """The nominal robot. Its actuators are the layout's joints, in order; it has the sensors of
        `add_sensors`, and no others."""

    @abstractmethod
    def apply_body(self, model: mujoco.MjModel, values: np.ndarray) -> None:
        """Write what is no joint's: masses, a payload."""

    @abstractmethod
    def unsafe(self, q: np.ndarray) -> str:
        """What positions (P, n) [rad] would bring the robot near to; "" if nothing."""

    @abstractmethod
    def loads(self, motion: Motion) -> list[Load]:
        """What may hang on the robot unannounced."""

    @property
    def joints(self) -> tuple[str, ...]:
        return self.layout.joints

    @cached_property
    def model(self) -> mujoco.MjModel:
        model = self.build()
        model.opt.timestep = TIMESTEP
        # A drive holds its torque from one sample to the next. An implicit integrator would apply
        # another one than it reports.
        model.opt.integrator = mujoco.mjtIntegrator.mjINT_EULER
        model.opt.gravity[:] = 0, 0, -GRAVITY
        return model

    @cached_property
    def dofs(self) -> np.ndarray:
        """Where the joints stand (n,) among the model's degrees of freedom."""
        return np.array([self.model.joint(name).dofadr[0] for name in self.joints])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the compiled model: what the estimates are relative to."""
        buffer = np.zeros(mujoco.mj_sizeModel(self.model), np.uint8)
        mujoco.mj_saveModel(self.model, None, buffer)
        return hashlib.sha256(buffer.tobytes()).hexdigest()

    def copy(self) -> mujoco.MjModel:
        """A model of the same sizes, to be filled by `apply`."""
        return copy.copy(self.model)

    def values(self, values: np.ndarray, key: str) -> np.ndarray:
        """One quantity of all joints (n,), such as "friction"."""
        return values[self.priors.indices([f"{key}.{joint}" for joint in self.joints])]

    def scalar(self, values: np.ndarray, name: str, default: float = 0.0) -> float:
        """One quantity that no joint has, or `default` where it is not among the unknown."""
        if name not in self.priors.names:
            return default
        return float(values[self.priors.names.index(name)])

    def lead(self, values: np.ndarray, timestep: float) -> float:
        """By how much earlier a drive sees its velocity than one in a model of this step [s]."""
        return timestep / 2 - min(self.scalar(values, VELOCITY_LAG.name), MAX_LAG)

    def apply(self, model: mujoco.MjModel, data: mujoco.MjData, values: np.ndarray) -> None:
        """Write values (n,) into a copy. The delay and the encoders' bias are not in a model: they
        shift the commands and the readings, see `prediction`. data: a scratch of the same sizes.

        MuJoCo's Euler steps see the velocity half a step late: M q̈ = τ − Kd (q̇ − q̈ step / 2). An
        armature that is larger by Kd × `lead` makes them those of a drive with its own lag.
        """
        velocity_gain = self.values(values, "velocity_gain")
        lead = self.lead(values, model.opt.timestep)
        model.dof_armature[self.dofs] = self.values(values, "armature") + velocity_gain * lead
        model.dof_damping[self.dofs] = self.values(values, "damping")
        model.dof_frictionloss[self.dofs] = self.values(values, "friction")
        stiffness = self.values(values, "position_gain")
        model.actuator_gainprm[:, 0] = stiffness
        model.actuator_biasprm[:, 1] = -stiffness
        model.actuator_biasprm[:, 2] = -velocity_gain
        links = self.model.dof_bodyid[self.dofs]
        model.body_mass[links] = self.model.body_mass[links] * self.values(values, "link_mass")
        self.apply_body(model, values)
        mujoco.mj_setConst(model, data)

    def link_torques(self, motion: Motion, **given: float) -> np.ndarray:
        """Torques (T, n) that the links need for a motion, without rotors and friction, of a robot
        that is nominal and unloaded but for the quantities given by name."""
        model = self.unloaded(**given)
        data = mujoco.MjData(model)
        made = np.zeros_like(motion[0])
        for k, (position, velocity, acceleration) in enumerate(zip(*motion, strict=True)):
            data.qpos[:], data.qvel[:], data.qacc[:] = position, velocity, acceleration
            mujoco.mj_inverse(model, data)
            made[k] = data.qfrc_inverse
        return made

    def unloaded(self, **given: float) -> mujoco.MjModel:
        """Nominal links without rotors, friction and gains, but for the quantities given by
        name."""
        names = self.priors.names
        values = np.array([float(name.startswith("link_mass.")) for name in names])
        for name, value in given.items():
            values[names.index(name)] = value
        model = self.copy()
        self.apply(model, mujoco.MjData(model), values)
        return model

    def friction_rise(self, values: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Torques (T, n) of friction beyond Coulomb's at joint velocities (T, n); 0 where its size
        is not among the unknown."""
        if STRIBECK_SPEED.name not in self.priors.names:
            return np.zeros_like(velocity)
        at_rest = self.values(values, "stribeck") * self.values(values, "friction")
        return at_rest * stribeck(velocity, self.scalar(values, STRIBECK_SPEED.name))

    @cached_property
    def groups(self) -> list[dict[int, np.ndarray]]:
        """Quantities that may be varied together, since they move joints of different chains: from
        the index of a quantity to the joints that it moves."""
        chain_of = {self.joints[j]: chain for chain in self.layout.chains for j in chain}
        together: dict[object, dict[int, np.ndarray]] = {}
        for i, name in enumerate(self.priors.names):
            key, _, joint = name.partition(".")
            chain = chain_of.get(joint)
            if chain is None:
                together[name] = {i: np.arange(len(self.joints))}
            else:
                place = chain.index(self.joints.index(joint))
                together.setdefault((key, place), {})[i] = np.array(chain)
        return list(together.values())


def joint_priors(
    joints: Sequence[str],
    nominal: Mapping[str, Sequence[float]],
    gain_error: float,
    bias: float,
    delay: Prior,
    widen: Mapping[str, float],
) -> list[Prior]:
    """What is believed of drives before they have moved.

    nominal: by key, of each joint: armature, damping, friction, position_gain, velocity_gain.
    gain_error: standard deviation of the gains' logarithm. bias: of the encoders [rad]. widen: see
    `Prior`, by key.
    """
    units = {
        "armature": ("kg·m²", 0.4),
        "damping": ("N·m·s/rad", 0.6),
        "friction": ("N·m", 0.6),
        "position_gain": ("N·m/rad", gain_error),
        "velocity_gain": ("N·m·s/rad", gain_error),
    }
    items = [
        Prior(f"{key}.{joint}", unit, mean, std, "log", widen=widen.get(key, 1.0))
        for key, (unit, std) in units.items()
        for joint, mean in zip(joints, nominal[key], strict=True)
    ]
    wide = widen.get("encoder_bias", 1.0)
    items += [Prior(f"encoder_bias.{joint}", "rad", 0.0, bias, widen=wide) for joint in joints]
    return [*items, delay, VELOCITY_LAG, TARGET_HOLD]


def link_masses(joints: Sequence[str]) -> list[Prior]:
    """Errors of the links' masses, which are estimated beside the others and not reported."""
    return [
        Prior(f"link_mass.{joint}", "1", 1.0, MASS_ERROR, "log", nuisance=True) for joint in joints
    ]


def stribeck_priors(joints: Sequence[str]) -> list[Prior]:
    """Friction at rest beyond Coulomb's, as a share of it: estimated beside the others, which it
    would bias, and not reported."""
    rises = [Prior(f"stribeck.{joint}", "1", 0.15, 0.15, nuisance=True) for joint in joints]
    return [*rises, STRIBECK_SPEED]


def stribeck(velocity: np.ndarray, speed: float, exponent: float = 2.0) -> np.ndarray:
    """Share of the rise of friction at rest that is left at velocities [rad/s], with their sign
    (Armstrong-Hélouvry, Dupont and Canudas de Wit, 1994)."""
    return np.exp(-(np.abs(velocity / speed) ** exponent)) * np.tanh(velocity / SIGN_SPEED)


def add_sensors(root: mjcf.RootElement, joints: Sequence[str]) -> None:
    """Positions, velocities and torques of the joints, in this order."""
    for kind in ("jointpos", "jointvel", "jointactuatorfrc"):
        for joint in joints:
            root.sensor.add(kind, name=f"{kind}_{joint}", joint=joint)

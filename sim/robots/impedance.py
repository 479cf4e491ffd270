"""Cartesian impedance control of the arm through joint torques."""

from __future__ import annotations

import math

import mujoco
import numpy as np
from dm_control import mjcf

from sim.robots.ur5e import HOME, TORQUE_LIMITS, add_arm

DAMPING_RATIO = 1.0
"""Of each axis, with the arm's inertia as felt at the tip."""
FORCE_GAIN = 1.0
"""Gain of the wrench feedback: at the tip the arm feels 1 + gain times lighter than it is. With 2
or more, contact with the socket oscillates."""
OBSERVER = 80.0
"""Bandwidth of the disturbance observer [rad/s]. Without the observer, friction of the wrist joints
absorbs moves as small as a search makes."""
IK_STEPS, IK_TOLERANCE = 50, 1e-9


def rotation(angles: np.ndarray) -> np.ndarray:
    """Rz(yaw) Ry(pitch) Rx(roll) (3, 3) of yaw, pitch, roll (3,) [rad]."""
    (cz, cy, cx), (sz, sy, sx) = np.cos(angles).tolist(), np.sin(angles).tolist()
    return np.array(
        [
            [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
            [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
            [-sy, cy * sx, cy * cx],
        ]
    )


def angles(matrix: np.ndarray) -> np.ndarray:
    """Inverse of `rotation`, for |pitch| < π/2."""
    r = matrix
    return np.array(
        [
            math.atan2(r[1, 0], r[0, 0]),
            math.asin(min(1.0, max(-1.0, -r[2, 0]))),
            math.atan2(r[2, 1], r[2, 2]),
        ]
    )


def angle_rates(angles: np.ndarray, omega: np.ndarray) -> np.ndarray:
    """Rates of yaw, pitch, roll (3,) of a body that turns at omega (3,) [rad/s]."""
    yaw, pitch = angles[0], angles[1]
    cz, sz = math.cos(yaw), math.sin(yaw)
    # Columns: the axes about which yaw, pitch and roll turn.
    axes = np.array(
        [[0, -sz, cz * math.cos(pitch)], [0, cz, sz * math.cos(pitch)], [1, 0, -math.sin(pitch)]]
    )
    return np.linalg.solve(axes, omega)


def _turn_between(target: np.ndarray, current: np.ndarray) -> np.ndarray:
    """sin(angle) × axis of the rotation that takes `current` to `target`."""
    e = target @ current.T
    return 0.5 * np.array([e[2, 1] - e[1, 2], e[0, 2] - e[2, 0], e[1, 0] - e[0, 1]])


class Impedance:
    """tau = Jᵀ (K e − D v) + gravity and velocity terms, within the joints' torque limits.

    Everything is computed on the controller's own model of the arm. Its masses differ slightly from
    the true ones, and it contains neither the plug nor friction; an observer of the joints'
    momentum compensates both, within its bandwidth. Six joints and six axes leave no null space.
    Feedback of the measured wrench reduces the inertia that is felt at the tip; D gives every axis
    `DAMPING_RATIO` with the remaining inertia, which is several times the training rig's virtual
    mass and differs from axis to axis.

    timestep: between calls of `torque` [s].
    """

    def __init__(self, timestep: float) -> None:
        self._timestep = timestep
        root = mjcf.RootElement(model="controller")
        root.compiler.angle = "radian"
        add_arm(root, true_masses=False)
        self._model = mujoco.MjModel.from_xml_string(root.to_xml_string(), root.get_assets())
        self._data = mujoco.MjData(self._model)
        self._tip = mujoco.mj_name2id(self._model, mujoco.mjtObj.mjOBJ_SITE, "tip")
        self._jacobian = np.zeros((6, 6))
        self._bias = np.zeros(6)
        self.stiffness = np.ones(6)
        self.damping = np.ones(6)
        self._mass = np.zeros((6, 6))
        self._momentum = np.zeros(6)
        self._disturbance = np.zeros(6)

    @property
    def position(self) -> np.ndarray:
        """Of the tip (3,) [m], at the last joint positions seen."""
        return self._data.site_xpos[self._tip]

    @property
    def orientation(self) -> np.ndarray:
        """Of the tool (3, 3), at the last joint positions seen."""
        return self._data.site_xmat[self._tip].reshape(3, 3)

    @property
    def pose(self) -> np.ndarray:
        """x, y, z, yaw, pitch, roll (6,) [m, rad], at the last joint positions seen."""
        return np.concatenate([self.position, angles(self.orientation)])

    @property
    def jacobian(self) -> np.ndarray:
        """Of the tip (6, 6): velocity, then angular velocity, at the last joint positions seen."""
        return self._jacobian

    def rates(self, velocity: np.ndarray) -> np.ndarray:
        """Rates of change of `pose` (6,) at joint velocities (6,)."""
        twist = self._jacobian @ velocity
        return np.concatenate([twist[:3], angle_rates(angles(self.orientation), twist[3:])])

    def look(self, position: np.ndarray, velocity: np.ndarray) -> None:
        """Take in the joints' positions [rad] and velocities [rad/s] (6,)."""
        model, data = self._model, self._data
        data.qpos[:], data.qvel[:] = position, velocity
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_jacSite(model, data, self._jacobian[:3], self._jacobian[3:], self._tip)

    def tune(self, stiffness: np.ndarray) -> None:
        """Set K (6,) [N/m, N·m/rad] and, with the inertia at the last joint positions seen, D."""
        model, data = self._model, self._data
        mujoco.mj_makeM(model, data)
        mujoco.mj_fullM(model, data, self._mass)
        at_tip = np.linalg.inv(self._jacobian @ np.linalg.solve(self._mass, self._jacobian.T))
        self.forget()
        self.stiffness = stiffness
        felt = np.diag(at_tip) / (1 + FORCE_GAIN)
        self.damping = 2 * DAMPING_RATIO * np.sqrt(stiffness * felt)

    def forget(self) -> None:
        """Start to observe the disturbance anew, from rest."""
        self._momentum[:], self._disturbance[:] = 0.0, 0.0

    def torque(
        self,
        velocity: np.ndarray,
        target: np.ndarray,
        target_rotation: np.ndarray,
        contact: np.ndarray,
    ) -> np.ndarray:
        """Joint torques (6,) [N·m] toward a target (3,) [m] and (3, 3), after `look`. To be called
        every `timestep`: the torque is taken as applied until the next call.

        contact: wrench (6,) on the plug, about the tip and in the tool's frame [N, N·m].
        """
        model, data = self._model, self._data
        mujoco.mj_comVel(model, data)
        mujoco.mj_rne(model, data, 0, self._bias)
        error = np.empty(6)
        error[:3] = target - self.position
        error[3:] = _turn_between(target_rotation, self.orientation)
        force = self.stiffness * error - self.damping * (self._jacobian @ velocity)
        force *= 1 + FORCE_GAIN
        outside = (contact.reshape(2, 3) @ self.orientation.T).ravel()
        force += FORCE_GAIN * outside
        torque = self._jacobian.T @ force + self._bias - self._disturbance
        torque = np.minimum(np.maximum(torque, -TORQUE_LIMITS), TORQUE_LIMITS)
        # Any other change of momentum is friction or an error of the model's masses (De Luca and
        # Mattone 2003). The inertia's own change is small at these speeds and is left out.
        expected = torque - self._bias + self._jacobian.T @ outside + self._disturbance
        self._momentum += self._timestep * expected
        mujoco.mj_makeM(model, data)
        mujoco.mj_fullM(model, data, self._mass)
        self._disturbance = OBSERVER * (self._mass @ velocity - self._momentum)
        return torque

    def inverse(self, pose: np.ndarray) -> np.ndarray:
        """Joint positions (6,) [rad] near `HOME` for a tool pose (6,), by Newton's method."""
        target_rotation = rotation(pose[3:])
        position = HOME.copy()
        for _ in range(IK_STEPS):
            self.look(position, np.zeros(6))
            error = np.concatenate(
                [pose[:3] - self.position, _turn_between(target_rotation, self.orientation)]
            )
            if np.abs(error).max() < IK_TOLERANCE:
                return position
            step = np.linalg.solve(self._jacobian, error)
            position = position + step * min(1.0, 0.5 / np.abs(step).max())
        raise ValueError(f"the arm does not reach the tool pose {np.round(pose, 4)}")

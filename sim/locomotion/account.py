"""What each robot's episode came to: tracking, work, and how it walks."""

from __future__ import annotations

import numpy as np

from robot_bridge.drivers.gait import STANDING
from sim.locomotion.reward import Motion

LIFTED = 0.005
"""A foot this far above the ground swings [m]."""


class EpisodeAccount:
    """Sums over B robots' episodes so far. A mean over an episode is 0 before its first period.

    distance: (B,) walked [m]. asked: (B,) that the command asked for [m]. progress: (B,) walked
    in the commanded direction [m]. energy: (B,) of the motors' positive mechanical work [J]; one
    that brakes gives nothing back. energy_per_weight: (B,) [m]. periods: (B,) counted.

    Args:
        robots: B.
        period: control period [s].
    """

    def __init__(self, robots: int, period: float) -> None:
        self._period = period
        self.periods = np.zeros(robots, int)
        self.distance, self.asked, self.progress = (np.zeros(robots) for _ in range(3))
        self.energy, self.energy_per_weight = np.zeros(robots), np.zeros(robots)
        self._error, self._turn_error = np.zeros(robots), np.zeros(robots)
        self._torque, self._action_rate = np.zeros(robots), np.zeros(robots)
        self._contact, self._contact_periods = np.zeros((robots, 4)), np.zeros(robots)
        self._peak, self._peaks, self._swings = (np.zeros((robots, 4)) for _ in range(3))
        self._slip, self._steps = np.zeros(robots), np.zeros(robots)

    def reset(self, which: np.ndarray) -> None:
        """Begin anew where which (B,) is True."""
        for value in vars(self).values():
            if isinstance(value, np.ndarray):
                value[which] = 0

    def add(self, motion: Motion, joint_speed: np.ndarray, weight: np.ndarray) -> None:
        """Count one control period. joint_speed: (B, 12) [rad/s]. weight: (B,) [N]."""
        dt, m = self._period, motion
        velocity, command = m.velocity[:, :2], m.command[:, :2]
        speed, asked = np.linalg.norm(velocity, axis=1), np.linalg.norm(command, axis=1)
        self.periods += 1
        self.distance += dt * speed
        self.asked += dt * asked
        self.progress += dt * (velocity * command).sum(axis=1) / np.maximum(asked, 1e-9)
        work = dt * np.maximum(m.torque * joint_speed, 0.0).sum(axis=1)
        self.energy += work
        self.energy_per_weight += work / weight
        self._error += np.linalg.norm(velocity - command, axis=1)
        self._turn_error += np.abs(m.gyro[:, 2] - m.command[:, 2])
        self._torque += (m.torque**2).mean(axis=1)
        self._action_rate += ((m.action - m.before) ** 2).mean(axis=1)
        moving = np.abs(m.command).max(axis=1) > STANDING
        self._contact += m.contact * moving[:, None]
        self._contact_periods += moving
        swinging = (m.foot_height > LIFTED) & moving[:, None]
        landed = ~swinging & (self._peak > 0.0)
        self._peaks += np.where(landed, self._peak, 0.0)
        self._swings += landed
        self._peak = np.where(swinging, np.maximum(self._peak, m.foot_height), 0.0)
        self._slip += (m.contact * m.foot_speed).sum(axis=1)
        self._steps += m.contact.sum(axis=1)

    @property
    def error(self) -> np.ndarray:
        """(B,) mean difference of the horizontal velocity from the command [m/s]."""
        return self._error / np.maximum(self.periods, 1)

    @property
    def turn_error(self) -> np.ndarray:
        """(B,) mean difference of the turning rate from the command [rad/s]."""
        return self._turn_error / np.maximum(self.periods, 1)

    @property
    def cost_of_transport(self) -> np.ndarray:
        """(B,) energy per weight and distance [1]; infinite for a robot that did not move."""
        moved = np.where(self.distance > 0.0, self.distance, np.nan)
        return np.nan_to_num(self.energy_per_weight / moved, nan=np.inf)

    def gait(self) -> dict[str, np.ndarray]:
        """How each robot walks, (B,) by name: share of the time that a foot stands, height of a
        swing's highest point [m], speed of standing feet along the ground [m/s], and root mean
        squares of the joints' torque [N·m] and of the actions' change in a period [1]."""
        periods = np.maximum(self.periods, 1)
        return {
            "duty": self._contact.mean(axis=1) / np.maximum(self._contact_periods, 1),
            "clearance": self._peaks.sum(axis=1) / np.maximum(self._swings.sum(axis=1), 1),
            "slip": self._slip / np.maximum(self._steps, 1),
            "torque": np.sqrt(self._torque / periods),
            "action_rate": np.sqrt(self._action_rate / periods),
        }

"""The reward of one control period, as a sum of named terms.

Tracking pays; what makes a gait ugly or costly on a robot is charged. Weights were found by
measurement on this body (a walk in minutes, feet that clear the ground, no twitching).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Motion:
    """What one control period did, B robots.

    velocity: (B, 3) of the base in its own heading's frame [m/s], z up. gyro: (B, 3) in the body's
    frame [rad/s]. command: (B, 3). gravity: (B, 3) unit vector in the body's frame, into the ground
    and at a right angle to it, so that a slope counts as level. upright: (B,) cosine of the body's
    tilt from the world's vertical. height: (B,) of the base above the ground [m].
    torque: (B, 12) [N·m]. action, before, earlier: (B, n_a) this period's, the last one's and the
    one before that. joints: (B, 12) less the stance [rad]. foot_height: (B, 4) above the ground
    [m]; foot_speed: (B, 4) along the ground [m/s]; contact: (B, 4). phase: (B, 4) [cycles].
    """

    velocity: np.ndarray
    gyro: np.ndarray
    command: np.ndarray
    gravity: np.ndarray
    upright: np.ndarray
    height: np.ndarray
    torque: np.ndarray
    action: np.ndarray
    before: np.ndarray
    earlier: np.ndarray
    joints: np.ndarray
    foot_height: np.ndarray
    foot_speed: np.ndarray
    contact: np.ndarray
    phase: np.ndarray


HEIGHT = 0.30
"""Of the base above the ground that the reward asks for [m]."""
CLEARANCE = 0.05
"""Of a swinging foot [m]."""


def tracking(motion: Motion) -> np.ndarray:
    """(B,) in [0, 2.25]: how well the velocity follows the command. What a task is judged by."""
    off = motion.velocity[:, :2] - motion.command[:, :2]
    turn = motion.gyro[:, 2] - motion.command[:, 2]
    return 1.5 * np.exp(-(off**2).sum(1) / 0.15) + 0.75 * np.exp(-(turn**2) / 0.25)


def reward(motion: Motion) -> np.ndarray:
    """(B,) what critics learn from."""
    m = motion
    swing = m.phase < 0.5
    moving = (np.abs(m.command).max(1) > 0.05)[:, None]
    in_step = np.where(moving, m.contact != swing, m.contact).mean(1)
    lifted = np.where(swing & moving, np.minimum(m.foot_height / CLEARANCE, 1.0), 0.0).mean(1)
    change = m.action - m.before
    jerk = m.action - 2 * m.before + m.earlier
    slip = (m.contact * m.foot_speed**2).sum(1)
    off = ((m.velocity[:, :2] - m.command[:, :2]) ** 2).sum(1)
    return (
        tracking(m)
        # `tracking` is flat far from the command and below 0.15 m/s from it; this term is not.
        + np.maximum(1.0 - np.sqrt(off), 0.0)
        # A gait pays where it gets along: paid for by itself, it was a robot's best answer to hard
        # ground to step in place.
        + 0.5 * (in_step + lifted) * np.exp(-off / 0.15)
        + 0.25
        - m.velocity[:, 2] ** 2
        - 0.05 * (m.gyro[:, :2] ** 2).sum(1)
        - 2e-4 * (m.torque**2).sum(1)
        - 0.03 * (change**2).sum(1)
        - 0.01 * (jerk**2).sum(1)
        - (m.gravity[:, :2] ** 2).sum(1)
        - 10.0 * (m.height - HEIGHT) ** 2
        - 0.1 * slip
        - 0.3 * (m.joints[:, ::3] ** 2).sum(1)
        - 0.05 * (m.joints**2).sum(1)
    )

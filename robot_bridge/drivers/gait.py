"""A quadruped's gait: a phase clock and joint references that a policy modulates.

The policy does not command joints from nothing. It modulates a trot: frequency, lift and the
phase of each leg, plus a residual on each joint's reference. A driver on a robot and the simulated
worlds both run this module, so that they agree on what an action means.

Legs are in the order front left, front right, rear left, rear right; a leg's joints are hip
(abduction), thigh, calf. B robots in one call; a driver passes B = 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEGS = 4
TROT = np.array([0.0, 0.5, 0.5, 0.0])
"""Phase of each leg [cycles]: diagonal pairs step together."""
HIP_LEVER = 0.3
"""From the foot to the hip in the stance [m]; turns a stride [m] into an angle of the thigh."""
TRACK = 0.14
"""From the body's centre line to a foot, sideways [m]."""
WHEELBASE = 0.19
"""From the body's centre to a hip, along the body [m]."""

SMOOTHING = 0.2
"""Time constant with which frequency, lift and offsets follow what is asked [s]."""
FREQUENCY, LIFT = 2.6, 0.32
"""Of the gait that no policy modulates: steps of a leg per second [Hz], and by how much a swinging
thigh and calf fold [rad]. These and the constants below were found by a search for the open-loop
trot that follows commands best (the cross-entropy method on the simulated robot)."""
NEUTRAL = np.array([FREQUENCY, LIFT, 0.0, 0.0, 0.0, 0.0])
"""What a gait starts with: frequency, lift, four offsets."""


@dataclass(frozen=True)
class Modulation:
    """What a policy asks of the gait, in physical units.

    residual: (B, 12) added to the joint references [rad]. frequency: (B,) steps of a leg per
    second [Hz]. lift: (B,) how far a swinging thigh and calf fold [rad]. offset: (B, 4) phase of
    each leg relative to the trot [cycles].
    """

    residual: np.ndarray
    frequency: np.ndarray
    lift: np.ndarray
    offset: np.ndarray


class GaitClock:
    """Phases of B robots' legs and the joint targets that follow from them.

    Frequency, lift and offsets follow what is asked with a lag of SMOOTHING, so that no command
    makes a leg jump.

    stance: (12,) joint angles [rad] at rest. period: control period [s].
    phase: (B, 4) of each leg [cycles], in [0, 1); a leg swings in the first half.
    """

    def __init__(self, robots: int, stance: np.ndarray, period: float) -> None:
        self._stance, self._period = np.asarray(stance, float), period
        self._clock = np.zeros(robots)
        # Frequency, lift, then four offsets, as they are now.
        self._gait = np.tile(NEUTRAL, (robots, 1))
        self.phase = np.tile(TROT, (robots, 1))

    def reset(self, which: np.ndarray, start: np.ndarray | float = 0.0) -> None:
        """Start the gait of the robots where which (B,) is True at a phase [cycles]."""
        self._clock[which] = start
        self._gait[which] = NEUTRAL
        self.phase[which] = (self._clock[which, None] + TROT) % 1.0

    def observe(self) -> np.ndarray:
        """(B, 8): sine and cosine of each leg's phase, what a policy is shown of it."""
        angle = 2 * np.pi * self.phase
        return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)

    def targets(self, modulation: Modulation, command: np.ndarray) -> np.ndarray:
        """Advance one control period; joint targets (B, 12) [rad].

        command: (B, 3) velocity forward, to the left [m/s] and turning rate [rad/s]. A robot that
        is told to stand keeps its feet down: its reference is the stance.
        """
        asked = np.column_stack([modulation.frequency, modulation.lift, modulation.offset])
        self._gait += min(self._period / SMOOTHING, 1.0) * (asked - self._gait)
        frequency, lift, offset = self._gait[:, 0], self._gait[:, 1], self._gait[:, 2:]
        self._clock = (self._clock + frequency * self._period) % 1.0
        self.phase = (self._clock[:, None] + TROT + offset) % 1.0
        # The reference is ahead of the phase by what delay and soft motors take.
        angle = 2 * np.pi * (self.phase + LEAD * frequency[:, None])
        swing = np.maximum(np.sin(angle), 0.0)
        # From the middle of the stance forward and back again, by half a stride.
        travel = -np.cos(angle)
        moving = (np.abs(command).max(axis=1) > STANDING).astype(float)[:, None]
        half = foot_velocity(command) / (4 * np.maximum(frequency, 0.5))[:, None, None]
        reference = np.tile(self._stance, (len(command), 1)).reshape(-1, LEGS, 3)
        reference[:, :, 0] += HIP_SWING * travel * half[:, :, 1] / HIP_LEVER
        lean = (LEAN + LEAN_WITH_SPEED * command[:, :1]) * moving
        reference[:, :, 1] += lean - THIGH_SWING * travel * half[:, :, 0] / HIP_LEVER
        lifted = moving * swing * lift[:, None]
        reference[:, :, 1] += lifted
        # Position control yields under load: without stretching against it, every step would push
        # the body backwards.
        standing = np.sqrt(np.maximum(-np.sin(angle), 0.0))
        carried = np.where(moving > 0, standing, 0.5)
        reference[:, :, 2] += SUPPORT * carried - 2 * lifted
        return reference.reshape(-1, 3 * LEGS) + modulation.residual


LEAD = 0.05
"""By which references are ahead of the phase [s]."""
THIGH_SWING, HIP_SWING = 0.75, 1.2
"""Angles of a stride as a share of what the geometry of a stiff leg asks for."""
SUPPORT = 0.15
"""By which a stance leg's calf stretches against the weight that it carries [rad]."""
LEAN, LEAN_WITH_SPEED = 0.14, 0.18
"""By which a walking robot's thighs point backwards, so that it does not sit back [rad], and how
much more at 1 m/s."""
STANDING = 0.05
"""Commands below this in every part [m/s, rad/s] mean: stand."""


def foot_velocity(command: np.ndarray) -> np.ndarray:
    """How fast the body passes over each standing foot (B, 4, 2): forward, to the left [m/s]."""
    x = WHEELBASE * np.array([1.0, 1.0, -1.0, -1.0])
    y = TRACK * np.array([1.0, -1.0, 1.0, -1.0])
    turn = command[:, 2:3]
    return np.stack([command[:, 0:1] - turn * y, command[:, 1:2] + turn * x], axis=2)

"""Scripted insertion controllers: an upper and a lower reference for learners.

Both see the worlds' measured pose; only `Privileged` sees where the socket is.
"""

from __future__ import annotations

import math

import numpy as np

from sim.insertion.plugs import MM
from sim.insertion.space import FACTORS
from sim.insertion.spec import ACTION_SCALE, CONTROL_PERIOD
from sim.insertion.worlds import InsertionWorlds

HOVER = 0.8 * MM
ALIGNED, ALIGNED_YAW = 0.25 * MM, 0.012
PRESS, SEARCH_PRESS = 8 * MM, 2.5 * MM
"""How far below the measured height the reference goes: 20 N to insert, 6 N to search."""
SPIRAL_PITCH = 0.8 * MM
SPIRAL_SPEED = 0.018
"""[m/s] along the spiral."""
SPIRAL_MAX = 3.6 * MM
DITHER, DITHER_PERIOD = 0.09, 1.6
"""Yaw dither: amplitude [rad] and period [s]."""


def _toward(worlds: InsertionWorlds, target: np.ndarray, gain: float) -> np.ndarray:
    """Normalised action that moves the reference by `gain` times the measured error (B, 4)."""
    error = target - worlds.sim.qpos[:, :4]
    return np.clip(gain * error / ACTION_SCALE, -1.0, 1.0)


def _press(worlds: InsertionWorlds, lead: np.ndarray | float) -> np.ndarray:
    """Vertical action (B,) that brings the reference `lead` below the measured height."""
    q, reference = worlds.sim.qpos[:, 2], worlds.reference[:, 2]
    return np.clip((q - lead - reference) / ACTION_SCALE[2], -1.0, 1.0)


class Privileged:
    """Knows the true pose: aligns above the socket, then pushes. It integrates the error through
    the reference, which compensates the controller's bias."""

    def act(self, worlds: InsertionWorlds, seat: np.ndarray | None = None) -> np.ndarray:
        """Action (B, 4); `seat` (B, 4) replaces the true pose x, y, z, yaw."""
        seat = worlds.constants.seat if seat is None else seat
        q = worlds.sim.qpos
        action = _toward(worlds, seat, gain=0.5)
        across = np.linalg.norm(q[:, :2] - seat[:, :2], axis=1)
        yaw = np.abs(q[:, 3] - seat[:, 3]) * worlds.constants.yaw_matters
        aligned = (across < ALIGNED) & (yaw < ALIGNED_YAW)
        entered = worlds.depth > 0.8 * MM
        hover = _toward(worlds, seat + np.array([0, 0, HOVER, 0]), gain=0.5)[:, 2]
        action[:, 2] = np.where(aligned | entered, _press(worlds, PRESS), hover)
        return action


class SpiralSearch:
    """Blind search: presses lightly, follows an Archimedean spiral about the nominal pose with a
    yaw dither, and pushes once the plug has dropped in."""

    def act(self, worlds: InsertionWorlds) -> np.ndarray:
        t = worlds.elapsed * CONTROL_PERIOD
        # Constant speed v on r = a φ: φ² = 2 v t / a. It restarts where the search region ends.
        a = SPIRAL_PITCH / (2 * math.pi)
        lap = (SPIRAL_MAX / a) ** 2 * a / (2 * SPIRAL_SPEED)
        t = np.maximum(t - 0.25, 0.0)
        angle = np.sqrt(2 * SPIRAL_SPEED * (t % lap) / a)
        target = np.zeros((worlds.worlds, 4))
        target[:, 0] = a * angle * np.cos(angle)
        target[:, 1] = a * angle * np.sin(angle)
        target[:, 3] = DITHER * np.sin(2 * math.pi * t / DITHER_PERIOD)
        dropped = -worlds.sim.qpos[:, 2] > 1.6 * MM
        action = _toward(worlds, target, gain=0.8)
        # Once the plug has dropped in, compliance centres it.
        action[dropped, :2] = 0.0
        action[:, 2] = _press(worlds, np.where(dropped, PRESS, SEARCH_PRESS))
        return action


class Demonstrations:
    """Fills a replay at first: attempts at the true pose and at wrong poses, and searches.

    In every episode each world follows one of three scripts: go straight to the true pose; the
    spiral search; or attempts at poses drawn from the task space, a new one every `hold` periods.
    The first two show the encoder successes, the last one failures. Gaussian noise on the actions
    gives critics more variety.

    Args:
        worlds: the rigs.
        rng: picks scripts, poses and noise.
        hold: control periods between wrong attempts.
    """

    MIX = (0.35, 0.25, 0.4)
    NOISE = 0.3

    def __init__(self, worlds: InsertionWorlds, rng: np.random.Generator, hold: int = 10) -> None:
        self.worlds, self.rng, self.hold = worlds, rng, hold
        self._script = np.zeros(worlds.worlds, int)
        self._seat = worlds.constants.seat.copy()

    def begin(self, which: np.ndarray) -> None:
        """An episode begins in worlds (B,)."""
        drawn = self.rng.choice(3, size=len(which), p=self.MIX)
        self._script = np.where(which, drawn, self._script)

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Action (B, 4); the scripts read the rig itself rather than the observation."""
        worlds = self.worlds
        true = worlds.constants.seat
        renew = (self._script == 2) & (worlds.elapsed % self.hold == 0)
        scale = [FACTORS[0].scale, FACTORS[1].scale, FACTORS[3].scale, FACTORS[2].scale]
        guess = self.rng.normal(size=true.shape) * scale
        self._seat = np.where(renew[:, None], guess, self._seat)
        self._seat = np.where((self._script == 2)[:, None], self._seat, true)
        action = np.where(
            (self._script == 1)[:, None],
            SpiralSearch().act(worlds),
            Privileged().act(worlds, self._seat),
        )
        noisy = action + self.NOISE * self.rng.normal(size=action.shape)
        return np.clip(noisy, -1.0, 1.0)

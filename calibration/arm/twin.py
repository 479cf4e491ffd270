"""A simulated wrist sensor with its tool."""

from __future__ import annotations

import numpy as np

from calibration.arm.model import ArmModel
from calibration.recording import PoseRecording
from calibration.wrench import NOISE, WrenchModel, wrench_priors


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
        return PoseRecording(name, q, wrench + self._rng.normal(size=wrench.shape) * NOISE)

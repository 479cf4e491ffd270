"""The transition features that encoders and recurrent networks are fed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from adapt.bundle.algorithms import TransitionRow

Float32 = npt.NDArray[np.float32]


def write_features(
    row: Float32,
    spec: TransitionRow,
    observation: Float32,
    action: Float32,
    reward: float,
    following: Float32,
) -> None:
    """Fill row (n_c,) in the order of TransitionRow."""
    n_o, n_a = observation.size, action.size
    row[:n_o] = observation
    row[n_o : n_o + n_a] = action
    if spec.reward:
        row[n_o + n_a] = reward
    if spec.next_observation:
        row[-n_o:] = following

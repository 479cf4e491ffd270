"""What passes between a robot and its adapter: answers, and what each control period taught."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from msgspec import Struct

Float32 = npt.NDArray[np.float32]


# Structs, for one of each is made in every control period: a frozen dataclass takes ten times as
# long.
class Action(Struct, frozen=True, eq=False):
    """An answer. normalised: (n_a,) in [-1, 1]; physical: (n_a,) in the action fields' units.

    latent: the policy's input `latent` it was computed with, read-only; (n_z,), or what the phase's
    condition says. belief_version: of the belief that `latent` came from.
    """

    normalised: Float32
    physical: Float32
    latent: Float32
    belief_version: int


class Transition(Struct, frozen=True, eq=False):
    """What one control period taught.

    observation, next_observation: (n_o,) float32. action: (n_a,) float32, normalised, as performed.
    reward: as the robot measured it. terminal: whether the state after it ends the task.
    """

    observation: Float32
    action: Float32
    reward: float
    next_observation: Float32
    terminal: bool = False

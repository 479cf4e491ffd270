"""An arm in a cell: between attempts at a socket it brings itself back, as a real one has to.

`ArmBody` puts the arm at the start of an episode. Here the plug is where the last attempt left it,
in its socket, on the face or jammed, and the arm knows no more than what it measures: it retracts,
backs out of a jam, approaches the start anew and zeroes its wrench there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adapt.errors import AcclimateError
from sim.core.task_space import Task
from sim.insertion.arm import SETTLING, ZEROING, ArmBody
from sim.insertion.plugs import MM
from sim.insertion.spec import ACTION_SCALE, CONTROL_PERIOD, REFERENCE_CLIP, SUBSTEPS

RETRACTED = 12 * MM
"""Height above the nominal face at which the way to the start is free."""
RISING = 0.1 * MM
"""Least rise in a control period of an arm that is not stuck."""
JAM = 6
"""Periods without a rise, while the arm pulls ever harder, that make a jam: 0.3 s."""
BACKING_OUT = 100
"""Periods of rocking without a rise after which a person has to free the plug: 5 s."""
GENTLE, PULL, JAM_PULL = 4 * MM, REFERENCE_CLIP[2], 16 * MM
"""How far the reference leads upward: 10 N at first and where nothing holds; 25 N, as in an
episode; and 40 N, half the force limit."""
ROCK = np.array([1 * MM, -1 * MM, 0.0, 0.03, 0.0, 0.0])
"""How far the reference rocks the plug across and about the axis."""
RETRACTION = 400
"""Most periods of a retraction: 20 s."""


class CellBody(ArmBody):
    """See `sim.insertion.body.Body`; B is 1.

    Attributes:
        jams: how often the arm had to back out of a jam since it was given its task.
    """

    def assign(self, tasks: Sequence[Task]) -> None:
        super().assign(tasks)
        self.jams = 0
        # The arm stands above a plug and a socket that have just been changed.
        self._left_alone = False

    def place(self, which: np.ndarray, pose: np.ndarray) -> None:
        """Bring the arm to rest at pose (1, 6), from wherever it stands.

        Raises AcclimateError where the plug cannot be freed.
        """
        if not which.any():
            return
        if not self._left_alone:
            super().place(which, pose)
            self._left_alone = True
            return
        self._retract()
        self._approach(pose[0])

    def _retract(self) -> None:
        """Pull the plug up and out, following it sideways; rock it where it is stuck."""
        pull, stuck, jammed = GENTLE, 0, False
        for period in range(RETRACTION):
            pose = self.qpos[0].copy()
            if pose[2] >= RETRACTED:
                return
            reference = pose.copy()
            reference[2] += pull if pose[2] < 0 else GENTLE
            if jammed and pose[2] < 0:
                # Every second period to the other side, across and about the axis.
                reference += ROCK * (-1.0) ** (period // 2)
            self._follow(reference)
            stuck = 0 if self.qpos[0, 2] - pose[2] > RISING else stuck + 1
            if stuck and not jammed:
                pull = min(pull + GENTLE, PULL)
            if stuck >= JAM and not jammed:
                jammed, pull = True, JAM_PULL
                self.jams += 1
            if stuck >= JAM + BACKING_OUT:
                break
        raise AcclimateError(
            f"the plug is stuck {-self.qpos[0, 2] / MM:.1f} mm below the face after "
            f"{BACKING_OUT * CONTROL_PERIOD:g} s of rocking; free it by hand, or give the arm "
            "another task"
        )

    def _approach(self, start: np.ndarray) -> None:
        """Go to the start from above, no faster than commands may, and zero the wrench at rest."""
        reference = self.qpos[0].copy()
        reference[2] = max(reference[2], RETRACTED)
        step = np.concatenate([ACTION_SCALE, ACTION_SCALE[3:], ACTION_SCALE[3:]])
        for target in (np.array([*start[:2], RETRACTED, *start[3:]]), start):
            while np.abs(reference - target).max() > 1e-9:
                reference = reference + np.clip(target - reference, -step, step)
                self._follow(reference)
        self._before = start.copy()
        wrench = self._follow(start, SETTLING)
        self._zero = wrench[-ZEROING:].mean(axis=0)

    def _follow(self, reference: np.ndarray, steps: int = SUBSTEPS) -> np.ndarray:
        """Hold a reference; wrench (n, 6). Raises AcclimateError where the physics fails."""
        wrench, diverged = self._run(reference, steps)
        if diverged:
            raise AcclimateError("the arm does not come back to its start: its physics failed")
        return wrench

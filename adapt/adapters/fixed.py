"""FixedAdapter: a policy without a latent, for algorithms of kind "none".

It answers the same calls as an adapter that learns, so that a domain-randomised policy runs and is
judged by the same robot code.
"""

from __future__ import annotations

import numpy as np

from adapt.adapters.base import Adapter, Transition
from adapt.belief.gaussian import Belief
from adapt.bundle.algorithms import NoAdaptation
from adapt.errors import SnapshotError


class FixedAdapter(Adapter):
    """See Adapter. The belief is empty, of size 0, and stays so."""

    variant = NoAdaptation

    def observe(self, transition: Transition) -> Belief:
        self._check(transition)
        return self._belief

    def _forget(self, version: int) -> Belief:
        nothing = np.zeros(0)
        nothing.setflags(write=False)
        return Belief(nothing, nothing, 0, version)

    def _remember(self) -> bytes:
        return b""

    def _recall(self, memory: bytes, version: int) -> Belief:
        if memory:
            raise SnapshotError(f"a policy without a latent has no memory; found {len(memory)} B")
        return self._forget(version)

"""Adapters of a bundle that act in batched worlds, one in each, as robots do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from adapt.adapters.base import Adapter, Transition
from sim.core.worlds import Step, Worlds


def episode(
    worlds: Worlds, adapters: Sequence[Adapter], periods: int
) -> Iterator[tuple[Step, np.ndarray]]:
    """One episode in every world, of at most so many periods. Yields each step and which worlds
    (B,) were in their episode as it was made."""
    going = np.ones(len(adapters), bool)
    seen = worlds.reset(going)
    for adapter in adapters:
        adapter.begin_episode()
    action = np.zeros((len(adapters), worlds.spec.action_size), np.float32)
    for _ in range(periods):
        action[:] = 0.0
        for i in np.flatnonzero(going).tolist():
            action[i] = adapters[i].act(seen[i]).normalised
        step = worlds.step(action)
        for i in np.flatnonzero(going).tolist():
            reward, terminal = float(step.measured_reward[i]), bool(step.discount[i] == 0)
            adapters[i].observe(
                Transition(seen[i], action[i], reward, step.observation[i], terminal)
            )
        yield step, going
        going = going & ~step.done
        if not going.any():
            break
        seen = step.observation
    for adapter in adapters:
        adapter.end_episode()

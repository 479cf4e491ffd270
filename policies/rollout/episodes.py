"""Episodes: one per world, padded to the horizon."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from policies.algorithms.contract import Agent
from policies.rollout.driver import roll_out
from policies.rollout.trajectories import TrajectoryRecorder
from sim.core.worlds import Worlds


@dataclass
class Episodes:
    """B episodes of at most T steps.

    observation (B, T, n_o). reward: the critics', measured: what a robot can measure, (B, T).
    mask: (B, T), 1 where a step was taken. success: (B,).
    diverged: (B,) the physics failed; nothing of such an episode counts.
    extras: (B, T, ·) by name, what the agent wanted recorded.
    """

    observation: Tensor
    reward: Tensor
    measured: Tensor
    mask: Tensor
    success: np.ndarray
    diverged: np.ndarray
    extras: dict[str, Tensor]

    def part(self, tasks: int, episodes: int) -> Episodes:
        """The first so many episodes of each of the tasks, which follow each other."""
        per_task = len(self.mask) // tasks
        rows = [i * per_task + j for i in range(tasks) for j in range(episodes)]
        some = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "extras"}
        return Episodes(**some, extras={k: v[rows] for k, v in self.extras.items()})

    def returns(self, reward: Tensor) -> np.ndarray:
        """Undiscounted (B,)."""
        return (reward * self.mask).sum(1).numpy()


def collect_episodes(worlds: Worlds, agent: Agent, stochastic: bool = True) -> Episodes:
    """One episode in every world, on the tasks that have been assigned, from what the agent knows.

    stochastic: draw actions; otherwise act by the policy's mode, as a robot does.
    """
    index = np.arange(worlds.worlds)
    recorder = TrajectoryRecorder(worlds, index, worlds.spec.horizon, single=True)
    roll_out(worlds, agent, recorder, stochastic)
    run, _ = recorder.result()
    diverged = np.any(recorder.diverged, axis=1)
    mask = torch.from_numpy(run.valid)
    # Half an episode would pass for one with a bad end.
    mask[torch.from_numpy(diverged)] = 0.0
    return Episodes(
        observation=torch.from_numpy(run.observation) * mask[..., None],
        reward=torch.from_numpy(run.reward),
        measured=torch.from_numpy(run.measured_reward),
        mask=mask,
        success=np.any(recorder.success, axis=1),
        diverged=diverged,
        extras={k: torch.from_numpy(v) for k, v in recorder.extras.items()},
    )

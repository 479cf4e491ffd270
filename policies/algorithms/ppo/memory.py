"""PPO's memory: a gated recurrent unit that carries a state from transition to transition, trained
by the policy's own objective (RL², Duan et al. 2016, arXiv 1611.02779).

The state outlives episodes; a new task alone clears it. Gradients go back to the beginning of a
roll-out, where the state is taken as it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from policies.algorithms.ppo.belief import transition_rows, transition_size
from policies.algorithms.ppo.config import PpoConfig
from policies.algorithms.ppo.networks import RunningNormaliser
from policies.algorithms.ppo.rollout import RolloutRecorder
from policies.networks.recurrent import gru_step
from sim.core.worlds import WorldSpec


class Memory(nn.Module):
    """state, transition → new state. n_c: features of a transition. n_s: size of the state."""

    def __init__(self, n_c: int, n_s: int) -> None:
        super().__init__()
        self.n_s = n_s
        self.normaliser = RunningNormaliser(n_c)
        self.cell = nn.GRU(n_c, n_s, batch_first=True)

    @staticmethod
    def of(spec: WorldSpec, config: PpoConfig) -> Memory:
        return Memory(transition_size(spec, config), config.memory_size)

    def forward(self, state: Tensor, transition: Tensor) -> Tensor:
        """States (B, n_s) after one more transition (B, n_c)."""
        return gru_step(self.cell, self.normaliser(transition), state)

    def states(self, start: Tensor, transitions: Tensor) -> Tensor:
        """States (B, T, n_s) before each of T transitions (B, T, n_c); the first is start."""
        made, _ = self.cell(self.normaliser(transitions[:, :-1]), start[None])
        return torch.cat([start[:, None], made], 1)


@dataclass(frozen=True)
class Sequences:
    """The transitions of a roll-out in their order, for gradients through time.

    start: (B, n_s) states before the first. transitions: (B, T, n_c). row: (B, T) each step's row
    in the update's batch; −1 for what is not learnt from.
    """

    start: Tensor
    transitions: Tensor
    row: Tensor

    @staticmethod
    def of(recorder: RolloutRecorder, piece: slice, config: PpoConfig) -> Sequences:
        run = recorder.run
        valid = torch.from_numpy(run.valid[:, piece]) > 0
        transitions = transition_rows(
            config,
            torch.from_numpy(run.observation[:, piece]),
            torch.from_numpy(run.action[:, piece]),
            torch.from_numpy(run.measured_reward[:, piece]),
            torch.from_numpy(run.next_observation[:, piece]),
        )
        row = (valid.flatten().cumsum(0) - 1).reshape(valid.shape)
        # A state that went on without a step whose physics failed is not the one made of them all.
        unbroken = valid.long().cumprod(1) > 0
        return Sequences(
            start=torch.from_numpy(recorder.extras["fed"][:, piece.start]),
            transitions=torch.where(valid[..., None], transitions, torch.zeros_like(transitions)),
            row=torch.where(unbroken, row, -1),
        )

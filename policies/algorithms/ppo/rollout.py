"""What a roll-out met, and the rows that an update learns from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from policies.algorithms.contract import Action
from policies.algorithms.ppo.advantages import generalised_advantages
from policies.algorithms.ppo.config import PpoConfig
from policies.algorithms.ppo.networks import PpoActor, PpoCritic
from policies.rollout.trajectories import TrajectoryRecorder
from sim.core.worlds import Step, Worlds


class RolloutRecorder(TrajectoryRecorder):
    """Records a run of `steps` control periods in pieces.

    ended: (B, T) the next step does not follow from this one.
    """

    def __init__(self, worlds: Worlds, task: np.ndarray, steps: int) -> None:
        super().__init__(worlds, task, steps, single=False)
        self.ended = np.zeros((len(task), steps), bool)
        self._stop = 0

    def extend(self, steps: int) -> slice:
        """Record so many steps more; returns which they are."""
        self._stop += steps
        return slice(self._stop - steps, self._stop)

    @property
    def finished(self) -> bool:
        return self._t == self._stop

    def record(self, observation: np.ndarray, action: Action, step: Step) -> np.ndarray:
        self.ended[:, self._t] = step.done
        return super().record(observation, action, step)


@dataclass(frozen=True)
class Batch:
    """N rows of an update, side by side in one array that is permuted at once.

    rows: (N, ·) standardised observation, what the actor is fed, factors, the action and its mean
        before the tanh, advantage, target of the critic and its value, both standardised.
    sizes: of these parts: actor's input, factors, twice n_a, and three times 1.
    log_std: (n_a,) of the actions.
    explained: share of the returns' variance that values explained before the update.
    """

    rows: Tensor
    sizes: tuple[int, ...]
    log_std: Tensor
    explained: Tensor


@torch.no_grad()
def make_batch(
    recorder: RolloutRecorder,
    piece: slice,
    factors: Tensor,
    actor: PpoActor,
    critic: PpoCritic,
    config: PpoConfig,
) -> Batch:
    """The rows of a piece of a run, with advantages; the critic's units follow its returns.

    factors: (B, n_f) of the worlds' tasks.
    """
    observation, fed, raw, mean, reward, discount, valid = (
        torch.from_numpy(array[:, piece])
        for array in (
            recorder.run.observation,
            recorder.extras["fed"],
            recorder.extras["raw"],
            recorder.extras["mean"],
            recorder.run.reward,
            recorder.run.discount,
            recorder.run.valid,
        )
    )
    ended = torch.from_numpy(recorder.ended[:, piece])
    steps = valid.shape[1]
    inputs = torch.cat(
        [actor.normaliser(observation), fed, factors[:, None].expand(-1, steps, -1)], -1
    )
    value = critic.value(inputs)
    # Where no step follows from this one, its end is valued by itself.
    following = torch.cat([value[:, 1:], torch.zeros_like(value[:, :1])], 1)
    cut = ended.clone()
    cut[:, -1] = True
    cut &= (discount > 0) & (valid > 0)
    if cut.any():
        last = torch.from_numpy(recorder.run.next_observation[:, piece])[cut]
        rest = inputs[cut][:, last.shape[1] :]
        following[cut] = critic.value(torch.cat([actor.normaliser(last), rest], -1))
    advantage = generalised_advantages(
        reward, value, following, discount, ended, valid, config.discount, config.gae_lambda
    )
    keep = valid > 0
    returns = (advantage + value)[keep]
    explained = 1.0 - (returns - value[keep]).var(correction=0) / returns.var(correction=0).clamp(
        min=1e-12
    )
    critic.follow(returns)
    kept = advantage[keep]
    parts = (
        inputs[keep],
        raw[keep],
        mean[keep],
        ((kept - kept.mean()) / (kept.std(correction=0) + 1e-8))[:, None],
        ((returns - critic.centre) / critic.spread)[:, None],
        ((value[keep] - critic.centre) / critic.spread)[:, None],
    )
    n_f, n_a = factors.shape[1], raw.shape[-1]
    sizes = (inputs.shape[-1] - n_f, n_f, n_a, n_a, 1, 1, 1)
    return Batch(torch.cat(parts, 1), sizes, actor.log_std.detach().clone(), explained)

"""PPO's belief: a product of Gaussian factors over the last transitions, trained to name the task.

Maximum likelihood on the runs that the policy collected: the encoder maximises log N(f; belief) of
the true factors f after every prefix of a run, as PEARL's objective "posterior" does. The actor is
fed the belief's mean and log variance, and no gradient of it reaches the encoder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from policies.algorithms.ppo.config import PpoConfig
from policies.algorithms.ppo.networks import RunningNormaliser
from policies.networks.belief import negative_log_density
from policies.networks.modules import FactorEncoder
from policies.replay.run_replay import Run
from sim.core.worlds import WorldSpec

RUNS_PER_STEP = 16
"""Whose transitions make one gradient step."""
MAX_GRADIENT = 10.0


def make_encoder(spec: WorldSpec, config: PpoConfig) -> FactorEncoder:
    """From one transition to one factor, with a normaliser that is fitted on the way."""
    n_c = transition_size(spec, config)
    encoder = FactorEncoder(n_c, len(spec.factors), config.encoder_hidden)
    encoder.normaliser = RunningNormaliser(n_c)
    return encoder


def transition_size(spec: WorldSpec, config: PpoConfig) -> int:
    """n_c."""
    n_o = spec.observation_size
    return n_o * (1 + config.next_in_context) + spec.action_size + config.reward_in_context


def transition_rows(
    config: PpoConfig,
    observation: Tensor,
    action: Tensor,
    measured_reward: Tensor,
    next_observation: Tensor,
) -> Tensor:
    """What encoder and memory read (…, n_c), as adapt.bundle.algorithms.TransitionRow orders it."""
    parts = [observation, action]
    if config.reward_in_context:
        parts.append(measured_reward[..., None])
    if config.next_in_context:
        parts.append(next_observation)
    return torch.cat([part.float() for part in parts], -1)


def windowed_posteriors(
    mean: Tensor, log_precision: Tensor, valid: Tensor, capacity: int
) -> tuple[Tensor, Tensor]:
    """Mean and variance (n, T, n_z) of the belief after each transition, from the prior N(0, 1) and
    the factors of the last `capacity` transitions.

    Args:
        mean, log_precision: factors (n, T, n_z).
        valid: (n, T), 0 drops a factor, which a robot would not have counted among its last ones;
            physics that fails is rare enough.
    """
    precision = log_precision.exp() * valid[..., None]
    # In double precision: sums over a run lose digits that their differences need.
    sums = torch.stack([precision, precision * mean]).double().cumsum(2)
    window = sums - F.pad(sums, (0, 0, capacity, 0))[:, :, : sums.shape[2]]
    total, weighted = window[0].float() + 1.0, window[1].float()
    return weighted / total, 1.0 / total


class BeliefTraining:
    """The encoder's optimiser, and its passes over an iteration's runs."""

    def __init__(self, encoder: FactorEncoder, config: PpoConfig) -> None:
        self.encoder, self.config = encoder, config
        self.optimiser = torch.optim.Adam(
            encoder.parameters(), config.encoder_learning_rate, fused=True
        )

    def fit(self, run: Run, truth: Tensor, generator: torch.Generator) -> dict[str, float]:
        """Some epochs over the runs, which belong to tasks with the factors truth (W, n_f).

        Returns means over the last epoch: "belief_nll", and at the end of the runs "belief_std" and
        "belief_error", the mean distance from the truth in the belief's own standard deviations.
        """
        rows = transition_rows(
            self.config,
            torch.from_numpy(run.observation),
            torch.from_numpy(run.action),
            torch.from_numpy(run.measured_reward),
            torch.from_numpy(run.next_observation),
        )
        valid = torch.from_numpy(run.valid)
        normaliser = self.encoder.normaliser
        if isinstance(normaliser, RunningNormaliser):
            normaliser.update(rows[valid > 0])
        found: list[dict[str, float]] = []
        for _ in range(self.config.encoder_epochs):
            order = torch.randperm(len(rows), generator=generator)
            found = [
                self._step(rows[some], valid[some], truth[some])
                for some in order.split(RUNS_PER_STEP)
            ]
        return {name: sum(each[name] for each in found) / len(found) for name in found[0]}

    def _step(self, rows: Tensor, valid: Tensor, truth: Tensor) -> dict[str, float]:
        means, log_precisions = self.encoder(rows)
        mean, variance = windowed_posteriors(means, log_precisions, valid, self.config.capacity)
        loss = negative_log_density(truth[:, None], mean, variance).sum(-1).mean()
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.encoder.parameters(), MAX_GRADIENT)
        self.optimiser.step()
        last_mean, last_std = mean[:, -1].detach(), variance[:, -1].detach().sqrt()
        off = (truth - last_mean) / last_std
        return {
            "belief_nll": float(loss.detach()),
            "belief_std": float(last_std.mean()),
            "belief_error": float((off**2).mean().sqrt()),
        }

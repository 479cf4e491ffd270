"""What a MAESN run puts into a bundle: the policy, and the adaptation step itself as a graph."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from adapt.bundle.algorithms import Stepped
from adapt.bundle.fields import Latent
from policies.algorithms.contract import Artefacts
from policies.algorithms.maesn.agent import LOG_STD_HIGH, LOG_STD_LOW, MaesnPolicy, counted_reward
from policies.algorithms.maesn.networks import GaussianPolicy
from policies.export.graphs import GOLDEN_ROWS, like, onnx_graph
from policies.export.observed_range import summary
from policies.rollout.episodes import Episodes

MAX_KL = 8.0
"""[nat]: a step as long as any seen in training is half of this."""
MAX_NORM = 4.0
"""Prior standard deviations: beyond lies no task that training drew."""
REWARD_MARGIN = 10.0
"""Times the largest measured reward seen in validation: more is a fault of the sensor."""
GOLDEN_TASKS = 3


class PolicyGraph(nn.Module):
    """What policy.onnx computes. One module deeper, for the policy's own `log_std` would share its
    name with the output."""

    def __init__(self, policy: GaussianPolicy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, observation: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        return self.policy(observation, latent)


def artefacts(
    policy: MaesnPolicy, met: Episodes, tasks: int, generator: torch.Generator
) -> Artefacts:
    """met: first episodes of so many validation tasks, from the prior."""
    c, n_z = policy.config, policy.step.n_z
    graphs: dict[str, bytes] = {}
    golden: dict[str, np.ndarray] = {}
    inputs = {
        "observation": like(policy.actor.normaliser, generator),
        "latent": torch.randn(GOLDEN_ROWS, n_z, generator=generator),
    }
    outputs = ("mean", "log_std")
    graphs["policy"] = onnx_graph(PolicyGraph(policy.actor), inputs, outputs, "policy", golden)
    inputs = _step_inputs(policy, met.part(tasks, c.episodes), generator)
    outputs = ("new_mean", "new_log_std")
    graphs["latent_step"] = onnx_graph(policy.step, inputs, outputs, "latent_step", golden)
    latent = Latent(
        size=n_z,
        prior_mean=[0.0] * n_z,
        prior_variance=[1.0] * n_z,
        hold=c.hold,
        factors=[],
    )
    algorithm = Stepped(
        counted=c.counted,
        episodes=c.episodes,
        horizon=policy.step.horizon,
        step_sizes=policy.step_sizes.tolist(),
        max_kl=MAX_KL,
        max_norm=MAX_NORM,
        log_std_low=LOG_STD_LOW,
        log_std_high=LOG_STD_HIGH,
        max_reward=REWARD_MARGIN * max(float(met.measured.abs().max()), 1.0),
    )
    seen = summary(met.observation[met.mask.bool()].numpy())
    return Artefacts(graphs, golden, {"algorithm": algorithm, "latent": latent}, seen)


def _step_inputs(
    policy: MaesnPolicy, met: Episodes, generator: torch.Generator
) -> dict[str, Tensor]:
    """Golden inputs of the step: real episodes under the prior, then under beliefs as narrow and as
    wide as they get."""
    n, n_z, c = GOLDEN_TASKS, policy.step.n_z, policy.config
    rows = slice(0, n * c.episodes)
    log_std = torch.tensor([0.0, LOG_STD_LOW, LOG_STD_HIGH])[:, None].expand(n, n_z)
    mean = torch.randn(n, n_z, generator=generator) * torch.tensor([0.0, 1.0, 1.0])[:, None]
    draws = met.extras["noise"][rows, :: c.hold or policy.step.horizon].reshape(n, -1, n_z)
    latent = mean[:, None] + log_std.exp()[:, None] * draws
    return {
        "mean": mean,
        "log_std": log_std.contiguous(),
        "step_sizes": policy.step_sizes.expand(n, -1).contiguous(),
        "latent": latent.reshape(n, -1),
        "observation": met.observation[rows].reshape(n, -1),
        "reward": counted_reward(met.measured, met.mask, c.counted)[rows].reshape(n, -1),
        "mask": met.mask[rows].reshape(n, -1),
    }

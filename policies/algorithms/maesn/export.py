"""A MAESN run as a bundle: the policy, and the adaptation step itself as a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adapt.bundle.algorithms import Stepped
from adapt.bundle.fields import Latent
from adapt.bundle.manifest import Manifest
from adapt.bundle.policy_bundle import PolicyBundle, write_bundle
from adapt.errors import AcclimateError
from policies.algorithms.maesn.learner import LOG_STD_HIGH, LOG_STD_LOW, GaussianPolicy
from policies.algorithms.maesn.trainer import MaesnTrainer, adapt_from_prior
from policies.export.bundle_parts import GOLDEN_ROWS, OPSET, like, limits, onnx_graph, provenance
from policies.export.observed_range import summary
from policies.rollout.episodes import Episodes
from policies.training.runs import versions

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


def export_maesn(
    trainer: MaesnTrainer, state: dict[str, Any], out: Path, name: str, run: Path
) -> PolicyBundle:
    """Write the trainer's policy and step as a bundle and return it loaded.

    Raises:
        BundleError: `out` exists, or what was written does not reproduce torch's outputs.
        AcclimateError: the run's steps change the policy's weights, which a graph cannot.
    """
    learner, spec, c = trainer.learner, trainer.family.spec, trainer.settings.learner
    if c.variant != "latents":
        raise AcclimateError(
            f"{run}: its adaptation changes the policy's weights; a bundle's policy is fixed, so "
            "train with learner.variant=latents"
        )
    generator = torch.Generator().manual_seed(trainer.settings.seed)
    graphs: dict[str, bytes] = {}
    golden: dict[str, np.ndarray] = {}
    inputs = {
        "observation": like(learner.policy.normaliser, generator),
        "latent": torch.randn(GOLDEN_ROWS, learner.n_z, generator=generator),
    }
    policy = PolicyGraph(learner.policy).eval()
    graphs["policy"] = onnx_graph(policy, inputs, ("mean", "log_std"), "policy", golden)
    curve = adapt_from_prior(trainer, trainer.validation_tasks, 1, trainer.validation_seed)
    met = curve.first
    inputs = _step_inputs(trainer, met, generator)
    outputs = ("new_mean", "new_log_std")
    graphs["latent_step"] = onnx_graph(learner.step, inputs, outputs, "latent_step", golden)
    measured = float(met.measured.abs().max())
    manifest = Manifest(
        name=name,
        algorithm=Stepped(
            counted=c.counted,
            episodes=c.episodes,
            horizon=spec.horizon,
            step_sizes=learner.sizes.belief.tolist(),
            max_kl=MAX_KL,
            max_norm=MAX_NORM,
            log_std_low=LOG_STD_LOW,
            log_std_high=LOG_STD_HIGH,
            max_reward=REWARD_MARGIN * max(measured, 1.0),
        ),
        observation=list(spec.observation),
        action=list(spec.action),
        squash="tanh",
        control_period=spec.control_period,
        latent=Latent(
            size=learner.n_z,
            prior_mean=[0.0] * learner.n_z,
            prior_variance=[1.0] * learner.n_z,
            hold=c.hold,
            factors=[],
        ),
        limits=limits(trainer),
        task_space=trainer.family.space.to_dict(),
        training=provenance(trainer, state, run),
        tools=versions(),
        opset=OPSET,
        files={},
        seen=summary(met.observation[met.mask.bool()].numpy()),
    )
    return write_bundle(out, manifest, graphs, golden)


def _step_inputs(
    trainer: MaesnTrainer, met: Episodes, generator: torch.Generator
) -> dict[str, Tensor]:
    """Golden inputs of the step: real episodes under the prior, then under beliefs as narrow and as
    wide as they get."""
    learner, n, n_z = trainer.learner, GOLDEN_TASKS, trainer.learner.n_z
    some = met.part(len(trainer.validation_tasks), trainer.settings.learner.episodes)
    rows = slice(0, n * trainer.settings.learner.episodes)
    log_std = torch.tensor([0.0, LOG_STD_LOW, LOG_STD_HIGH])[:, None].expand(n, n_z)
    mean = torch.randn(n, n_z, generator=generator) * torch.tensor([0.0, 1.0, 1.0])[:, None]
    draws = some.noise[rows].reshape(n, -1, n_z)
    latent = mean[:, None] + log_std.exp()[:, None] * draws
    return {
        "mean": mean,
        "log_std": log_std.contiguous(),
        "step_sizes": learner.sizes.belief.detach().expand(n, -1).contiguous(),
        "latent": latent.reshape(n, -1),
        "observation": some.observation[rows].reshape(n, -1),
        "reward": learner.measured(some)[rows].reshape(n, -1),
        "mask": some.mask[rows].reshape(n, -1),
    }

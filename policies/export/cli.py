"""`acclimate export`: a run's best networks as a bundle that a robot can verify and run."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adapt.bundle.algorithms import Gaussian, NoAdaptation, TransitionRow
from adapt.bundle.fields import Latent
from adapt.bundle.manifest import Manifest
from adapt.bundle.policy_bundle import PolicyBundle, write_bundle
from adapt.errors import AcclimateError
from adapt.settings import compose
from policies.algorithms.maesn.export import export_maesn
from policies.algorithms.maesn.trainer import MaesnTrainer
from policies.export.bundle_parts import GOLDEN_ROWS, OPSET, like, limits, onnx_graph, provenance
from policies.export.observed_range import seen_in
from policies.export.parity import closed_loop
from policies.export.parity_maesn import closed_loop_maesn
from policies.networks.modules import Actor, FactorEncoder
from policies.training.runs import load_best, versions
from policies.training.trainer import Trainer

HELP = """acclimate export run=FOLDER out=FOLDER [key=value ...]

Writes the best networks of a run as a bundle: graphs with their normalisers, manifest, digests and
golden vectors, checked by loading it as a robot would."""

TOLERANCE = 1e-5
"""Largest difference allowed between the bundle and torch in closed loop, actions and beliefs."""


@dataclass(frozen=True)
class ExportSettings:
    """run: a run folder.
    out: folder of the bundle to write; must not exist.
    name: of the bundle; null takes the run's.
    """

    run: Path
    out: Path
    name: str | None = None


class PolicyGraph(nn.Module):
    """What policy.onnx computes; without a latent it takes the observation alone."""

    def __init__(self, actor: Actor) -> None:
        super().__init__()
        self.actor = actor

    def forward(self, observation: Tensor, latent: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if latent is None:
            latent = observation[:, :0]
        return self.actor(observation, latent)


class EncoderGraph(nn.Module):
    """What encoder.onnx computes: a factor as mean and variance."""

    def __init__(self, encoder: FactorEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, transition: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_precision = self.encoder(transition)
        return mean, torch.exp(-log_precision)


def main(argv: list[str]) -> int:
    settings = compose("export", ExportSettings, argv, HELP)
    trainer, state = load_best(settings.run)
    name = settings.name or trainer.settings.name
    if isinstance(trainer, MaesnTrainer):
        bundle = export_maesn(trainer, state, settings.out, name, settings.run)
        parity = closed_loop_maesn(trainer, bundle, tasks=2, steps=2, seed=trainer.settings.seed)
    else:
        bundle = export(trainer, state, settings.out, name, settings.run)
        parity = closed_loop(trainer, bundle, tasks=3, episodes=2, seed=trainer.settings.seed)
    size = sum(f.stat().st_size for f in settings.out.iterdir())
    print(f"{settings.out}: {size / 1e6:.2f} MB, digest {bundle.digest}")
    print(f"largest deviation from torch: {bundle.worst_error:.1e} on golden vectors,")
    print(f"{parity.worst:.1e} over {parity.steps} steps in closed loop")
    if parity.worst > TOLERANCE:
        shutil.rmtree(settings.out)
        raise AcclimateError(
            f"{settings.out}: removed, because it does not act as torch does: {parity}, "
            f"tolerance {TOLERANCE:g}"
        )
    return 0


def export(
    trainer: Trainer, state: dict[str, Any], out: Path, name: str, run: Path
) -> PolicyBundle:
    """Write the trainer's networks as a bundle and return it loaded.

    Raises:
        BundleError: `out` exists, or what was written does not reproduce torch's outputs.
        AcclimateError: the policy needs to be told what no robot knows.
    """
    if trainer.settings.learner.objective == "privileged":
        raise AcclimateError(
            f"{run}: trained with objective 'privileged', which is told the true task; no robot "
            "can be, so it is no bundle"
        )
    learner, spec, c = trainer.learner, trainer.family.spec, trainer.settings.learner
    generator = torch.Generator().manual_seed(trainer.settings.seed)
    graphs: dict[str, bytes] = {}
    golden: dict[str, np.ndarray] = {}
    inputs = {"observation": like(learner.actor.normaliser, generator)}
    if learner.n_z:
        inputs["latent"] = torch.randn(GOLDEN_ROWS, learner.n_z, generator=generator)
    policy = PolicyGraph(learner.actor).cpu().eval()
    graphs["policy"] = onnx_graph(policy, inputs, ("mean", "log_std"), "policy", golden)
    if learner.encoder is not None:
        inputs = {"transition": like(learner.encoder.normaliser, generator)}
        encoder = EncoderGraph(learner.encoder).cpu().eval()
        graphs["encoder"] = onnx_graph(encoder, inputs, ("mean", "variance"), "encoder", golden)
    manifest = Manifest(
        name=name,
        algorithm=Gaussian(
            TransitionRow(c.reward_in_context, c.next_in_context), capacity=c.capacity
        )
        if learner.n_z
        else NoAdaptation(),
        observation=list(spec.observation),
        action=list(spec.action),
        squash="tanh",
        control_period=spec.control_period,
        latent=Latent(
            size=learner.n_z,
            prior_mean=[0.0] * learner.n_z,
            prior_variance=[1.0] * learner.n_z,
            hold=c.hold if learner.n_z else 0,
            factors=list(spec.factors) if c.objective == "posterior" else [],
            exploration=c.exploration,
        ),
        limits=limits(trainer),
        seen=seen_in(run),
        task_space=trainer.family.space.to_dict(),
        training=provenance(trainer, state, run),
        tools=versions(),
        opset=OPSET,
        files={},
    )
    return write_bundle(out, manifest, graphs, golden)

"""What a PPO run puts into a bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from adapt.bundle.algorithms import NoAdaptation
from adapt.bundle.fields import Latent
from adapt.errors import AcclimateError
from policies.algorithms.contract import Artefacts
from policies.algorithms.ppo.agent import PpoPolicy
from policies.algorithms.ppo.networks import PpoActor
from policies.export.graphs import like, onnx_graph


class PolicyGraph(nn.Module):
    """What policy.onnx computes; where the actor is fed nothing, it takes the observation alone.
    One module deeper, for the actor's own `log_std` would share its name with the output."""

    def __init__(self, actor: PpoActor) -> None:
        super().__init__()
        self.actor = actor

    def forward(self, observation: Tensor, latent: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.actor(observation, observation[:, :0] if latent is None else latent)


def artefacts(policy: PpoPolicy, run: Path, generator: torch.Generator) -> Artefacts:
    """Raises AcclimateError for a policy that is told the true task."""
    if policy.privileged:
        raise AcclimateError(
            f"{run}: trained with knowledge 'truth', which is told the true task; no robot can be, "
            "so it is no bundle"
        )
    golden: dict[str, np.ndarray] = {}
    inputs = {"observation": like(policy.actor.normaliser, generator)}
    outputs = ("mean", "log_std")
    graphs = {"policy": onnx_graph(PolicyGraph(policy.actor), inputs, outputs, "policy", golden)}
    latent = Latent(size=0, prior_mean=[], prior_variance=[], hold=0, factors=[])
    manifest = {"algorithm": NoAdaptation(), "latent": latent}
    return Artefacts(graphs, golden, manifest, policy.actor.normaliser.seen())

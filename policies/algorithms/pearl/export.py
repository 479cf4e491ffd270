"""What a PEARL run puts into a bundle: the policy, and the encoder of one transition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from adapt.bundle.algorithms import Gaussian, NoAdaptation, Recurrent, TransitionRow
from adapt.bundle.fields import Latent
from adapt.errors import AcclimateError
from policies.algorithms.contract import Artefacts
from policies.algorithms.pearl.agent import PearlPolicy
from policies.export.graphs import GOLDEN_ROWS, like, onnx_graph
from policies.export.observed_range import seen_in
from policies.networks.modules import Actor, FactorEncoder
from policies.networks.recurrent import RecurrentEncoder
from sim.core.worlds import WorldSpec


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


class BeliefStepGraph(nn.Module):
    """What belief_step.onnx computes: the next state, and the mixture that is read from it."""

    def __init__(self, encoder: RecurrentEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, state: Tensor, transition: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        state = self.encoder.step(state, transition)
        found = self.encoder.read(state)
        weight = found.log_weight.exp()
        return state, weight, found.means.flatten(1), found.roots.flatten(1)


def artefacts(
    policy: PearlPolicy, spec: WorldSpec, run: Path, generator: torch.Generator
) -> Artefacts:
    """Raises AcclimateError for a policy that is told the true task."""
    if policy.privileged:
        raise AcclimateError(
            f"{run}: trained with objective 'privileged', which is told the true task; no robot "
            "can be, so it is no bundle"
        )
    n_z, c = policy.n_z, policy.config
    graphs: dict[str, bytes] = {}
    golden: dict[str, np.ndarray] = {}
    inputs = {"observation": like(policy.actor.normaliser, generator)}
    if n_z:
        inputs["latent"] = torch.randn(GOLDEN_ROWS, n_z, generator=generator)
    outputs = ("mean", "log_std")
    graphs["policy"] = onnx_graph(PolicyGraph(policy.actor), inputs, outputs, "policy", golden)
    algorithm: NoAdaptation | Gaussian | Recurrent = NoAdaptation()
    row = TransitionRow(c.reward_in_context, c.next_in_context)
    if isinstance(policy.encoder, FactorEncoder):
        inputs = {"transition": like(policy.encoder.normaliser, generator)}
        encoder = EncoderGraph(policy.encoder)
        outputs = ("mean", "variance")
        graphs["encoder"] = onnx_graph(encoder, inputs, outputs, "encoder", golden)
        algorithm = Gaussian(row, capacity=c.capacity)
    elif policy.encoder is not None:
        n_s = policy.encoder.n_s
        state = 2 * torch.rand(GOLDEN_ROWS, n_s, generator=generator) - 1
        inputs = {"state": state, "transition": like(policy.encoder.normaliser, generator)}
        step = BeliefStepGraph(policy.encoder)
        outputs = ("new_state", "weight", "mean", "cholesky")
        graphs["belief_step"] = onnx_graph(step, inputs, outputs, "belief_step", golden)
        initial = policy.encoder.initial(1)[0].tolist()
        algorithm = Recurrent(row, initial, "mixture", c.components)
    latent = Latent(
        size=n_z,
        prior_mean=[0.0] * n_z,
        prior_variance=[1.0] * n_z,
        hold=c.hold if n_z else 0,
        factors=list(spec.factors) if c.objective == "posterior" else [],
        exploration=c.exploration,
    )
    return Artefacts(graphs, golden, {"algorithm": algorithm, "latent": latent}, seen_in(run))

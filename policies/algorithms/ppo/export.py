"""What a PPO run puts into a bundle: the policy, and the belief's encoder or the memory's step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adapt.bundle.algorithms import Gaussian, NoAdaptation, Recurrent, TransitionRow
from adapt.bundle.fields import Latent
from adapt.bundle.manifest import Phase
from adapt.errors import AcclimateError
from policies.algorithms.contract import Artefacts
from policies.algorithms.pearl.export import EncoderGraph
from policies.algorithms.ppo.agent import PpoPolicy
from policies.algorithms.ppo.memory import Memory
from policies.algorithms.ppo.networks import PpoActor
from policies.export.graphs import GOLDEN_ROWS, like, onnx_graph
from sim.core.worlds import WorldSpec


class PolicyGraph(nn.Module):
    """What policy.onnx computes; where the actor is fed nothing, it takes the observation alone.
    One module deeper, for the actor's own `log_std` would share its name with the output.

    means: how many numbers of a belief's statistics, means first, the actor is fed; None for all.
    """

    def __init__(self, actor: PpoActor, means: int | None = None) -> None:
        super().__init__()
        self.actor, self.means = actor, means

    def forward(self, observation: Tensor, latent: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if latent is None:
            return self.actor(observation, observation[:, :0])
        return self.actor(observation, latent if self.means is None else latent[:, : self.means])


class MemoryGraph(nn.Module):
    """What belief_step.onnx computes: the next state."""

    def __init__(self, memory: Memory) -> None:
        super().__init__()
        self.memory = memory

    def forward(self, state: Tensor, transition: Tensor) -> tuple[Tensor]:
        return (self.memory(state, transition),)


def artefacts(
    policy: PpoPolicy, spec: WorldSpec, run: Path, generator: torch.Generator
) -> Artefacts:
    """Raises AcclimateError for a policy that is told the true task."""
    if policy.privileged:
        raise AcclimateError(
            f"{run}: trained with knowledge 'truth', which is told the true task; no robot can be, "
            "so it is no bundle"
        )
    golden: dict[str, np.ndarray] = {}
    c = policy.config
    row = TransitionRow(c.reward_in_context, c.next_in_context)
    n_z = 0 if policy.encoder is None else policy.n_f
    inputs = {"observation": like(policy.actor.normaliser, generator)}
    if n_z:
        mean, spread = torch.randn(2, GOLDEN_ROWS, n_z, generator=generator)
        inputs["latent"] = torch.cat([mean, -2.0 * spread.abs()], 1)
    state = torch.zeros(GOLDEN_ROWS, 0)
    if policy.memory is not None:
        # A gated unit's state lies within ±1.
        state = torch.rand(GOLDEN_ROWS, policy.memory.n_s, generator=generator) * 2.0 - 1.0
        inputs["latent"] = state
    outputs = ("mean", "log_std")
    graph = PolicyGraph(policy.actor, n_z if c.knowledge == "regression" else None)
    graphs = {"policy": onnx_graph(graph, inputs, outputs, "policy", golden)}
    manifest: dict[str, Any] = {
        "algorithm": NoAdaptation(),
        "latent": Latent(
            size=n_z,
            prior_mean=[0.0] * n_z,
            prior_variance=[1.0] * n_z,
            hold=0,
            factors=list(spec.factors) if n_z else [],
        ),
    }
    if policy.encoder is not None:
        inputs = {"transition": like(policy.encoder.normaliser, generator)}
        outputs, graph = ("mean", "variance"), EncoderGraph(policy.encoder)
        graphs["encoder"] = onnx_graph(graph, inputs, outputs, "encoder", golden)
        manifest["algorithm"] = Gaussian(row, capacity=c.capacity)
        manifest["phases"] = (Phase(condition="statistics"),)
    if policy.memory is not None:
        inputs = {"state": state, "transition": like(policy.memory.normaliser, generator)}
        outputs = ("new_state",)
        graph = MemoryGraph(policy.memory)
        graphs["belief_step"] = onnx_graph(graph, inputs, outputs, "belief_step", golden)
        manifest["algorithm"] = Recurrent(row, [0.0] * policy.memory.n_s, "none")
        manifest["phases"] = (Phase(condition="state"),)
        # The actor was never fed a state that is one transition late.
        manifest["synchronous"] = True
    return Artefacts(graphs, golden, manifest, policy.actor.normaliser.seen())

"""Random search: the smallest algorithm there is, as a stranger's package would add it.

A linear policy; each iteration tries changed weights for one run and keeps them if the mean return
was better.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from adapt.bundle.algorithms import NoAdaptation
from adapt.bundle.fields import Latent
from policies.algorithms.contract import Action, Agent, Algorithm, Artefacts, Metrics, Setup, Trial
from policies.export.graphs import onnx_graph
from policies.rollout.trajectories import collect_run
from policies.rollout.trials import Curve
from policies.training.checkpoint import generator_state, restore_generator
from policies.training.settings import Count, TrainSettings


@dataclass(frozen=True)
class SearchSettings(TrainSettings):
    """worlds: one run in each per iteration. spread: standard deviation of a change."""

    algorithm: Literal["random_search"] = "random_search"
    family: str = "point-sparse"
    train_tasks: Count = 8
    iterations: Count = 4
    validation_tasks: Count = 3
    validation_every: Count = 2
    checkpoint_every: Count = 1
    worlds: Count = 4
    spread: float = 0.3


class Linear(nn.Module):
    """Observation (B, n_o) → mean and log std (B, n_a)."""

    def __init__(self, n_o: int, n_a: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_o, n_a))

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        mean = observation @ self.weight + 0.5
        return mean, torch.zeros_like(mean) - 2.0


@dataclass(frozen=True)
class SearchPolicy:
    network: Linear
    episodes_per_step: int = 1
    adapts: bool = False
    privileged: bool = False

    def agent(self, worlds: int, generator: torch.Generator, share: int = 1) -> SearchAgent:
        return SearchAgent(self.network, worlds, generator)


class SearchAgent(Agent):
    def __init__(self, network: Linear, worlds: int, generator: torch.Generator) -> None:
        super().__init__(worlds, generator)
        self.network = network

    def act(
        self, observation: np.ndarray, stochastic: np.ndarray | bool, latent: Tensor | None = None
    ) -> Action:
        mean, _ = self.network(torch.from_numpy(observation))
        return Action(torch.tanh(mean).numpy())


class SearchLearner:
    trial = Trial(columns=2, stochastic=False)

    def __init__(self, setup: Setup[SearchSettings]) -> None:
        self.setup, self.rng, self.updates = setup, setup.seeds.loop, 0
        spec = setup.family.spec
        self.network = Linear(spec.observation_size, spec.action_size)
        self.best = -np.inf

    def policy(self) -> SearchPolicy:
        return SearchPolicy(self.network)

    def iterate(self, iteration: int) -> Metrics:
        s, start = self.setup.settings, time.perf_counter()
        tried = copy.deepcopy(self.network)
        change = s.spread * self.rng.standard_normal(tried.weight.shape)
        with torch.no_grad():
            tried.weight.add_(torch.from_numpy(change))
        index = self.rng.integers(len(self.setup.tasks), size=s.worlds)
        worlds = self.setup.family.make(s.worlds, int(self.rng.integers(2**31)), s.threads)
        worlds.assign([self.setup.tasks[i] for i in index])
        agent = SearchPolicy(tried).agent(s.worlds, torch.Generator())
        horizon = self.setup.family.spec.horizon
        _, found = collect_run(worlds, agent, index, horizon)
        worlds.close()
        metrics = {f"collect/{name}": float(value) for name, value in found.items()}
        metrics["time/collect"] = time.perf_counter() - start
        if found["return"] > self.best:
            self.best, self.network = found["return"], tried
        self.updates += 1
        return metrics | {"steps": float((iteration + 1) * s.worlds * horizon)}

    def judge(self, curve: Curve) -> Metrics:
        return {"score": float(curve.measured.mean())}

    def modules(self) -> dict[str, nn.Module]:
        return {"network": self.network}

    def state_dict(self) -> dict[str, Any]:
        search = {"network": self.network.state_dict(), "best": float(self.best)}
        return {"search": search, "rng": generator_state(self.rng), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["search"]["network"])
        self.best, self.updates = state["search"]["best"], state["updates"]
        restore_generator(self.rng, state["rng"])

    def export(self, run: Path, generator: torch.Generator) -> Artefacts:
        golden: dict[str, np.ndarray] = {}
        seen = torch.randn(8, self.setup.family.spec.observation_size, generator=generator)
        inputs = {"observation": seen}
        graph = onnx_graph(self.network, inputs, ("mean", "log_std"), "policy", golden)
        keys = {"algorithm": NoAdaptation(), "latent": Latent(0, [], [], 0, [])}
        return Artefacts({"policy": graph}, golden, keys, None)

    def close(self) -> None:
        """Nothing lives beyond an iteration."""


ALGORITHM = Algorithm(SearchSettings, SearchLearner)

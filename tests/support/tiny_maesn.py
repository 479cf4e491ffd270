"""A MAESN bundle small enough to make in a test: a linear policy and the real adaptation step."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from adapt.bundle.algorithms import Stepped
from adapt.bundle.fields import ActionField, Field, Latent
from adapt.bundle.manifest import Manifest
from adapt.bundle.policy_bundle import write_bundle
from policies.algorithms.maesn import latent_step
from policies.export.graphs import OPSET, onnx_graph

N_O, N_A, N_Z = 2, 2, 2


class Linear(nn.Module):
    """The mean is the latent; what is observed does not matter."""

    def forward(self, observation: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        return latent + 0.0 * observation, 0.0 * latent - 1.0


def make_step(episodes: int, horizon: int, hold: int = 0) -> latent_step.LatentStep:
    return latent_step.LatentStep(
        N_O, N_Z, episodes, horizon, hold, 0.99, torch.zeros(N_O), torch.ones(N_O)
    )


def inputs(step: latent_step.LatentStep, rows: int, seed: int) -> dict[str, Tensor]:
    """Random episodes of random lengths, by the graph's names."""
    g = torch.Generator().manual_seed(seed)
    e, t = step.episodes, step.horizon
    lengths = torch.randint(2, t + 1, (rows, e, 1), generator=g)
    mask = (torch.arange(t)[None, None] < lengths).float()
    mean = torch.randn(rows, N_Z, generator=g)
    log_std = torch.rand(rows, N_Z, generator=g) * 3.5 - 3.0
    noise = torch.randn(rows, e * step.draws, N_Z, generator=g)
    latent = mean[:, None] + log_std.exp()[:, None] * noise
    return {
        "mean": mean,
        "log_std": log_std,
        "step_sizes": torch.rand(rows, 2 * N_Z, generator=g) + 0.5,
        "latent": latent.reshape(rows, -1),
        "observation": torch.randn(rows, e * t * N_O, generator=g),
        "reward": torch.randn(rows, e * t, generator=g),
        "mask": mask.reshape(rows, -1),
    }


@cache
def _graphs(
    episodes: int, horizon: int, hold: int
) -> tuple[dict[str, bytes], dict[str, np.ndarray]]:
    """Graphs and golden vectors; exporting takes seconds, so each once."""
    golden: dict[str, np.ndarray] = {}
    g = torch.Generator().manual_seed(0)
    seen = {
        "observation": torch.randn(4, N_O, generator=g),
        "latent": torch.randn(4, N_Z, generator=g),
    }
    step = make_step(episodes, horizon, hold)
    policy = onnx_graph(Linear(), seen, ("mean", "log_std"), "policy", golden)
    names = ("new_mean", "new_log_std")
    learnt = onnx_graph(step, inputs(step, 3, 1), names, "latent_step", golden)
    return {"policy": policy, "latent_step": learnt}, golden


def write(
    path: Path,
    *,
    episodes: int = 4,
    horizon: int = 6,
    hold: int = 0,
    counted: Literal["every", "last"] = "every",
    step_size: float = 1.0,
    max_kl: float = 8.0,
    max_norm: float = 4.0,
) -> Path:
    """Write a bundle folder at path and return path."""
    graphs, golden = _graphs(episodes, horizon, hold)
    manifest = Manifest(
        name="tiny-maesn",
        algorithm=Stepped(
            counted=counted,
            episodes=episodes,
            horizon=horizon,
            step_sizes=[step_size] * (2 * N_Z),
            max_kl=max_kl,
            max_norm=max_norm,
            log_std_low=-3.0,
            log_std_high=0.5,
            max_reward=100.0,
        ),
        observation=[Field("position", (N_O,), "m", -10.0, 10.0)],
        action=[ActionField("velocity", (N_A,), "m/s", -0.1, 0.1, 0.1)],
        squash="tanh",
        control_period=0.05,
        latent=Latent(N_Z, [0.0] * N_Z, [1.0] * N_Z, hold, []),
        limits=[],
        task_space={},
        training={},
        tools={},
        opset=OPSET,
        files={},
    )
    write_bundle(path, manifest, graphs, golden)
    return path

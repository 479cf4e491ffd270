"""The adaptation step: its gradient, its baseline, and that it exports as what it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from adapt.inference.graph_signature import GraphSignature
from adapt.inference.session import Graph
from policies.algorithms.maesn.latent_step import NORM, gaussian_kl
from policies.export.graphs import onnx_graph
from tests.support import tiny_maesn


def expected_gain(
    mean: Tensor, log_std: Tensor, latent: Tensor, advantage: Tensor, count: Tensor
) -> Tensor:
    """Σ A log N(z; mean, std) / count: what the step's gradient is of."""
    noise = (latent - mean[:, None]) * torch.exp(-log_std[:, None])
    density = (-0.5 * noise**2 - log_std[:, None]).sum(-1)
    return (advantage.reshape(len(mean), -1) * density).sum(1) / count.reshape(-1)


@pytest.mark.parametrize("hold", [0, 1, 4])
@pytest.mark.parametrize("log_std", [-3.0, 0.0, 0.5])
def test_the_step_is_fisher_times_the_gradient_by_autograd_and_by_differences(hold, log_std):
    step = tiny_maesn.make_step(5, 6, hold)
    given = {k: v.double() for k, v in tiny_maesn.inputs(step, 3, 7).items()}
    step = step.double()
    mean = given["mean"]
    spread = torch.full_like(mean, log_std)
    noise = torch.randn(3, 5 * step.draws, 2, generator=torch.Generator().manual_seed(1)).double()
    latent = mean[:, None] + spread.exp()[:, None] * 0.5 * noise
    given |= {"log_std": spread, "latent": latent.reshape(3, -1)}
    given["step_sizes"] = torch.ones_like(given["step_sizes"])
    new_mean, new_log_std = step(**given)
    advantage, count = step.advantage(
        given["observation"], given["reward"], given["mask"].reshape(3, 5, 6)
    )

    m, s = mean.clone().requires_grad_(), spread.clone().requires_grad_()
    gain = expected_gain(m, s, latent, advantage, count).sum()
    on_mean, on_log_std = torch.autograd.grad(gain, (m, s))
    scaled = torch.cat([on_mean * spread.exp(), 0.5 * on_log_std], 1)
    scaled = scaled * (NORM / scaled.norm(dim=1, keepdim=True)).clamp(max=1.0)
    assert torch.allclose(new_mean, mean + spread.exp() * scaled[:, :2], atol=1e-9)
    assert torch.allclose(new_log_std, spread + scaled[:, 2:], atol=1e-9)

    tiny = 1e-6 * np.exp(log_std)
    for axis in range(2):
        moved = torch.zeros_like(mean)
        moved[:, axis] = tiny
        up = expected_gain(mean + moved, spread, latent, advantage, count)
        down = expected_gain(mean - moved, spread, latent, advantage, count)
        assert torch.allclose((up - down) / (2 * tiny), on_mean[:, axis], rtol=1e-5, atol=1e-6)


def test_the_belief_moves_towards_the_latents_that_were_rewarded_and_narrows_round_them():
    step = tiny_maesn.make_step(200, 2)
    g = torch.Generator().manual_seed(0)
    latent = torch.randn(1, 200, 2, generator=g)
    near = torch.exp(-8 * (latent - 0.5).square().sum(-1))
    reward = torch.stack([near, torch.zeros_like(near)], -1)
    mean, log_std = step(
        torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(1, 4), latent.reshape(1, -1),
        torch.zeros(1, 800), reward.reshape(1, -1), torch.ones(1, 400),
    )  # fmt: skip
    assert (mean > 0.1).all() and (mean < 1.0).all()
    assert (log_std < 0).all()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e8])
def test_what_rewards_are_measured_in_does_not_matter(scale):
    step = tiny_maesn.make_step(5, 6)
    given = tiny_maesn.inputs(step, 3, 3)
    base = step(**given)
    scaled = step(**(given | {"reward": given["reward"] * scale}))
    for a, b in zip(base, scaled, strict=True):
        assert torch.allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("reward", [0.0, 1.0, -1e6])
def test_equal_returns_move_nothing(reward):
    step = tiny_maesn.make_step(5, 6)
    given = tiny_maesn.inputs(step, 3, 3)
    given["mask"] = torch.ones_like(given["mask"])
    given["observation"] = torch.zeros_like(given["observation"])
    given["reward"] = torch.full_like(given["reward"], reward)
    mean, log_std = step(**given)
    assert torch.equal(mean, given["mean"]) and torch.equal(log_std, given["log_std"])


def test_padding_does_not_count():
    step = tiny_maesn.make_step(5, 6)
    given = tiny_maesn.inputs(step, 3, 3)
    padded = given["mask"] == 0
    noisy = given | {"reward": torch.where(padded, 50.0, given["reward"])}
    over = padded[..., None].expand(*padded.shape, 2).reshape(3, -1)
    noisy["observation"] = torch.where(over, 9.0, given["observation"])
    for a, b in zip(step(**given), step(**noisy), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("hold", [0, 2])
def test_the_exported_step_answers_as_torch_does_where_it_was_not_traced(hold):
    step = tiny_maesn.make_step(4, 6, hold)
    given = tiny_maesn.inputs(step, 3, 1)
    names = ("new_mean", "new_log_std")
    model = onnx_graph(step, given, names, "latent_step", {})
    widths = {k: v.shape[1] for k, v in given.items()}
    graph = Graph("latent_step", model, GraphSignature(widths, dict.fromkeys(names, 2)))
    for seed in range(20):
        other = tiny_maesn.inputs(step, 5, 100 + seed)
        # The extremes of the belief's width, alternating.
        other["log_std"] = torch.full_like(other["log_std"], -3.0 if seed % 2 else 0.5)
        if seed % 3 == 0:
            # Nothing observed and hardly any reward: what the solver divides by vanishes.
            other["observation"] = torch.zeros_like(other["observation"])
            other["reward"] = other["reward"] * (1e-9 if seed % 2 else 1.0)
        wanted = step(**other)
        found = graph.run(**{k: v.numpy() for k, v in other.items()})
        for name, tensor in zip(names, wanted, strict=True):
            assert np.abs(found[name] - tensor.numpy()).max() <= 1e-5


def test_every_input_reaches_the_exported_answer():
    # An export that freezes an operation leaves an input without effect.
    step = tiny_maesn.make_step(4, 6)
    given = tiny_maesn.inputs(step, 3, 1)
    names = ("new_mean", "new_log_std")
    model = onnx_graph(step, given, names, "latent_step", {})
    widths = {k: v.shape[1] for k, v in given.items()}
    graph = Graph("latent_step", model, GraphSignature(widths, dict.fromkeys(names, 2)))
    arrays = {k: v.numpy() for k, v in given.items()}
    base = np.concatenate(list(graph.run(**arrays).values()))
    for name in arrays:
        changed = arrays[name].copy()
        changed[:, 0] = 1.0 - changed[:, 0] if name == "mask" else changed[:, 0] + 0.3
        found = np.concatenate(list(graph.run(**(arrays | {name: changed})).values()))
        assert np.abs(found - base).max() > 1e-6, name


def test_the_kl_between_gaussians():
    mean, log_std = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, np.log(2.0)]])
    zero = torch.zeros(1, 2)
    wanted = 0.5 + 0.5 * (4.0 - 1.0 - 2.0 * np.log(2.0))
    assert gaussian_kl(mean, log_std, zero, zero).item() == pytest.approx(wanted)
    assert gaussian_kl(mean, log_std, mean, log_std).item() == 0.0

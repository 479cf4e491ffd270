"""Twin critics: two networks in one, what each kind promises, and learners that resume on them."""

from __future__ import annotations

import typing

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from adapt.errors import AcclimateError
from adapt.settings import SettingsError
from policies.algorithms.registry import train_settings
from policies.networks.critics import (
    Critic,
    CriticKind,
    CrossQCritic,
    SimbaCritic,
    TwinCritic,
    make_critic,
)
from policies.networks.modules import mlp
from tests.policies.algorithms.test_pearl import filled, learner

KINDS: tuple[CriticKind, ...] = typing.get_args(CriticKind)
ROWS, N_O, N_Z, N_A, HIDDEN, SCALE = 32, 5, 2, 3, (16, 8), 100.0


@pytest.fixture(autouse=True)
def seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def make(kind: CriticKind) -> Critic:
    """A critic whose every parameter matters and differs between its two networks."""
    critic = make_critic(kind, N_O, N_A + N_Z, HIDDEN, SCALE)
    with torch.no_grad():
        for p in critic.parameters():
            p.add_(0.1 * torch.randn_like(p))
    critic.project()
    return critic


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(ROWS, N_O), torch.randn(ROWS, N_A), torch.randn(ROWS, N_Z)


@pytest.mark.parametrize("kind", KINDS)
def test_values_have_one_row_per_network_and_reach_every_parameter(kind: CriticKind) -> None:
    critic = make(kind)
    q = critic(*inputs())
    assert q.shape == (2, ROWS) and q.dtype == torch.float32
    # Squared, for a batch normalisation's output has a sum that nothing changes.
    (q**2).sum().backward()
    for name, p in critic.named_parameters():
        assert p.grad is not None and (p.grad.reshape(2, -1) != 0).any(1).all(), name
    with torch.autocast("cpu", torch.bfloat16):
        assert critic(*inputs()).dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_on_one_network_leaves_the_other_alone(kind: CriticKind) -> None:
    critic = make(kind)
    (critic(*inputs())[0] ** 2).sum().backward()
    for name, p in critic.named_parameters():
        assert p.grad is not None and (p.grad.reshape(2, -1)[1] == 0).all(), name


@pytest.mark.parametrize("kind", KINDS)
def test_the_normaliser_stands_before_the_observation(kind: CriticKind) -> None:
    critic = make(kind).eval()
    observation, *rest = inputs()
    plain = critic(observation, *rest)
    critic.normaliser.mean.fill_(-3.0)
    critic.normaliser.std.fill_(5.0)
    torch.testing.assert_close(critic(5 * observation - 3, *rest), plain, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("norm", [True, False])
def test_a_twin_critic_is_two_networks_of_torchs_own_layers(norm: bool) -> None:
    critic = make("layer_norm" if norm else "plain")
    assert isinstance(critic, TwinCritic)
    given = inputs()
    q, x = critic(*given), torch.cat(given, -1)
    for i in range(2):
        alone = mlp([x.shape[-1], *HIDDEN, 1], layer_norm=norm)
        linear = [m for m in alone if isinstance(m, nn.Linear)]
        norms = [m for m in alone if isinstance(m, nn.LayerNorm)]
        with torch.no_grad():
            for m, w, b in zip(linear, critic.weights, critic.biases, strict=True):
                m.weight.copy_(w[i].T)
                m.bias.copy_(b[i, 0])
            for m, g, s in zip(norms, critic.gains, critic.shifts, strict=True):
                m.weight.copy_(g[i, 0])
                m.bias.copy_(s[i, 0])
        torch.testing.assert_close(q[i], alone(x)[:, 0], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(q[0], q[1], atol=1e-2)


@pytest.mark.parametrize("training", [True, False])
def test_crossq_is_two_networks_of_torchs_own_layers(training: bool) -> None:
    critic = make("crossq")
    assert isinstance(critic, CrossQCritic)
    critic(*inputs())  # running statistics that are not their initial ones
    critic.train(training)
    given = inputs()
    x = torch.cat(given, -1)
    expected = []
    for i in range(2):
        y = x
        for j, norm in enumerate(critic.norms):
            half = slice(i * y.shape[-1], (i + 1) * y.shape[-1])
            alone = nn.BatchNorm1d(y.shape[-1], eps=1e-3).train(training)
            alone.load_state_dict(
                {k: v[half] if v.ndim else v for k, v in norm.state_dict().items()}
            )
            y = alone(y) @ critic.weights[j][i].T + critic.biases[j][i].T
            y = y if j == len(HIDDEN) else y.relu()
        expected.append(y[:, 0])
    torch.testing.assert_close(critic(*given), torch.stack(expected), atol=1e-5, rtol=1e-5)


def test_crossq_in_training_takes_its_statistics_from_the_joint_batch() -> None:
    critic = make("crossq").train()
    now, then = inputs(), tuple(x + 2 for x in inputs())
    joint = critic(*map(torch.cat, zip(now, then, strict=True)))
    assert not torch.allclose(joint[:, :ROWS], critic(*now), atol=1e-2)
    critic.eval()
    torch.testing.assert_close(
        critic(*map(torch.cat, zip(now, then, strict=True)))[:, :ROWS], critic(*now)
    )


def test_simba_is_two_networks_as_published() -> None:
    """Layer by layer, each output scaled, with a learned share of every block's way."""
    critic = make_critic("simba", N_O, N_A + N_Z, (16, 8, 12), SCALE)
    assert isinstance(critic, SimbaCritic)
    with torch.no_grad():
        for p in [*critic.scales, *critic.lerps, critic.bias]:
            p.add_(0.1 * torch.randn_like(p))
    sphere = lambda y: y / y.norm(dim=-1, keepdim=True)  # noqa: E731
    given = inputs()
    q = critic(*given)
    for i in range(2):
        weights = [w[i] for w in critic.weights]
        scales = [s[i] for s in critic.scales]
        x = sphere(torch.cat([*given, torch.full((ROWS, 1), 3.0)], -1))
        x = sphere(x @ weights.pop(0) * scales.pop(0))
        for lerp in critic.lerps:
            y = (x @ weights.pop(0) * scales.pop(0)).relu()
            y = sphere(y @ weights.pop(0))
            # Stored in units of 1 / sqrt(width) for a start at 1 / (blocks + 1).
            x = sphere(x + lerp[i] * 16**0.5 / 3 * (y - x))
        alone = x @ weights.pop(0) * scales.pop(0) @ weights.pop(0) + critic.bias[i]
        torch.testing.assert_close(q[i], SCALE * alone[:, 0], atol=1e-4, rtol=1e-4)
        assert not weights and not scales
    fresh = make_critic("simba", N_O, N_A + N_Z, (16, 8, 12), SCALE)
    assert isinstance(fresh, SimbaCritic)
    torch.testing.assert_close(fresh.lerps[0] * fresh.lerp_unit, torch.full((2, 1, 16), 1 / 3))


def test_simbas_weights_and_features_lie_on_unit_spheres() -> None:
    critic = make("simba")
    assert isinstance(critic, SimbaCritic)
    loss = (critic(*inputs()) ** 2).sum()
    optimiser = torch.optim.Adam(critic.parameters(), 0.1)
    loss.backward()
    optimiser.step()
    norms = lambda: torch.cat([w.norm(dim=1).ravel() for w in critic.weights])  # noqa: E731
    assert (norms() - 1).abs().max() > 0.01
    critic.project()
    torch.testing.assert_close(norms(), torch.ones_like(norms()))
    # |scale| bounds the head's output then, for any input.
    scale, bias = critic.scales[-1].abs().amax(-1), critic.bias[..., 0]
    far = [1e3 * x for x in inputs()]
    assert ((critic(*far) / SCALE - bias).abs() <= scale + 1e-5).all()


def test_simba_tells_inputs_of_one_direction_apart_by_their_length() -> None:
    critic = make("simba")
    given = inputs()
    longer = [2 * x for x in given]
    assert (critic(*given) - critic(*longer)).abs().median() > 1e-3 * SCALE


def test_simba_without_a_width_is_refused() -> None:
    with pytest.raises(AcclimateError, match=r"critic_hidden is empty; .* stream's width"):
        make_critic("simba", N_O, N_A, (), 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_moves_the_critic_and_the_policy_sees_it_at_rest(kind: CriticKind) -> None:
    of = learner(critic=kind)
    replay, factors = filled(of)
    before = [p.clone() for p in of.critic.parameters()]
    info = of.update(replay, factors, np.random.default_rng(0))
    assert all(v.isfinite().all() for v in info.values())
    moved = [not torch.equal(p, q) for p, q in zip(of.critic.parameters(), before, strict=True)]
    assert all(moved)
    assert not of.critic.training
    if isinstance(of.critic, SimbaCritic):
        for w in of.critic.weights:
            torch.testing.assert_close(w.norm(dim=1), torch.ones_like(w[:, 0]))


def test_crossq_learns_from_one_joint_pass_whose_second_half_teaches_nothing() -> None:
    of = learner(critic="crossq")
    assert of.target is None
    (group,) = of.optimisers["critic"].param_groups
    assert group["betas"] == (0.5, 0.999)
    assert isinstance(of.critic, CrossQCritic)
    now = (torch.randn(ROWS, 1), torch.randn(ROWS, 1), torch.randn(ROWS, 1), torch.randn(ROWS, 1))
    then = tuple(x + 1 for x in now)
    q, following = of._values(now, then)
    assert q.shape == following.shape == (2, ROWS) and not following.requires_grad
    assert q.requires_grad
    state = of.critic.state_dict()
    assert [int(v) for k, v in state.items() if k.endswith("num_batches_tracked")] == [1] * 3
    mean = state["norms.0.running_mean"].clone()
    joint = torch.cat([torch.cat(now, -1), torch.cat(then, -1)]).mean(0)
    torch.testing.assert_close(mean, 0.01 * joint.repeat(2))
    # Judging the policy's own actions leaves the statistics as they are.
    of.critic(*now)
    assert torch.equal(mean, of.critic.state_dict()["norms.0.running_mean"])


def test_an_unknown_critic_is_refused_with_the_choices() -> None:
    with pytest.raises(SettingsError, match=r"learner\.critic") as refused:
        train_settings(["learner.critic=batch_norm"])
    message = str(refused.value)
    assert "batch_norm" in message and all(kind in message for kind in KINDS)

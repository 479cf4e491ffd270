"""Networks against torch's own: densities, bounds, normalisers."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal, TanhTransform, TransformedDistribution

from policies.networks.modules import (
    LOG_STD_MAX,
    LOG_STD_MIN,
    Actor,
    FactorEncoder,
    Normaliser,
)

ROWS, N_O, N_Z, N_A, HIDDEN = 32, 5, 2, 3, (16, 8)


@pytest.fixture(autouse=True)
def seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def inputs():
    return torch.randn(ROWS, N_O), torch.randn(ROWS, N_Z)


def test_the_log_density_is_that_of_torchs_squashed_normal():
    actor = Actor(N_O, N_Z, N_A, HIDDEN)
    observation, latent = inputs()
    with torch.no_grad():
        mean, log_std = actor(observation, latent)
        action, log_density = actor.sample(observation, latent, torch.randn(ROWS, N_A))
    normal = Normal(mean.double(), log_std.double().exp())
    squashed = Independent(TransformedDistribution(normal, TanhTransform()), 1)
    assert action.shape == (ROWS, N_A) and log_density.shape == (ROWS,)
    inside = (action.abs() < 0.999).all(-1)  # torch's inverse loses its digits beyond
    assert inside.sum() > ROWS / 2
    expected = squashed.log_prob(action.double())[inside].float()
    assert torch.allclose(log_density[inside], expected, atol=2e-3)


def test_the_density_stays_finite_where_the_action_saturates():
    actor = Actor(N_O, N_Z, N_A, HIDDEN)
    observation, latent = inputs()
    noise = torch.full((ROWS, N_A), 40.0, requires_grad=True)
    action, log_density = actor.sample(observation, latent, noise)
    log_density.sum().backward()
    assert (action.abs() <= 1).all() and log_density.isfinite().all()
    gradients = [p.grad for p in actor.parameters() if p.grad is not None]
    assert gradients and all(g.isfinite().all() for g in gradients)


def test_the_density_integrates_to_one():
    actor = Actor(N_O, 0, 1, HIDDEN)
    observation = torch.randn(1, N_O).expand(4001, -1)
    noise = torch.linspace(-6, 6, 4001)[:, None]
    with torch.no_grad():
        action, log_density = actor.sample(observation, torch.zeros(4001, 0), noise)
    assert torch.trapezoid(log_density.exp(), action[:, 0]).item() == pytest.approx(1, abs=1e-2)


def test_the_spread_is_bounded_and_both_bounds_are_approached():
    actor = Actor(N_O, N_Z, N_A, HIDDEN)
    last = actor.body[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.bias[N_A:] = torch.tensor([-50.0, 0.0, 50.0])
        last.weight[N_A:] = 0
        log_std = actor(*inputs())[1]
    expected = torch.tensor([LOG_STD_MIN, (LOG_STD_MIN + LOG_STD_MAX) / 2, LOG_STD_MAX])
    assert torch.allclose(log_std, expected.expand(ROWS, -1), atol=1e-5)


def test_a_factors_precision_is_bounded_and_starts_small():
    encoder = FactorEncoder(N_O, N_Z, HIDDEN)
    transition = torch.randn(4, ROWS, N_O)
    mean, log_precision = encoder(transition)
    assert mean.shape == log_precision.shape == (4, ROWS, N_Z)
    assert abs(log_precision.mean().item() - FactorEncoder.START) < 0.5
    last = encoder.body[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.bias[N_Z:] = torch.tensor([-1e3, 1e3])
        log_precision = encoder(transition)[1]
    assert (log_precision[..., 0] == FactorEncoder.LOG_PRECISION_MIN).all()
    assert (log_precision[..., 1] == FactorEncoder.LOG_PRECISION_MAX).all()
    # A thousand of the weakest factors still say next to nothing.
    assert 1000 * math.exp(FactorEncoder.LOG_PRECISION_MIN) < 0.01


def test_a_normaliser_standardises_clips_and_keeps_a_constant_as_it_is():
    normaliser = Normaliser(3)
    data = torch.randn(5000, 3) * torch.tensor([1e-4, 50.0, 0.0]) + torch.tensor([2.0, -7.0, 3.0])
    normaliser.fit(data)
    out = normaliser(data)
    assert torch.allclose(out.mean(0), torch.zeros(3), atol=0.02)
    assert torch.allclose(out[:, :2].std(0), torch.ones(2), atol=0.01)
    assert (out[:, 2].abs() < 1e-5).all()
    assert (normaliser(torch.full((1, 3), 1e9)) == 8).all()
    assert (normaliser(torch.full((1, 3), -1e9)) == -8).all()
    # It travels with the network.
    again = Normaliser(3)
    again.load_state_dict(normaliser.state_dict())
    assert (again(data) == out).all() and not list(normaliser.parameters())


def test_networks_see_their_normalised_observation_and_the_latent():
    actor = Actor(N_O, N_Z, N_A, HIDDEN)
    observation, latent = inputs()
    plain = actor(observation, latent)[0]
    shifted = 5 * observation - 3
    actor.normaliser.mean.fill_(-3.0)
    actor.normaliser.std.fill_(5.0)
    assert torch.allclose(actor(shifted, latent)[0], plain, atol=1e-5)
    assert not torch.allclose(actor(shifted, latent + 1)[0], plain, atol=1e-2)

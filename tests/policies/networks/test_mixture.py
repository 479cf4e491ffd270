"""Mixtures in torch are those of torch's distributions, and those of the robot's belief."""

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from adapt.belief.mixture import make_mixture
from policies.networks.mixture import Mixture

N, K, N_Z = 7, 3, 4


@pytest.fixture
def some() -> Mixture:
    g = torch.Generator().manual_seed(0)
    below = torch.randn(N, K, N_Z, N_Z, generator=g).tril(-1)
    diagonal = torch.diag_embed(torch.rand(N, K, N_Z, generator=g) + 0.1)
    logits, means = torch.randn(N, K, generator=g), torch.randn(N, K, N_Z, generator=g)
    return Mixture(torch.log_softmax(logits, -1), means, below + diagonal)


def test_densities_are_those_of_torch(some: Mixture) -> None:
    target = torch.randn(N, N_Z, generator=torch.Generator().manual_seed(1))
    theirs = MixtureSameFamily(
        Categorical(logits=some.log_weight), MultivariateNormal(some.means, scale_tril=some.roots)
    )
    found = some.negative_log_density(target)
    torch.testing.assert_close(found, -theirs.log_prob(target), rtol=1e-4, atol=1e-4)


def test_moments_are_those_of_the_robots_belief(some: Mixture) -> None:
    for n in range(N):
        parts = some.log_weight[n].exp(), some.means[n], some.roots[n]
        robot = make_mixture(*(part.numpy() for part in parts), count=1, version=1)
        np.testing.assert_allclose(some.mean[n], robot.mean, atol=1e-5)
        np.testing.assert_allclose(some.variance[n], robot.variance, rtol=1e-5)


def test_samples_have_the_mixtures_moments(some: Mixture) -> None:
    many = Mixture(*(a[:1].expand(20_000, *a.shape[1:]) for a in vars(some).values()))
    drawn = many.sample(1.0, torch.Generator().manual_seed(2))
    error = (drawn.mean(0) - some.mean[0]) / (some.variance[0] / len(drawn)).sqrt()
    assert error.abs().max() < 4.5
    torch.testing.assert_close(drawn.var(0), some.variance[0], rtol=0.05, atol=0)


def test_without_exploration_a_sample_is_a_components_mean(some: Mixture) -> None:
    drawn = some.sample(0.0, torch.Generator().manual_seed(3))
    assert ((drawn[:, None] - some.means).abs().amax(-1).amin(-1) == 0).all()


def test_a_belief_that_has_met_nothing_is_the_prior(some: Mixture) -> None:
    met = torch.arange(N) > 2
    found = some.where(met)
    assert (found.mean[:3] == 0).all()
    torch.testing.assert_close(found.variance[:3], torch.ones(3, N_Z))
    assert torch.equal(found.mean[3:], some.mean[3:])
    target = torch.randn(N, N_Z)
    prior = -torch.distributions.Normal(0.0, 1.0).log_prob(target).sum(-1)
    torch.testing.assert_close(found.negative_log_density(target)[:3], prior[:3])

"""The belief in torch is the robot's, its density is torch's, and its loss is calibrated."""

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from adapt.belief.gaussian import Accumulator
from policies.networks.belief import kl_to_prior, negative_log_density, prefix_posteriors

RUNS, STEPS, N_Z = 4, 60, 3


def factors(seed=0, span=3.0):
    """Means, log precisions (n, T, n_z) and validity (n, T) of factors of any strength."""
    g = torch.Generator().manual_seed(seed)
    mean = torch.randn(RUNS, STEPS, N_Z, generator=g)
    log_precision = span * torch.randn(RUNS, STEPS, N_Z, generator=g) - 2
    valid = (torch.rand(RUNS, STEPS, generator=g) > 0.2).float()
    return mean, log_precision, valid


@pytest.mark.parametrize("seed", range(3))
def test_every_prefix_is_the_robots_incremental_belief(seed):
    mean, log_precision, valid = factors(seed)
    post_mean, post_variance = prefix_posteriors(mean, log_precision, valid)
    assert post_mean.shape == post_variance.shape == (RUNS, STEPS + 1, N_Z)
    for run in range(RUNS):
        robot = Accumulator([0.0] * N_Z, [1.0] * N_Z, STEPS)
        for t in range(STEPS + 1):
            belief = robot.belief(0)
            assert np.allclose(post_mean[run, t], belief.mean, atol=1e-5)
            assert np.allclose(post_variance[run, t], belief.variance, atol=1e-5)
            if t < STEPS and valid[run, t]:
                robot.add(mean[run, t].numpy(), (-log_precision[run, t]).exp().numpy())


def test_no_factor_leaves_the_prior_and_an_invalid_one_changes_nothing():
    mean, log_precision, valid = factors()
    valid[:, 10:20] = 0
    post_mean, post_variance = prefix_posteriors(mean, log_precision, valid)
    assert (post_mean[:, 0] == 0).all() and (post_variance[:, 0] == 1).all()
    for t in range(10, 20):
        assert (post_mean[:, t + 1] == post_mean[:, 10]).all()
    nothing = prefix_posteriors(mean, log_precision, torch.zeros_like(valid))
    assert (nothing[0] == 0).all() and (nothing[1] == 1).all()


def test_a_longer_context_is_never_less_certain_and_order_does_not_matter():
    mean, log_precision, valid = factors()
    post_mean, post_variance = prefix_posteriors(mean, log_precision, valid)
    assert (post_variance.diff(dim=1) <= 0).all()
    order = torch.randperm(STEPS, generator=torch.Generator().manual_seed(1))
    other_mean, other_variance = prefix_posteriors(
        mean[:, order], log_precision[:, order], valid[:, order]
    )
    assert torch.allclose(post_mean[:, -1], other_mean[:, -1], atol=1e-4)
    assert torch.allclose(post_variance[:, -1], other_variance[:, -1], rtol=1e-4)


def test_densities_and_divergences_are_those_of_torch():
    g = torch.Generator().manual_seed(0)
    target, mean = torch.randn(2, 50, N_Z, generator=g)
    variance = torch.rand(50, N_Z, generator=g) * 3 + 1e-3
    normal = Normal(mean, variance.sqrt())
    found = negative_log_density(target, mean, variance)
    assert torch.allclose(found, -normal.log_prob(target), rtol=1e-4, atol=1e-4)
    expected = kl_divergence(normal, Normal(0.0, 1.0))
    assert torch.allclose(kl_to_prior(mean, variance), expected, rtol=1e-4, atol=1e-5)
    assert kl_to_prior(torch.zeros(1), torch.ones(1)).item() == pytest.approx(0, abs=1e-7)


def test_the_losses_optimum_is_the_exact_posterior():
    """x ~ N(0, 1), y_t = x + noise of variance r: a factor with mean y_t and precision 1/r.

    The encoder here is the best linear one, mean a·y and a constant log precision b, trained on
    prefixes as `PearlLearner` does. What it must find is a = 1, b = −log r, for then the belief
    after t observations is the posterior, of variance 1 / (1 + t / r).
    """
    r, steps = 0.5, 8
    g = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, 1, 1, generator=g)
    y = x + r**0.5 * torch.randn(20_000, steps, 1, generator=g)
    valid = torch.ones(y.shape[:2])
    gain, log_precision = (
        torch.tensor([0.3], requires_grad=True),
        torch.zeros(1, requires_grad=True),
    )
    optimiser = torch.optim.LBFGS([gain, log_precision], line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        mean, variance = prefix_posteriors(gain * y, log_precision.expand_as(y), valid)
        value = negative_log_density(x, mean, variance).mean()
        value.backward()
        return value

    for _ in range(3):
        optimiser.step(loss)
    assert gain.item() == pytest.approx(1.0, abs=0.02)
    assert log_precision.exp().item() == pytest.approx(1 / r, rel=0.03)
    with torch.no_grad():
        mean, variance = prefix_posteriors(gain * y, log_precision.expand_as(y), valid)
    exact = 1 / (1 + torch.arange(steps + 1) / r)
    assert torch.allclose(variance[0, :, 0], exact, rtol=0.03)
    # Calibrated: errors are as large as the belief says, after every number of observations.
    errors = ((x - mean) ** 2).mean(dim=(0, 2))
    assert torch.allclose(errors, variance[0, :, 0], rtol=0.05)

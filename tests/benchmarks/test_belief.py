"""What the benchmark of beliefs compares with."""

import numpy as np
import pytest
import torch

from benchmarks.bench_belief import Outcome, baseline, marginal
from policies.networks.belief import Diagonal
from policies.networks.mixture import Mixture


def test_the_baseline_is_the_density_of_the_others() -> None:
    rng = np.random.default_rng(0)
    place = rng.normal(size=(2000, 2)) * [1.0, 0.1]
    entropy = np.log(2 * np.pi * np.e) + np.log(0.1)
    assert baseline(place).mean() == pytest.approx(-entropy, abs=0.08)
    # In other units, other densities.
    assert baseline(2 * place) == pytest.approx(baseline(place) - 2 * np.log(2))


def test_a_marginal_is_the_distribution_of_some_dimensions() -> None:
    g = torch.Generator().manual_seed(0)
    root = torch.randn(1, 2, 3, 3, generator=g).tril(-1) + torch.eye(3)
    mixture = Mixture(torch.full((1, 2), 0.5).log(), torch.randn(1, 2, 3, generator=g), root)
    found = marginal(mixture, [2, 0])
    torch.testing.assert_close(found.mean, mixture.mean[:, [2, 0]])
    torch.testing.assert_close(found.variance, mixture.variance[:, [2, 0]])
    plain = marginal(Diagonal(torch.arange(3.0)[None], torch.ones(1, 3)), [1])
    assert plain.mean.tolist() == [[1.0]]


def test_blind_is_who_has_only_failed() -> None:
    success = np.array([[False, False, True, False], [True, False, False, True]])
    found = Outcome(success, np.zeros((2, 4)), np.zeros((2, 2)))
    assert found.blind.tolist() == [[True, True, True, False], [True, False, False, False]]

"""PEARL's iteration: what worlds collect, and what inputs are standardised by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adapt.errors import AcclimateError
from policies.algorithms.pearl.config import PearlConfig, PearlSettings
from policies.algorithms.pearl.learner import PearlLearner
from policies.training.trainer import Trainer
from tests.policies.training.test_train import settings


def made(settings: PearlSettings) -> PearlLearner:
    learner = Trainer(settings).learner
    assert isinstance(learner, PearlLearner)
    return learner


def test_normalisers_ignore_invalid_steps(tmp_path: Path) -> None:
    learner = made(settings(tmp_path))
    learner.iterate(0)
    a, n = learner.replay.arrays, learner.replay.filled
    rows = a["observation"][:n][a["valid"][:n] > 0]
    mean = learner.networks.actor.normaliser.mean.numpy()
    np.testing.assert_allclose(mean, rows.mean(0), atol=1e-4)


@pytest.mark.parametrize("refit", [True, False])
def test_normalisers_follow_what_is_met_where_they_are_told_to(tmp_path: Path, refit: bool) -> None:
    learner = made(settings(tmp_path, refit_normalisers=refit))
    means = []
    for iteration in range(2):
        learner.iterate(iteration)
        a, n = learner.replay.arrays, learner.replay.filled
        means.append(a["observation"][:n][a["valid"][:n] > 0].mean(0))
    assert np.abs(means[0] - means[1]).max() > 1e-3
    networks = learner.networks
    for network in (networks.actor, networks.critic, networks.target):
        assert network is not None
        np.testing.assert_allclose(network.normaliser.mean.numpy(), means[refit], atol=1e-4)


def test_normalisers_are_fitted_to_runs_of_every_age(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("policies.algorithms.pearl.learner.NORMALISER_RUNS", 3)
    learner = made(settings(tmp_path, worlds=5, script_iterations=1))
    learner.iterate(0)
    a = learner.replay.arrays
    of = [0, 2, 4]
    expected = a["observation"][of][a["valid"][of] > 0].mean(0)
    mean = learner.networks.actor.normaliser.mean.numpy()
    np.testing.assert_allclose(mean, expected, atol=1e-4)


def test_every_world_collects_at_the_prior_adapting_or_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = made(settings(tmp_path, worlds=400, prior_fraction=0.5, told_fraction=0.2))
    jobs = []

    class Noting:
        def collect(self, asked: list, policy: object) -> list:
            jobs.extend(asked)
            return []

    monkeypatch.setattr(learner, "_collector", Noting())
    monkeypatch.setattr("policies.algorithms.pearl.learner.total", lambda found: {})
    learner._collect(0)
    (job,) = jobs
    assert (job.adapting | ~job.told).all()
    assert (~job.adapting).mean() == pytest.approx(0.5, abs=0.08)
    assert job.told.mean() == pytest.approx(0.2, abs=0.08)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"prior_fraction": 0.9, "told_fraction": 0.2}, "prior_fraction=0.9 and told_fraction=0.2"),
        (
            {"told_fraction": 0.2, "learner": PearlConfig(objective="critic")},
            "told_fraction=0.2: only with learner.objective=posterior .* here it is critic",
        ),
    ],
)
def test_shares_that_cannot_be_are_refused(
    tmp_path: Path, changes: dict[str, object], named: str
) -> None:
    with pytest.raises(AcclimateError, match=named):
        made(settings(tmp_path, **changes))

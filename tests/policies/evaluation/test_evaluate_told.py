"""What a policy is worth when it is told the task."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from adapt.errors import AcclimateError
from policies.algorithms.pearl.agent import PearlPolicy
from policies.algorithms.pearl.config import PearlConfig, PearlSettings
from policies.evaluation.cli import held_out_tasks
from policies.rollout.trials import try_policy
from policies.training.trainer import Trainer

Objective = Literal["posterior", "critic", "none"]


def trainer(tmp_path: Path, objective: Objective) -> Trainer:
    learner = PearlConfig(
        objective=objective, actor_hidden=(8,), critic_hidden=(8,), encoder_hidden=(8,)
    )
    return Trainer(
        PearlSettings(
            "told",
            tmp_path,
            family="point-sparse",
            train_tasks=4,
            worlds=2,
            run_steps=20,
            learner=learner,
        )
    )


def test_a_told_policy_has_the_truth_as_its_latent_in_every_episode(tmp_path: Path) -> None:
    trained = trainer(tmp_path, "posterior")
    policy = trained.learner.policy()
    assert isinstance(policy, PearlPolicy)
    tasks = held_out_tasks(trained.family, "held_out", 5, 0)
    seen = []
    policy.actor.register_forward_pre_hook(lambda _, given: seen.append(given[1].numpy().copy()))
    curve = try_policy(policy, trained.family, tasks, 2, 0, told=True)
    assert len(seen) == 2 * trained.family.spec.horizon
    truth = np.stack([trained.family.factors(task) for task in tasks])
    for latent in seen:
        np.testing.assert_allclose(latent, truth, rtol=1e-6)
    assert curve.measured.shape == (5, 2)


@pytest.mark.parametrize("objective", ["critic", "none"])
def test_a_latent_that_is_no_factor_cannot_be_told(tmp_path: Path, objective: Objective) -> None:
    trained = trainer(tmp_path, objective)
    policy = trained.learner.policy()
    tasks = held_out_tasks(trained.family, "held_out", 2, 0)
    with pytest.raises(AcclimateError, match="does not stand for the task's factors"):
        try_policy(policy, trained.family, tasks, 1, 0, told=True)

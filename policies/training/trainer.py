"""The meta-training loop of every algorithm: iterate, validate, remember."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from adapt.errors import AcclimateError
from policies.algorithms.contract import Metrics, Setup
from policies.algorithms.registry import algorithm
from policies.rollout.trials import Curve, try_policy
from policies.training.checkpoint import CheckpointError
from policies.training.seeds import Seeds
from policies.training.settings import TrainSettings
from policies.training.space import training_space
from sim.core.registry import family

FORMAT = 2
"""Of the checkpoints. The first held the state of worlds that lived as long as their run."""


class TrainingDiverged(AcclimateError, FloatingPointError):
    """Updates came to numbers that are not finite; the message says which."""


class Trainer:
    """All of a run's state, and one iteration of it. `state_dict` is the whole run."""

    def __init__(self, settings: TrainSettings) -> None:
        self.settings = s = settings
        torch.set_num_threads(s.threads)
        self.family = family(s.tasks_of)
        seeds = Seeds.of(s.seed)
        space = training_space(s)
        tasks = space.sample(s.train_tasks, seeds.tasks, "train")
        validation_tasks = space.sample(s.validation_tasks, seeds.tasks, "train")
        self.setup = Setup(s, self.family, tasks, validation_tasks, seeds)
        self.learner = algorithm(s.algorithm).learner(self.setup)
        self.iteration = 0
        self.best = -np.inf

    def iterate(self) -> Metrics:
        """One iteration, perhaps a validation.

        Returns metrics by name; every one is documented in docs/training.md.
        """
        s, start = self.settings, time.perf_counter()
        metrics = self.learner.iterate(self.iteration)
        bad = [k for k, v in metrics.items() if k.startswith("learn/") and not np.isfinite(v)]
        if bad:
            raise TrainingDiverged(
                f"iteration {self.iteration + 1}: {', '.join(bad)} not finite; the checkpoint "
                "before it is kept. Smaller learning rates help most often"
            )
        learned = time.perf_counter()
        metrics["time/learn"] = learned - start - metrics["time/collect"]
        self.iteration += 1
        due = self.iteration % s.validation_every == 0 or self.iteration == s.iterations
        if self.learner.updates and due:
            metrics |= self._validate()
        metrics["time/validate"] = time.perf_counter() - learned
        metrics["updates"] = float(self.learner.updates)
        return metrics

    def close(self) -> None:
        """Let workers and threads go; another iteration would start them anew."""
        self.learner.close()

    def _validate(self) -> Metrics:
        """Try the policy on the validation tasks, with the same noise each time."""
        trial = self.learner.trial
        curve = try_policy(
            self.learner.policy(),
            self.family,
            self.setup.validation_tasks,
            trial.columns,
            self.setup.seeds.validation,
            self.settings.threads,
            stochastic=trial.stochastic,
        )
        metrics = _means(curve)
        metrics |= {f"validate/{k}": v for k, v in self.learner.judge(curve).items()}
        score = metrics["validate/score"]
        metrics["validate/improved"] = float(score > self.best)
        self.best = max(self.best, score)
        return metrics

    def state_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "iteration": self.iteration,
            "best": float(self.best),
            **self.learner.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        found = state.get("format", 1)
        if found != FORMAT:
            raise CheckpointError(
                f"the checkpoint has format {found}, expected {FORMAT}: finish the run with the "
                "revision that its run.json names, or choose another out= to start anew"
            )
        self.iteration = int(state["iteration"])
        self.best = float(state["best"])
        self.learner.load_state_dict(state)


def _means(curve: Curve) -> Metrics:
    """Means over the tasks, column by column."""
    metrics: Metrics = {}
    for k in range(curve.success.shape[1]):
        metrics[f"validate/success_{k}"] = float(curve.success[:, k].mean())
        metrics[f"validate/return_{k}"] = float(curve.returns[:, k].mean())
        metrics[f"validate/measured_{k}"] = float(curve.measured[:, k].mean())
    return metrics

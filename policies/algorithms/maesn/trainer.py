"""MAESN's meta-training loop: episodes, a step of adaptation, episodes, an update."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from msgspec import Meta
from torch import Tensor

from adapt.errors import AcclimateError
from policies.algorithms.maesn.learner import (
    LOG_STD_HIGH,
    LOG_STD_LOW,
    MaesnConfig,
    MaesnLearner,
    Weights,
)
from policies.networks.modules import Actor
from policies.rollout.episodes import Episodes, collect_episodes
from policies.training.checkpoint import generator_state, load_checkpoint, restore_generator
from policies.training.trainer import Seeds
from sim.core.registry import family
from sim.core.task_space import Task

Count = Annotated[int, Meta(ge=1)]
Metrics = dict[str, float]


@dataclass(frozen=True)
class MaesnSettings:
    """What `acclimate train algorithm=maesn` is told.

    name, out, seed, family, threads: as for PEARL.
    start: a PEARL run with a grounded latent, whose policy this one takes over; the training tasks'
        beliefs then start at the prior, where a new task does. null starts from nothing.
    iterations: updates. train_tasks: each with a belief of its own.
    validation_tasks, validation_steps: fresh draws from the *training* split, adapted from the
        prior by so many steps, choose the checkpoint to keep, every validation_every iterations.
    checkpoint_every: iterations.
    """

    name: str
    out: Path
    algorithm: Literal["maesn"] = "maesn"
    seed: Annotated[int, Meta(ge=0)] = 0
    family: str = "point-sparse"
    threads: Count = 2
    start: Path | None = None
    train_tasks: Count = 80
    iterations: Count = 240
    validation_tasks: Count = 40
    validation_steps: Count = 3
    validation_every: Count = 20
    checkpoint_every: Count = 10
    learner: MaesnConfig = field(default_factory=MaesnConfig)


class MaesnTrainer:
    """All of a run's state, and one iteration of it; see `policies.training.trainer.Trainer`."""

    def __init__(self, settings: MaesnSettings) -> None:
        self.settings = s = settings
        torch.set_num_threads(s.threads)
        self.family = family(s.family)
        seeds = Seeds.of(s.seed)
        self.rng = seeds.loop
        self.tasks = self.family.space.sample(s.train_tasks, seeds.tasks, "train")
        self.validation_tasks = self.family.space.sample(s.validation_tasks, seeds.tasks, "train")
        self.validation_seed = seeds.validation
        c = s.learner
        if c.tasks_per_batch > s.train_tasks:
            raise AcclimateError(
                f"learner.tasks_per_batch={c.tasks_per_batch} is more than "
                f"train_tasks={s.train_tasks}"
            )
        self.worlds = self.family.make(c.tasks_per_batch * c.episodes, seeds.worlds, s.threads)
        self.learner = MaesnLearner(self.family.spec, c, s.train_tasks, seeds.learner)
        self.generator = torch.Generator().manual_seed(seeds.learner + 2)
        self.iteration = 0
        self.best = -np.inf
        if s.start is not None:
            self._start_from(s.start)

    def iterate(self) -> Metrics:
        """One update, perhaps a validation; every metric is documented in docs/training.md."""
        s, learner, c = self.settings, self.learner, self.settings.learner
        start = time.perf_counter()
        chosen = self.rng.choice(s.train_tasks, c.tasks_per_batch, replace=False)
        index = torch.from_numpy(chosen)
        self.worlds.assign([self.tasks[i] for i in chosen for _ in range(c.episodes)])
        with torch.no_grad():
            mean, log_std = learner.beliefs(index)
        before = self._collect(mean, log_std)
        if self.iteration == 0 and s.start is None:
            # The first episodes, of a policy that has learnt nothing, show the inputs' scales; the
            # policy then changes, so that what it did no longer counts.
            learner.fit_normaliser(before.observation[before.mask.bool()])
            before = self._collect(mean, log_std)
        inner = learner.inner_reward(before)
        with torch.no_grad():
            stepped = learner.adapt(mean, log_std, before, inner)
        weights = None
        if c.variant == "latents_and_policy":
            weights = _detached(learner.adapt_policy(before, inner, len(index)))
        after = self._collect(*stepped, weights)
        collected = time.perf_counter()
        metrics = {f"learn/{k}": v for k, v in learner.update(index, before, after).items()}
        bad = [k for k, v in metrics.items() if not np.isfinite(v)]
        if bad:
            raise FloatingPointError(f"iteration {self.iteration}: {bad} not finite")
        learned = time.perf_counter()
        self.iteration += 1
        for name, episodes in (("before", before), ("after", after)):
            metrics[f"collect/return_{name}"] = float(episodes.returns(episodes.reward).mean())
            metrics[f"collect/measured_{name}"] = float(episodes.returns(episodes.measured).mean())
            metrics[f"collect/success_{name}"] = float(episodes.success.mean())
        metrics["collect/return"] = metrics["collect/return_after"]
        metrics["collect/success"] = metrics["collect/success_after"]
        metrics["collect/diverged"] = float(before.diverged.sum() + after.diverged.sum())
        if self.iteration % s.validation_every == 0 or self.iteration == s.iterations:
            metrics |= self._validate()
        metrics["time/collect"] = collected - start
        metrics["time/learn"] = learned - collected
        metrics["time/validate"] = time.perf_counter() - learned
        steps = 2 * c.tasks_per_batch * c.episodes * self.family.spec.horizon
        metrics["steps"] = float(self.iteration * steps)
        metrics["updates"] = float(learner.updates)
        return metrics

    def close(self) -> None:
        """Stop the physics' threads."""
        self.worlds.close()

    def _collect(self, mean: Tensor, log_std: Tensor, weights: Weights | None = None) -> Episodes:
        c = self.settings.learner
        return collect_episodes(
            self.worlds,
            self.learner.acting(weights),
            mean.repeat_interleave(c.episodes, 0),
            log_std.repeat_interleave(c.episodes, 0),
            c.hold,
            self.generator,
        )

    def _validate(self) -> Metrics:
        """Adaptation from the prior on measured rewards, as on a robot."""
        s = self.settings
        curve = adapt_from_prior(
            self, self.validation_tasks, s.validation_steps, self.validation_seed
        )
        metrics: Metrics = {}
        for k in range(s.validation_steps + 1):
            metrics[f"validate/measured_{k}"] = float(curve.measured[:, k].mean())
            metrics[f"validate/return_{k}"] = float(curve.returns[:, k].mean())
            metrics[f"validate/success_{k}"] = float(curve.success[:, k].mean())
        score = float(curve.measured[:, 1:].mean())
        metrics["validate/score"] = score
        metrics["validate/improved"] = float(score > self.best)
        self.best = max(self.best, score)
        return metrics

    def _start_from(self, run: Path) -> None:
        """Take over the policy of a grounded PEARL run, whose latent is the tasks' factors."""
        state = load_checkpoint(run / "best.pt")["modules"]["actor"]
        learner, spec = self.learner, self.family.spec
        n_o, n_a = spec.observation_size, spec.action_size
        actor = Actor(n_o, learner.n_z, n_a, self.settings.learner.hidden)
        try:
            actor.load_state_dict(state)
        except RuntimeError as error:
            raise AcclimateError(
                f"start={run}: its policy is of another shape than learner.latent="
                f"{learner.n_z}, learner.hidden={list(self.settings.learner.hidden)}"
            ) from error
        learner.policy.start_from(actor)
        with torch.no_grad():
            learner.mean.zero_()

    def state_dict(self) -> dict[str, Any]:
        return {
            "iteration": self.iteration,
            "best": float(self.best),
            "rng": generator_state(self.rng),
            "worlds_rng": generator_state(self.worlds.rng),
            "generator": self.generator.get_state(),
            "learner": self.learner.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.iteration = int(state["iteration"])
        self.best = float(state["best"])
        restore_generator(self.rng, state["rng"])
        restore_generator(self.worlds.rng, state["worlds_rng"])
        self.generator.set_state(state["generator"])
        self.learner.load_state_dict(state["learner"])


@dataclass(frozen=True)
class StepCurve:
    """N tasks before and after 1 … K adaptation steps of E episodes each.

    returns, measured, success, steps: (N, K + 1), means over the E episodes drawn from that belief.
    mean, log_std: (N, K + 1, n_z). first: the first E episodes of every task.
    """

    returns: np.ndarray
    measured: np.ndarray
    success: np.ndarray
    steps: np.ndarray
    mean: np.ndarray
    log_std: np.ndarray
    first: Episodes


@torch.no_grad()
def adapt_from_prior(
    trainer: MaesnTrainer,
    tasks: list[Task],
    steps: int,
    seed: int,
    stochastic: bool = True,
) -> StepCurve:
    """Meet new tasks as a robot does: from N(0, I), on measured rewards alone."""
    learner, c = trainer.learner, trainer.settings.learner
    n, e = len(tasks), c.episodes
    worlds = trainer.family.make(n * e, seed, trainer.settings.threads)
    worlds.assign([t for t in tasks for _ in range(e)])
    generator = torch.Generator().manual_seed(seed)
    mean, log_std = torch.zeros(n, learner.n_z), torch.zeros(n, learner.n_z)
    weights = None
    shape = (n, steps + 1)
    returns, measured, success, lasted = (np.zeros(shape) for _ in range(4))
    means, log_stds = np.zeros((*shape, learner.n_z)), np.zeros((*shape, learner.n_z))
    met: list[Episodes] = []
    for k in range(steps + 1):
        means[:, k], log_stds[:, k] = mean.numpy(), log_std.numpy()
        episodes = collect_episodes(
            worlds,
            learner.acting(weights),
            mean.repeat_interleave(e, 0),
            log_std.repeat_interleave(e, 0),
            c.hold,
            generator,
            stochastic,
        )
        met.append(episodes)
        returns[:, k] = episodes.returns(episodes.reward).reshape(n, e).mean(1)
        measured[:, k] = episodes.returns(episodes.measured).reshape(n, e).mean(1)
        success[:, k] = episodes.success.reshape(n, e).mean(1)
        lasted[:, k] = episodes.mask.sum(1).numpy().reshape(n, e).mean(1)
        if c.variant == "latents_and_policy":
            with torch.enable_grad():
                stepped = learner.adapt_policy(episodes, learner.measured(episodes), n, weights)
                weights = _detached(stepped)
        mean, log_std = learner.adapt(mean, log_std, episodes, learner.measured(episodes))
        log_std = log_std.clamp(LOG_STD_LOW, LOG_STD_HIGH)  # as the bundle bounds it
    worlds.close()
    return StepCurve(returns, measured, success, lasted, means, log_stds, met[0])


def _detached(weights: Weights) -> Weights:
    return [{k: v.detach() for k, v in task.items()} for task in weights]

"""The meta-training loop: collect, update, validate, remember."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from adapt.errors import AcclimateError
from policies.algorithms.pearl.learner import PearlLearner
from policies.replay.run_replay import RunReplay
from policies.rollout.adaptation_curve import Curve, adaptation_curve
from policies.rollout.batch_adapter import BatchAdapter
from policies.rollout.collectors import Collector, make_collector, total, worlds_per_job
from policies.rollout.jobs import CollectJob, Networks
from policies.training.checkpoint import CheckpointError, generator_state, restore_generator
from policies.training.device import choose_bfloat16, choose_device
from policies.training.settings import TrainSettings
from sim.core.registry import family

Metrics = dict[str, float]
NORMALISER_RUNS = 1024
"""That normalisers are fitted to, at most."""
FORMAT = 2
"""Of the checkpoints. The first held the state of worlds that lived as long as their run."""


def _check_fractions(settings: TrainSettings) -> None:
    """Raises AcclimateError for worlds that would be counted twice, or told what is no latent."""
    prior, told = settings.prior_fraction, settings.told_fraction
    if prior + told > 1:
        raise AcclimateError(
            f"prior_fraction={prior} and told_fraction={told} are shares of the same worlds; "
            "together they may be at most 1"
        )
    objective = settings.learner.objective
    if told and objective != "posterior":
        raise AcclimateError(
            f"told_fraction={told}: only with learner.objective=posterior is a latent the truth "
            f"that some worlds could be told; here it is {objective}"
        )


@dataclass(frozen=True)
class Seeds:
    """Independent streams from one seed, one per use: a new use leaves the others alone."""

    tasks: np.random.Generator
    loop: np.random.Generator
    learner: int
    worlds: int
    validation: int

    @staticmethod
    def of(seed: int) -> Seeds:
        children = np.random.SeedSequence(seed).spawn(5)
        number = [int(c.generate_state(1)[0]) for c in children]
        return Seeds(
            np.random.default_rng(children[0]),
            np.random.default_rng(children[1]),
            number[2],
            number[3],
            number[4],
        )


class Trainer:
    """All of a run's state, and one iteration of it.

    Between two iterations nothing lives in the physics: what an iteration collects is a function
    of the networks and of jobs with seeds of their own (`policies.rollout.jobs`). What remains is
    arrays and generators, so `state_dict` is the whole run.
    """

    def __init__(self, settings: TrainSettings) -> None:
        self.settings = s = settings
        torch.set_num_threads(s.threads)
        self.family = family(s.family)
        seeds = Seeds.of(s.seed)
        self.rng = seeds.loop
        self.tasks = self.family.space.sample(s.train_tasks, seeds.tasks, "train")
        self.validation_tasks = self.family.space.sample(s.validation_tasks, seeds.tasks, "train")
        # These refuse what does not fit before anything is made.
        worlds_per_job(s)
        _check_fractions(s)
        self._job_seed = seeds.worlds
        self._collector: Collector | None = None
        self.validation_seed = seeds.validation
        self.factors = self._factors()
        device = choose_device(s.device)
        self.learner = PearlLearner(
            self.family.spec, s.learner, seeds.learner, device, choose_bfloat16(s.precision, device)
        )
        spec, c = self.family.spec, s.learner
        self.replay = RunReplay(
            s.iterations * s.worlds,
            s.run_steps,
            spec.observation_size,
            spec.action_size,
            s.train_tasks,
            c.reward_in_context,
            c.next_in_context,
            c.n_step,
            c.discount,
        )
        self.iteration = 0
        self.best = -np.inf
        self._order: list[int] = []

    def iterate(self) -> Metrics:
        """One iteration: collect a run in every world, update, perhaps validate.

        Returns metrics by name; every one is documented in docs/training.md.
        """
        s = self.settings
        metrics: Metrics = {}
        start = time.perf_counter()
        statistics = self._collect()
        metrics |= {f"collect/{k}": v for k, v in statistics.items()}
        collected = time.perf_counter()
        learning = self.iteration + 1 - max(s.script_iterations, 1)
        if learning == 0:
            self._fit_rewards()
        if learning == 0 or (learning > 0 and s.refit_normalisers):
            self._fit_normalisers()
        if learning >= 0:
            metrics |= self._update()
        learned = time.perf_counter()
        self.iteration += 1
        last = self.iteration == s.iterations
        if self.learner.updates and (self.iteration % s.validation_every == 0 or last):
            metrics |= self._validate()
        metrics["time/collect"] = collected - start
        metrics["time/learn"] = learned - collected
        metrics["time/validate"] = time.perf_counter() - learned
        if s.collectors == "ray":
            metrics["workers/restarts"] = float(self.collector.restarts)
        metrics["steps"] = float(self.replay.count * s.run_steps)
        metrics["updates"] = float(self.learner.updates)
        return metrics

    def _collect(self) -> Metrics:
        s = self.settings
        index = np.array([self._next_task() for _ in range(s.worlds)])
        values = np.stack([self.tasks[i].values for i in index])
        kind = self.rng.random(s.worlds)
        adapting, told = kind >= s.prior_fraction, kind >= 1 - s.told_fraction
        stochastic = self.rng.random(s.worlds) >= s.deterministic_fraction
        seed = self._job_seed, self.iteration
        whole = CollectJob(
            seed, index, values, adapting, told, stochastic, self.iteration < s.script_iterations
        )
        networks = Networks(self.learner.actor, self.learner.encoder).on_cpu()
        found = self.collector.collect(whole.cut(s.shards), networks)
        for run, _ in found:
            self.replay.add(run)
        return total([statistics for _, statistics in found])

    @property
    def collector(self) -> Collector:
        """Started when it is first needed: who only evaluates or exports a run needs none."""
        if self._collector is None:
            self._collector = make_collector(self.settings, self.learner.n_z)
        return self._collector

    def close(self) -> None:
        """Let workers and threads go; another iteration would start them anew."""
        if self._collector is not None:
            self._collector.close()
            self._collector = None

    def _update(self) -> Metrics:
        """The iteration's updates; metrics are means over them."""
        self._set_learning_rates()
        sums: dict[str, torch.Tensor] = {}
        n = self.settings.updates_per_iteration
        for _ in range(n):
            for name, value in self.learner.update(self.replay, self.factors, self.rng).items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach()
        metrics = {f"learn/{k}": float(v) / n for k, v in sums.items()}
        bad = [k for k, v in metrics.items() if not np.isfinite(v)]
        if bad:
            raise FloatingPointError(f"iteration {self.iteration}: {bad} not finite")
        return metrics

    def _set_learning_rates(self) -> None:
        """Linear decay to a tenth: late off-policy updates at full rate make validation jump."""
        s = self.settings
        scale = 1.0 - 0.9 * self.iteration / s.iterations
        for name, optimiser in self.learner.optimisers.items():
            c = s.learner
            rate = c.encoder_learning_rate if name == "encoder" else c.learning_rate
            for group in optimiser.param_groups:
                group["lr"] = rate * scale

    def _validate(self) -> Metrics:
        s = self.settings
        worlds = self.family.make(s.validation_tasks, self.validation_seed, s.threads)
        worlds.assign(self.validation_tasks)
        # A generator of its own, always the same: validation disturbs nothing and compares alike.
        generator = torch.Generator().manual_seed(self.validation_seed)
        adapter = self._adapter(s.validation_tasks, generator)
        c = s.learner
        curve = adaptation_curve(
            worlds, adapter, s.validation_episodes, c.reward_in_context, c.next_in_context
        )
        worlds.close()
        metrics = {}
        for k in range(s.validation_episodes):
            metrics[f"validate/success_{k}"] = float(curve.success[:, k].mean())
            metrics[f"validate/return_{k}"] = float(curve.returns[:, k].mean())
            metrics[f"validate/measured_{k}"] = float(curve.measured[:, k].mean())
        metrics["validate/steps"] = float(curve.steps[:, -1].mean())
        score = self._score(curve)
        metrics["validate/score"] = score
        metrics["validate/improved"] = float(score > self.best)
        self.best = max(self.best, score)
        return metrics

    def _score(self, curve: Curve) -> float:
        """What the checkpoint to keep has most of."""
        if self.family.judged_by == "success":
            return float(curve.success.mean()) + 1e-3 * float(curve.returns.mean())
        # The first episode explores: where nothing else ends it, its return is not what counts.
        return float(curve.measured[:, min(1, curve.measured.shape[1] - 1) :].mean())

    def _adapter(self, worlds: int, generator: torch.Generator) -> BatchAdapter:
        c, learner = self.settings.learner, self.learner
        networks = Networks(learner.actor, learner.encoder).on_cpu()
        return BatchAdapter(
            networks.actor,
            networks.encoder,
            worlds,
            learner.n_z,
            c.capacity,
            c.hold,
            generator,
            c.exploration,
        )

    def _factors(self) -> np.ndarray:
        return np.stack([self.family.factors(t) for t in self.tasks]).astype(np.float32)

    def _fit_normalisers(self) -> None:
        n = self.replay.filled
        # Of every age alike; more of them say no more.
        runs = np.linspace(0, n - 1, min(n, NORMALISER_RUNS)).astype(np.int64)
        context, valid = self.replay.context(runs)
        keep = valid.bool()
        observation = torch.from_numpy(self.replay.arrays["observation"][runs])
        self.learner.fit_normalisers(observation[keep], context[keep])

    def _fit_rewards(self) -> None:
        a, n = self.replay.arrays, self.replay.filled
        keep = a["valid"][:n] > 0
        reward, going_on = (torch.from_numpy(a[name][:n][keep]) for name in ("reward", "discount"))
        self.learner.fit_rewards(reward, going_on)

    def _next_task(self) -> int:
        """Training tasks in shuffled passes: every task is met as often as every other."""
        if not self._order:
            self._order = [int(i) for i in self.rng.permutation(len(self.tasks))]
        return self._order.pop()

    def state_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "iteration": self.iteration,
            "best": float(self.best),
            "order": self._order,
            "rng": generator_state(self.rng),
            "learner": self.learner.state_dict(),
            "replay": self.replay.state_dict(),
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
        self._order = list(state["order"])
        restore_generator(self.rng, state["rng"])
        self.learner.load_state_dict(state["learner"])
        self.replay.load_state_dict(state["replay"])

"""PEARL's training: runs collected by jobs into a replay, then many updates from it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from adapt.errors import AcclimateError
from policies.algorithms.contract import Artefacts, Metrics, Setup, Trial
from policies.algorithms.pearl.agent import PearlPolicy
from policies.algorithms.pearl.config import PearlSettings
from policies.algorithms.pearl.export import artefacts
from policies.algorithms.pearl.networks import PearlNetworks
from policies.algorithms.pearl.start import states_of
from policies.replay.run_replay import RunReplay
from policies.rollout.collectors import Collector, make_collector, total, worlds_per_job
from policies.rollout.jobs import CollectJob
from policies.rollout.trials import Curve, score
from policies.training.checkpoint import generator_state, restore_generator
from policies.training.device import choose_bfloat16, choose_device

NORMALISER_RUNS = 1024
"""That normalisers are fitted to, at most."""


class PearlLearner:
    """See `policies.algorithms.contract.Learner`.

    Between two iterations nothing lives in the physics: what an iteration collects is a function
    of the networks and of jobs with seeds of their own (`policies.rollout.jobs`). What remains is
    arrays and generators.
    """

    def __init__(self, setup: Setup[PearlSettings]) -> None:
        self.settings = s = setup.settings
        self.family, self.tasks = setup.family, setup.tasks
        # These refuse what does not fit before anything is made.
        worlds_per_job(s)
        _check_fractions(s)
        _check_belief(s)
        self._rng, self._job_seed = setup.seeds.loop, setup.seeds.worlds
        self._collector: Collector | None = None
        self.factors = np.stack([self.family.factors(t) for t in self.tasks]).astype(np.float32)
        spec, c, device = self.family.spec, s.learner, choose_device(s.device)
        bfloat16 = choose_bfloat16(s.precision, device)
        self.networks = PearlNetworks(spec, c, setup.seeds.learner, device, bfloat16)
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
        self._order: list[int] = []

    @property
    def updates(self) -> int:
        return self.networks.updates

    @property
    def trial(self) -> Trial:
        return Trial(self.settings.validation_episodes, stochastic=False)

    def policy(self) -> PearlPolicy:
        n = self.networks
        return PearlPolicy.of(n.actor, n.encoder, n.n_z, n.config)

    def iterate(self, iteration: int) -> Metrics:
        """Collect a run in every world; once the script has ended, update."""
        s, start = self.settings, time.perf_counter()
        if iteration == 0 and s.start is not None:
            self.networks.take_over(states_of(s.start), s.start)
        metrics = {f"collect/{k}": v for k, v in self._collect(iteration).items()}
        metrics["time/collect"] = time.perf_counter() - start
        learning = iteration + 1 - max(s.script_iterations, 1)
        if learning == 0:
            self._fit_rewards()
        if learning == 0 or (learning > 0 and s.refit_normalisers):
            self._fit_normalisers()
        if learning >= 0:
            metrics |= self._update(iteration)
        if s.collectors == "ray":
            metrics["workers/restarts"] = float(self.collector.restarts)
        metrics["steps"] = float(self.replay.count * s.run_steps)
        return metrics

    def judge(self, curve: Curve) -> Metrics:
        return {
            "steps": float(curve.steps[:, -1].mean()),
            "score": score(curve, self.family.judged_by),
        }

    @property
    def collector(self) -> Collector:
        """Started when it is first needed: evaluation and export need none."""
        if self._collector is None:
            s = self.settings
            self._collector = make_collector(s, s.tasks_of, s.threads)
        return self._collector

    def close(self) -> None:
        if self._collector is not None:
            self._collector.close()
            self._collector = None

    def _collect(self, iteration: int) -> Metrics:
        s = self.settings
        index = np.array([self._next_task() for _ in range(s.worlds)])
        values = np.stack([self.tasks[i].values for i in index])
        kind = self._rng.random(s.worlds)
        adapting, told = kind >= s.prior_fraction, kind >= 1 - s.told_fraction
        stochastic = self._rng.random(s.worlds) >= s.deterministic_fraction
        seed, scripted = (self._job_seed, iteration), iteration < s.script_iterations
        whole = CollectJob(seed, index, values, adapting, told, stochastic, scripted)
        found = self.collector.collect(whole.cut(s.shards), self.policy())
        for run, _ in found:
            self.replay.add(run)
        return total([statistics for _, statistics in found])

    def _update(self, iteration: int) -> Metrics:
        """The iteration's updates; metrics are means over them."""
        self._set_learning_rates(iteration)
        sums: dict[str, torch.Tensor] = {}
        n = self.settings.updates_per_iteration
        for _ in range(n):
            for name, value in self.networks.update(self.replay, self.factors, self._rng).items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach()
        return {f"learn/{k}": float(v) / n for k, v in sums.items()}

    def _set_learning_rates(self, iteration: int) -> None:
        """Linear decay to a tenth: late off-policy updates at full rate make validation jump."""
        c = self.settings.learner
        scale = 1.0 - 0.9 * iteration / self.settings.iterations
        for name, optimiser in self.networks.optimisers.items():
            rate = c.encoder_learning_rate if name == "encoder" else c.learning_rate
            for group in optimiser.param_groups:
                group["lr"] = rate * scale

    def _fit_normalisers(self) -> None:
        n = self.replay.filled
        # Of every age alike; more of them say no more.
        runs = np.linspace(0, n - 1, min(n, NORMALISER_RUNS)).astype(np.int64)
        context, valid = self.replay.context(runs)
        keep = valid.bool()
        observation = torch.from_numpy(self.replay.arrays["observation"][runs])
        self.networks.fit_normalisers(observation[keep], context[keep])

    def _fit_rewards(self) -> None:
        a, n = self.replay.arrays, self.replay.filled
        keep = a["valid"][:n] > 0
        reward, going_on = (torch.from_numpy(a[name][:n][keep]) for name in ("reward", "discount"))
        self.networks.fit_rewards(reward, going_on)

    def _next_task(self) -> int:
        """Training tasks in shuffled passes: every task is met as often as every other."""
        if not self._order:
            self._order = [int(i) for i in self._rng.permutation(len(self.tasks))]
        return self._order.pop()

    def modules(self) -> dict[str, nn.Module]:
        return self.networks.modules()

    def state_dict(self) -> dict[str, Any]:
        return {
            "order": self._order,
            "rng": generator_state(self._rng),
            "learner": self.networks.state_dict(),
            "replay": self.replay.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._order = list(state["order"])
        restore_generator(self._rng, state["rng"])
        self.networks.load_state_dict(state["learner"])
        self.replay.load_state_dict(state["replay"])

    def export(self, run: Path, generator: torch.Generator) -> Artefacts:
        return artefacts(self.policy(), self.family.spec, run, generator)


def _check_fractions(settings: PearlSettings) -> None:
    """Raises AcclimateError for shares of worlds that overlap, or a latent that cannot be told."""
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


def _check_belief(settings: PearlSettings) -> None:
    """Raises AcclimateError for a belief that the objective cannot train, or an actor that is fixed
    and comes from nowhere."""
    c = settings.learner
    if c.belief == "recurrent" and c.objective != "posterior":
        raise AcclimateError(
            f"learner.belief=recurrent is trained to name the task's factors; it needs "
            f"learner.objective=posterior, not {c.objective}"
        )
    if c.fixed_actor and settings.start is None:
        raise AcclimateError(
            "learner.fixed_actor=true trains the belief of a policy that exists; name its run or "
            "bundle by start="
        )
    if c.fixed_actor and c.objective != "posterior":
        raise AcclimateError(
            f"learner.fixed_actor=true: a critic that is not trained teaches no encoder; it needs "
            f"learner.objective=posterior, not {c.objective}"
        )

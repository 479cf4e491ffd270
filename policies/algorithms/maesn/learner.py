"""MAESN (Gupta et al. 2018, arXiv 1802.07245): exploration held over an episode, adapted by
gradient.

Every training task i has a belief of its own, N(mean_i, std_i), over a latent that is drawn once
per episode and held. Per task: episodes from that belief, the adaptation step (`LatentStep`) on
them, then episodes from the stepped belief. The policy, the beliefs and the step sizes are trained
together, by one trust-region step, for the return *after* the adaptation step; the beliefs before
it are drawn to N(0, I), so that a new task can start from there.

As in the released code, only the belief moves on a new task: a robot then never runs a policy whose
weights were never tested. Unlike there, the step sizes are trained by Adam, not within the trust
region.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adapt.errors import AcclimateError
from policies.algorithms.contract import Artefacts, Metrics, Setup, Trial
from policies.algorithms.maesn.agent import LOG_STD_HIGH, LOG_STD_LOW, MaesnPolicy, counted_reward
from policies.algorithms.maesn.config import MaesnSettings
from policies.algorithms.maesn.export import GOLDEN_TASKS, artefacts
from policies.algorithms.maesn.latent_step import LatentStep, gaussian_kl
from policies.algorithms.maesn.networks import GaussianPolicy, StepParameters
from policies.networks.modules import Actor
from policies.rollout.episodes import Episodes, collect_episodes
from policies.rollout.trials import Curve
from policies.training.checkpoint import generator_state, load_checkpoint, restore_generator
from policies.updates.trpo import TrustRegionReport, trust_region_step
from sim.core.task_space import Task
from sim.core.worlds import Worlds

FISHER_SHARE = 4
"""One in so many episodes gives Fisher's matrix, whose products cost most of an update."""


class MaesnLearner:
    """Policy, per-task beliefs, step sizes; see `policies.algorithms.contract.Learner`.

    Legend: N tasks of a batch, E episodes of each, T steps, D draws of the latent in an episode.
    """

    def __init__(self, setup: Setup[MaesnSettings]) -> None:
        self.settings, self.setup = setup.settings, setup
        self.config = c = self.settings.learner
        self.family, self.spec, self.n_z = setup.family, setup.family.spec, c.latent
        tasks, seed = self.settings.train_tasks, setup.seeds.learner
        if c.tasks_per_batch > tasks:
            raise AcclimateError(
                f"learner.tasks_per_batch={c.tasks_per_batch} is more than train_tasks={tasks}"
            )
        n_o, n_a = self.spec.observation_size, self.spec.action_size
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.actor = GaussianPolicy(n_o, self.n_z, n_a, c.hidden, c.action_std)
            self.mean = torch.randn(tasks, self.n_z).requires_grad_()
        self.log_std = torch.zeros(tasks, self.n_z, requires_grad=True)
        self.sizes = StepParameters(n_o, self.n_z, c.step_size)
        # The sizes hardly show in the trust region's KL, whose damping would hold them still.
        self.optimiser = torch.optim.Adam(self.sizes.parameters(), c.size_learning_rate)
        self.step = self._make_step()
        self.updates = 0
        self.generator = torch.Generator().manual_seed(seed + 2)
        self._rng = setup.seeds.loop
        self._worlds: Worlds | None = None
        if self.settings.start is not None:
            self._start_from(self.settings.start)

    @property
    def trial(self) -> Trial:
        return Trial(self.settings.validation_steps + 1, stochastic=True)

    @property
    def worlds(self) -> Worlds:
        """N·E of them, made when they are first needed: evaluation and export need none."""
        if self._worlds is None:
            s, n = self.settings, self.config.tasks_per_batch * self.config.episodes
            self._worlds = self.family.make(n, self.setup.seeds.worlds, s.threads)
        return self._worlds

    def close(self) -> None:
        if self._worlds is not None:
            self._worlds.close()
            self._worlds = None

    def policy(self) -> MaesnPolicy:
        self.step = self._make_step()
        return MaesnPolicy(self.actor, self.step, self.sizes.belief.detach(), self.config)

    def iterate(self, iteration: int) -> Metrics:
        """Episodes, a step of adaptation, episodes, an update."""
        s, c, start = self.settings, self.config, time.perf_counter()
        chosen = self._rng.choice(s.train_tasks, c.tasks_per_batch, replace=False)
        index = torch.from_numpy(chosen)
        self.worlds.assign([self.setup.tasks[i] for i in chosen for _ in range(c.episodes)])
        with torch.no_grad():
            mean, log_std = self.beliefs(index)
        before = self._collect(mean, log_std)
        if iteration == 0 and s.start is None:
            # The first episodes, of a policy that has learnt nothing, show the inputs' scales; the
            # policy then changes, so that what it did no longer counts.
            self.fit_normaliser(before.observation[before.mask.bool()])
            before = self._collect(mean, log_std)
        with torch.no_grad():
            stepped = self.adapt(mean, log_std, before, self.inner_reward(before))
        after = self._collect(*stepped)
        metrics = {"time/collect": time.perf_counter() - start}
        metrics |= {f"learn/{k}": v for k, v in self.update(index, before, after).items()}
        for name, episodes in (("before", before), ("after", after)):
            metrics[f"collect/return_{name}"] = float(episodes.returns(episodes.reward).mean())
            metrics[f"collect/measured_{name}"] = float(episodes.returns(episodes.measured).mean())
            metrics[f"collect/success_{name}"] = float(episodes.success.mean())
        metrics["collect/return"] = metrics["collect/return_after"]
        metrics["collect/success"] = metrics["collect/success_after"]
        metrics["collect/diverged"] = float(before.diverged.sum() + after.diverged.sum())
        steps = 2 * c.tasks_per_batch * c.episodes * self.spec.horizon
        metrics["steps"] = float((iteration + 1) * steps)
        return metrics

    def judge(self, curve: Curve) -> Metrics:
        return {"score": float(curve.measured[:, 1:].mean())}

    def first_episodes(self, tasks: Sequence[Task], seed: int, stochastic: bool) -> Episodes:
        """E episodes on every task from the prior, before any step."""
        e = self.config.episodes
        worlds = self.family.make(len(tasks) * e, seed, self.settings.threads)
        worlds.assign([task for task in tasks for _ in range(e)])
        agent = self.policy().agent(worlds.worlds, torch.Generator().manual_seed(seed), e)
        try:
            return collect_episodes(worlds, agent, stochastic)
        finally:
            worlds.close()

    def _collect(self, mean: Tensor, log_std: Tensor) -> Episodes:
        """E episodes from each of the batch's beliefs (N, n_z)."""
        agent = self.policy().agent(self.worlds.worlds, self.generator, self.config.episodes)
        agent.mean, agent.log_std = mean, log_std
        agent.adapting[:] = False
        return collect_episodes(self.worlds, agent)

    def _make_step(self) -> LatentStep:
        c, spec = self.config, self.spec
        return LatentStep(
            spec.observation_size, self.n_z, c.episodes, spec.horizon, c.hold, c.discount,
            self.sizes.centre, self.sizes.scale,
        )  # fmt: skip

    def fit_normaliser(self, observation: Tensor) -> None:
        """Fix the input normaliser to observations (N, n_o)."""
        normaliser = self.actor.normaliser
        normaliser.fit(observation)
        self.sizes.centre.copy_(normaliser.mean)
        self.sizes.scale.copy_(normaliser.std)
        self.step = self._make_step()

    def beliefs(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log std (N, n_z) of training tasks (N,)."""
        return self.mean[index], self.log_std[index].clamp(LOG_STD_LOW, LOG_STD_HIGH)

    def adapt(
        self, mean: Tensor, log_std: Tensor, episodes: Episodes, reward: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One step for N beliefs (N, n_z) on N·E episodes; differentiable in beliefs and sizes."""
        n, draws = len(mean), self._draws(episodes, "latent")
        return self.step(
            mean, log_std, self.sizes.belief.expand(n, -1), draws.reshape(n, -1),
            episodes.observation.reshape(n, -1), reward.reshape(n, -1),
            episodes.mask.reshape(n, -1),
        )  # fmt: skip

    def inner_reward(self, episodes: Episodes) -> Tensor:
        """What adaptation climbs in training (N·E, T)."""
        if self.config.inner_reward == "dense":
            return episodes.reward
        return counted_reward(episodes.measured, episodes.mask, self.config.counted)

    def update(self, index: Tensor, before: Episodes, after: Episodes) -> dict[str, float]:
        """One trust-region step.

        Args:
            index: (N,) of the batch's training tasks.
            before: N·E episodes from their beliefs; after: as many from the stepped ones, task by
                task.
        """
        c, n = self.config, len(index)
        advantage = self._advantage(after, after.reward, n)
        mask, total = after.mask, after.mask.sum().clamp(min=1.0)
        old_density = _log_density(
            after.extras["raw"], after.extras["mean"], after.extras["log_std"]
        )
        inner = self.inner_reward(before)

        def objective() -> tuple[Tensor, Tensor]:
            mean, log_std = self.beliefs(index)
            prior = torch.zeros_like(mean)
            prior_kl = gaussian_kl(mean, log_std, prior, prior).mean()
            new_mean, new_log_std = self._act(mean, log_std, before, inner, after)
            ratio = (_log_density(after.extras["raw"], new_mean, new_log_std) - old_density).exp()
            gain = (ratio * advantage * mask).sum() / total
            kl = gaussian_kl(after.extras["mean"], after.extras["log_std"], new_mean, new_log_std)
            return c.kl_weight * prior_kl - gain, (kl * mask).sum() / total

        some = after.part(n, -(-c.episodes // FISHER_SHARE))

        def curvature() -> Tensor:
            new_mean, new_log_std = self._act(*self.beliefs(index), before, inner, some)
            kl = gaussian_kl(some.extras["mean"], some.extras["log_std"], new_mean, new_log_std)
            return (kl * some.mask).sum() / some.mask.sum().clamp(min=1.0)

        self.optimiser.zero_grad()
        loss, _ = objective()
        loss.backward(inputs=list(self.sizes.parameters()))
        parameters = [*self.actor.parameters(), self.mean, self.log_std]
        report = trust_region_step(parameters, objective, curvature, c.trust_region, c.damping)
        self.optimiser.step()
        self.updates += 1
        return self._report(report, index)

    def _act(
        self, mean: Tensor, log_std: Tensor, before: Episodes, inner: Tensor, after: Episodes
    ) -> tuple[Tensor, Tensor]:
        """The policy's Gaussian (N·E, T, n_a) on the episodes after the step from a belief."""
        per_task = len(after.mask) // len(mean)
        mean, log_std = self.adapt(mean, log_std, before, inner)
        spread = log_std.exp().repeat_interleave(per_task, 0)[:, None]
        latent = mean.repeat_interleave(per_task, 0)[:, None]
        latent = latent + spread * self._draws(after, "noise")
        return self.actor(after.observation, self._held(latent))

    def _draws(self, episodes: Episodes, name: str) -> Tensor:
        """(B, D, n_z): what was recorded under a name at the steps where a latent was drawn."""
        return episodes.extras[name][:, :: self.config.hold or self.spec.horizon]

    def _held(self, latent: Tensor) -> Tensor:
        """(B, D, n_z) draws → (B, T, n_z), each repeated for as long as it is held."""
        t = self.spec.horizon
        if not self.config.hold:
            return latent.expand(-1, t, -1)
        return latent.repeat_interleave(self.config.hold, 1)[:, :t]

    @torch.no_grad()
    def _advantage(self, episodes: Episodes, reward: Tensor, n: int) -> Tensor:
        """Of every step (N·E, T): return to come less the task's linear baseline, standardised
        over the task's steps, so that every task of the batch has an equal say."""
        b, t = episodes.mask.shape
        every = LatentStep(
            self.spec.observation_size, 1, b // n, t, 1, self.config.discount, self.step.centre,
            self.step.scale,
        )  # fmt: skip
        advantage, _ = every.advantage(
            episodes.observation.reshape(n, -1),
            reward.reshape(n, -1),
            episodes.mask.reshape(n, b // n, t),
        )
        return advantage.reshape(b, t)

    def _report(self, report: TrustRegionReport, index: Tensor) -> dict[str, float]:
        sizes = self.sizes.belief.detach()
        return {
            "loss": report.loss_before,
            "gain": report.loss_before - report.loss_after,
            "kl": report.kl,
            "accepted": float(report.accepted),
            "action_std": float(self.actor.log_std.detach().exp().mean()),
            "belief_mean_spread": float(self.mean.detach()[index].std()),
            "belief_std": float(self.log_std.detach()[index].exp().mean()),
            "step_mean": float(sizes[: self.n_z].mean()),
            "step_log_std": float(sizes[self.n_z :].mean()),
        }

    def _start_from(self, run: Path) -> None:
        """Take over the policy of a grounded PEARL run, whose latent is the tasks' factors."""
        state = load_checkpoint(run / "best.pt")["modules"].get("actor", {})
        n_o, n_a, hidden = self.spec.observation_size, self.spec.action_size, self.config.hidden
        actor = Actor(n_o, self.n_z, n_a, hidden)
        try:
            actor.load_state_dict(state)
        except RuntimeError as error:
            raise AcclimateError(
                f"start={run}: its policy is of another shape than learner.latent={self.n_z}, "
                f"learner.hidden={list(hidden)}"
            ) from error
        self.actor.start_from(actor)
        with torch.no_grad():
            self.mean.zero_()

    def modules(self) -> dict[str, nn.Module]:
        return {"policy": self.actor, "sizes": self.sizes}

    def state_dict(self) -> dict[str, Any]:
        return {
            "rng": generator_state(self._rng),
            "worlds_rng": generator_state(self.worlds.rng),
            "generator": self.generator.get_state(),
            "learner": {
                "modules": {k: m.state_dict() for k, m in self.modules().items()},
                "mean": self.mean.detach().clone(),
                "log_std": self.log_std.detach().clone(),
                "optimiser": self.optimiser.state_dict(),
                "updates": self.updates,
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        restore_generator(self._rng, state["rng"])
        restore_generator(self.worlds.rng, state["worlds_rng"])
        self.generator.set_state(state["generator"])
        learner = state["learner"]
        for name, module in self.modules().items():
            module.load_state_dict(learner["modules"][name])
        with torch.no_grad():
            self.mean.copy_(learner["mean"])
            self.log_std.copy_(learner["log_std"])
        self.optimiser.load_state_dict(learner["optimiser"])
        self.step = self._make_step()
        self.updates = int(learner["updates"])

    def export(self, run: Path, generator: torch.Generator) -> Artefacts:
        tasks, seed = self.setup.validation_tasks, self.setup.seeds.validation
        tasks = tasks * -(-GOLDEN_TASKS // len(tasks))  # some again where there are too few
        met = self.first_episodes(tasks, seed, stochastic=True)
        return artefacts(self.policy(), met, len(tasks), generator)


def _log_density(raw: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """log N(raw; mean, std) summed over the action (…,); the tanh's Jacobian cancels in ratios."""
    z = (raw - mean) * torch.exp(-log_std)
    return (-0.5 * z**2 - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)

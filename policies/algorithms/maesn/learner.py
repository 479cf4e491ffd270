"""MAESN (Gupta et al. 2018, arXiv 1802.07245): exploration held over an episode, adapted by
gradient.

Every training task i has a belief of its own, N(mean_i, std_i), over a latent that is drawn once
per episode and held. Per task: episodes from that belief, the adaptation step (`LatentStep`) on
them, then episodes from the stepped belief. The policy, the beliefs and the step sizes are trained
together, by one trust-region step, for the return *after* the adaptation step; the beliefs before
it are drawn to N(0, I), so that a new task can start from there.

variant "latents", as released: on a new task only the belief moves. It is the default, because a
robot then never runs a policy whose weights nobody has tested. variant "latents_and_policy", as
the paper has it: the policy's weights take a gradient step as well.

Unlike the published code, the step sizes are trained by Adam, not within the trust region.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from policies.algorithms.maesn.latent_step import LatentStep, gaussian_kl
from policies.networks.modules import Actor, Normaliser, mlp
from policies.rollout.episodes import Episodes, Policy
from policies.updates.trpo import TrustRegionReport, trust_region_step
from sim.core.worlds import WorldSpec

Weights = list[dict[str, Tensor]]
"""A policy's weights by name, for every task of a batch."""

FISHER_SHARE = 4
"""One in so many episodes gives Fisher's matrix, whose products cost most of an update."""
LOG_STD_LOW, LOG_STD_HIGH = -3.0, 0.5
"""Bounds of a belief's log standard deviation in training: neither frozen nor aimless."""


@dataclass(frozen=True)
class MaesnConfig:
    """Hyperparameters of the learner.

    variant: what an adaptation step changes.
    latent: size of z.
    hold: steps for which a latent is held; 0 for the episode. 1 is exploration by per-step noise.
    inner_reward: what adaptation climbs in training; "measured" is what it climbs on a robot.
    counted: which of an episode's measured rewards make its return; "last" where the reward says
        how far the task has come.
    hidden: the policy's widths. discount: of the return.
    tasks_per_batch: of one update.
    episodes: in one adaptation step, and per task of one update.
    step_size: initial, of the belief's mean and log std, in standard deviations.
    policy_step_size: initial, of the policy's weights (variant "latents_and_policy").
    size_learning_rate: Adam's, of the step sizes.
    kl_weight: of KL(belief before the step ‖ N(0, I)).
    trust_region: mean KL of actions in one update [nat]. damping: of its Fisher matrix.
    action_std: initial, before the tanh.
    """

    variant: Literal["latents", "latents_and_policy"] = "latents"
    latent: int = 2
    hold: int = 0
    inner_reward: Literal["dense", "measured"] = "dense"
    counted: Literal["every", "last"] = "every"
    hidden: tuple[int, ...] = (100, 100)
    episodes: int = 20
    tasks_per_batch: int = 20
    step_size: float = 1.5
    policy_step_size: float = 0.05
    size_learning_rate: float = 3e-3
    kl_weight: float = 0.02
    trust_region: float = 0.03
    damping: float = 1e-3
    discount: float = 0.99
    action_std: float = 0.6


class GaussianPolicy(nn.Module):
    """π(a | o, z): tanh of a Gaussian whose standard deviation is the same in every state."""

    def __init__(
        self, n_o: int, n_z: int, n_a: int, hidden: tuple[int, ...], action_std: float
    ) -> None:
        super().__init__()
        self.normaliser = Normaliser(n_o)
        self.body = mlp([n_o + n_z, *hidden, n_a], layer_norm=True)
        self.log_std = nn.Parameter(torch.full((n_a,), math.log(action_std)))
        with torch.no_grad():
            # A new policy should do little in every state, so that its noise explores.
            next(self.body[-1].parameters()).mul_(0.1)

    def forward(self, observation: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation (B, n_a) before the tanh."""
        mean = self.body(torch.cat([self.normaliser(observation), latent], -1))
        return mean, self.log_std.expand_as(mean)

    def start_from(self, actor: Actor) -> None:
        """Take over the means and the normaliser of an actor with the same layers."""
        self.normaliser.load_state_dict(actor.normaliser.state_dict())
        state = actor.body.state_dict()
        n_a = self.log_std.numel()
        last = str(len(self.body) - 1)
        for name in (f"{last}.weight", f"{last}.bias"):
            state[name] = state[name][:n_a]
        self.body.load_state_dict(state)


class StepSizes(nn.Module):
    """Learned sizes of the adaptation step, kept positive: a negative step would unlearn."""

    def __init__(self, n_z: int, size: float, policy_size: float) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.full((2 * n_z,), math.log(math.expm1(size))))
        self.raw_policy = nn.Parameter(torch.tensor(math.log(math.expm1(policy_size))))

    @property
    def belief(self) -> Tensor:
        """(2 n_z,) of the belief's mean, then of its log std."""
        return F.softplus(self.raw)

    @property
    def policy(self) -> Tensor:
        """Of the policy's weights, a scalar."""
        return F.softplus(self.raw_policy)


class MaesnLearner:
    """Policy, per-task beliefs, step sizes, and one update.

    Args:
        spec: of the worlds.
        config: hyperparameters.
        tasks: number of training tasks.
        seed: of the initial weights and beliefs.
    """

    def __init__(self, spec: WorldSpec, config: MaesnConfig, tasks: int, seed: int) -> None:
        self.spec, self.config, self.n_z = spec, config, config.latent
        n_o, n_a = spec.observation_size, spec.action_size
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.policy = GaussianPolicy(n_o, self.n_z, n_a, config.hidden, config.action_std)
            self.mean = torch.randn(tasks, self.n_z).requires_grad_()
        self.log_std = torch.zeros(tasks, self.n_z, requires_grad=True)
        self.sizes = StepSizes(self.n_z, config.step_size, config.policy_step_size)
        # The sizes hardly show in the trust region's KL, whose damping would hold them still.
        self.optimiser = torch.optim.Adam(self.sizes.parameters(), config.size_learning_rate)
        self.step = self._make_step()
        self.updates = 0

    def _make_step(self) -> LatentStep:
        c, spec = self.config, self.spec
        normaliser = self.policy.normaliser
        return LatentStep(
            spec.observation_size, self.n_z, c.episodes, spec.horizon, c.hold, c.discount,
            normaliser.mean, normaliser.std,
        )  # fmt: skip

    def fit_normaliser(self, observation: Tensor) -> None:
        """Fix the input normaliser to observations (N, n_o)."""
        self.policy.normaliser.fit(observation)
        self.step = self._make_step()

    def beliefs(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log std (N, n_z) of training tasks (N,)."""
        return self.mean[index], self.log_std[index].clamp(LOG_STD_LOW, LOG_STD_HIGH)

    def adapt(
        self, mean: Tensor, log_std: Tensor, episodes: Episodes, reward: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One step for N beliefs (N, n_z) on N·E episodes; differentiable in beliefs and sizes."""
        n = len(mean)
        return self.step(
            mean, log_std, self.sizes.belief.expand(n, -1), episodes.latent.reshape(n, -1),
            episodes.observation.reshape(n, -1), reward.reshape(n, -1),
            episodes.mask.reshape(n, -1),
        )  # fmt: skip

    def adapt_policy(
        self, episodes: Episodes, reward: Tensor, n: int, start: Weights | None = None
    ) -> Weights:
        """Weights after a policy-gradient step on each of n tasks' episodes; differentiable.

        start: the weights that collected the episodes, if they were not the policy's own.
        """
        advantage = self._advantage(episodes, reward, n)
        per_task = len(episodes.mask) // n
        stepped: Weights = []
        for i in range(n):
            weights: dict[str, Tensor] = {}
            weights.update(self.policy.named_parameters() if start is None else start[i])
            if start is not None:
                weights = {k: w.detach().requires_grad_() for k, w in weights.items()}
            rows = slice(i * per_task, (i + 1) * per_task)
            inputs = (episodes.observation[rows], self._held(episodes.latent[rows]))
            mean, log_std = functional_call(self.policy, weights, inputs)
            density = _log_density(episodes.raw[rows], mean, log_std)
            mask = episodes.mask[rows]
            loss = -(density * advantage[rows] * mask).sum() / mask.sum().clamp(min=1.0)
            gradient = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
            moved = zip(weights.items(), gradient, strict=True)
            stepped.append({k: w - self.sizes.policy * g for (k, w), g in moved})
        return stepped

    def acting(self, weights: Weights | None) -> Policy:
        """The policy to collect with: (N·E, n_o), (N·E, n_z) → mean, log std; with `weights`, each
        task's episodes by its own."""
        if weights is None:
            return self.policy

        def act(observation: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
            n = len(weights)
            parts = [
                functional_call(self.policy, w, (o, z))
                for w, o, z in zip(weights, observation.chunk(n), latent.chunk(n), strict=True)
            ]
            return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])

        return act

    def inner_reward(self, episodes: Episodes) -> Tensor:
        """What adaptation climbs in training (N·E, T)."""
        if self.config.inner_reward == "dense":
            return episodes.reward
        return self.measured(episodes)

    def measured(self, episodes: Episodes) -> Tensor:
        """What adaptation climbs on a robot (N·E, T)."""
        if self.config.counted == "every":
            return episodes.measured
        following = F.pad(episodes.mask[:, 1:], (0, 1))
        return episodes.measured * (1.0 - following)

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
        old_density = _log_density(after.raw, after.mean, after.log_std)
        inner = self.inner_reward(before)

        def objective() -> tuple[Tensor, Tensor]:
            mean, log_std = self.beliefs(index)
            prior = torch.zeros_like(mean)
            prior_kl = gaussian_kl(mean, log_std, prior, prior).mean()
            new_mean, new_log_std = self._act(mean, log_std, before, inner, after)
            ratio = (_log_density(after.raw, new_mean, new_log_std) - old_density).exp()
            gain = (ratio * advantage * mask).sum() / total
            kl = gaussian_kl(after.mean, after.log_std, new_mean, new_log_std)
            return c.kl_weight * prior_kl - gain, (kl * mask).sum() / total

        some = after.part(n, -(-c.episodes // FISHER_SHARE))

        def curvature() -> Tensor:
            new_mean, new_log_std = self._act(*self.beliefs(index), before, inner, some)
            kl = gaussian_kl(some.mean, some.log_std, new_mean, new_log_std)
            return (kl * some.mask).sum() / some.mask.sum().clamp(min=1.0)

        self.optimiser.zero_grad()
        loss, _ = objective()
        loss.backward(inputs=list(self.sizes.parameters()))
        parameters = [*self.policy.parameters(), self.mean, self.log_std]
        report = trust_region_step(parameters, objective, curvature, c.trust_region, c.damping)
        self.optimiser.step()
        self.updates += 1
        return self._report(report, index)

    def _act(
        self, mean: Tensor, log_std: Tensor, before: Episodes, inner: Tensor, after: Episodes
    ) -> tuple[Tensor, Tensor]:
        """The policy's Gaussian (N·E, T, n_a) on the episodes after the step from a belief."""
        n = len(mean)
        per_task = len(after.mask) // n
        mean, log_std = self.adapt(mean, log_std, before, inner)
        spread = log_std.exp().repeat_interleave(per_task, 0)[:, None]
        latent = mean.repeat_interleave(per_task, 0)[:, None] + spread * after.noise
        held = self._held(latent)
        if self.config.variant == "latents":
            return self.policy(after.observation, held)
        # The step on the weights is a gradient even where only the loss's value is asked for.
        with torch.enable_grad():
            weights = self.adapt_policy(before, inner, n)
        return self.acting(weights)(after.observation, held)

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
            "action_std": float(self.policy.log_std.detach().exp().mean()),
            "belief_mean_spread": float(self.mean.detach()[index].std()),
            "belief_std": float(self.log_std.detach()[index].exp().mean()),
            "step_mean": float(sizes[: self.n_z].mean()),
            "step_log_std": float(sizes[self.n_z :].mean()),
        }

    def modules(self) -> dict[str, nn.Module]:
        """What an evaluation needs."""
        return {"policy": self.policy, "sizes": self.sizes}

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next update depends on."""
        return {
            "modules": {k: m.state_dict() for k, m in self.modules().items()},
            "mean": self.mean.detach().clone(),
            "log_std": self.log_std.detach().clone(),
            "optimiser": self.optimiser.state_dict(),
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, module in self.modules().items():
            module.load_state_dict(state["modules"][name])
        with torch.no_grad():
            self.mean.copy_(state["mean"])
            self.log_std.copy_(state["log_std"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = self._make_step()
        self.updates = int(state["updates"])


def _log_density(raw: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """log N(raw; mean, std) summed over the action (…,); the tanh's Jacobian cancels in ratios."""
    z = (raw - mean) * torch.exp(-log_std)
    return (-0.5 * z**2 - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)

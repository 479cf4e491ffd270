"""PEARL's networks, their optimisers and one gradient step, on soft actor-critic with a learned
temperature (Haarnoja et al. 2018, arXiv 1812.05905).

The belief over the latent z is a product of one Gaussian factor per context transition and a
standard normal prior, or a mixture that is read from a recurrent state (`PearlConfig.belief`).
`PearlConfig.objective` says what trains the encoder:

- "critic", as published: z's sample feeds the critic, whose loss trains the encoder, plus
  β KL(belief ‖ prior). This is an information bottleneck: it rewards a belief for being narrow
  wherever any context was seen, also where the context does not determine the task.
- "posterior": in simulation the task's factors f are known and standardised, so z is *defined* to
  be f, and the encoder maximises log N(f; belief) over prefixes of runs (amortised posterior
  inference). The optimum is the moment-matched posterior: after failures alone the belief stays
  as wide as what is still possible, and sampling from it keeps searching. The critic, used only
  in simulation, sees f beside z.
- "none" trains a policy without a latent, "privileged" one whose z is the true f, in training and
  in trials: the oracle, which no robot could run. They bound what a belief can be worth.

The actor sees z alone, sampled from the belief after a random prefix of a run.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from adapt.errors import AcclimateError
from policies.algorithms.pearl.config import PearlConfig
from policies.networks.belief import Prefixes, kl_to_prior
from policies.networks.critics import Critic, make_critic
from policies.networks.modules import Actor, FactorEncoder, RewardUnits
from policies.networks.recurrent import RecurrentEncoder
from policies.replay.run_replay import Rows, RunReplay
from policies.training.device import float32_products
from sim.core.worlds import WorldSpec

Encoder = FactorEncoder | RecurrentEncoder


def make_encoder(n_c: int, n_z: int, config: PearlConfig) -> Encoder:
    """The encoder of `PearlConfig.belief`. n_c: features of a transition."""
    c = config
    if c.belief == "product":
        return FactorEncoder(n_c, n_z, c.encoder_hidden)
    return RecurrentEncoder(n_c, n_z, c.encoder_hidden, c.state, c.components, c.window)


class PearlNetworks:
    """Networks, optimisers and one update of all.

    Args:
        spec: of the worlds.
        config: hyperparameters.
        seed: initial weights and the update's noise.
        device: torch device.
        bfloat16: run the networks' products in bfloat16 (belief, targets and densities stay
            float32).
    """

    def __init__(
        self, spec: WorldSpec, config: PearlConfig, seed: int, device: str, bfloat16: bool
    ) -> None:
        self.spec, self.config, self.device = spec, config, torch.device(device)
        self.bfloat16 = bfloat16
        n_o, n_a, n_f = spec.observation_size, spec.action_size, len(spec.factors)
        sizes = {"critic": config.latent, "posterior": n_f, "none": 0, "privileged": n_f}
        self.n_z = sizes[config.objective]
        n_c = n_o * (1 + config.next_in_context) + n_a + config.reward_in_context
        # These two differ in what the actor sees; their critics are equally informed.
        self.told_critic = config.objective in ("posterior", "none")
        privileged = n_f if self.told_critic else 0
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.actor = Actor(n_o, self.n_z, n_a, config.actor_hidden).to(device)
            n_rest = n_a + self.n_z + privileged
            # Of a reward of 1 at every step: over the discount's horizon, or the episode's.
            value_scale = config.reward_scale / max(1 - config.discount, 1 / spec.horizon)
            self.critic = make_critic(
                config.critic, n_o, n_rest, config.critic_hidden, value_scale
            ).to(device)
            self.encoder: Encoder | None = None
            if self.n_z and config.objective != "privileged":
                self.encoder = make_encoder(n_c, self.n_z, config).to(device)
        self.units = RewardUnits().to(device) if config.standardise_rewards else None
        # Training mode is for one pass alone: the one that a critic without a target learns from.
        self.critic.eval()
        self.target: Critic | None = None
        if self.critic.bootstraps:
            self.target = copy.deepcopy(self.critic).requires_grad_(False)
        start = float(np.log(config.initial_temperature))
        self.log_temperature = torch.tensor(start, device=device, requires_grad=True)
        rate = config.learning_rate
        self.optimisers: dict[str, torch.optim.Optimizer] = {
            "actor": torch.optim.Adam(self.actor.parameters(), rate, fused=True),
            "critic": torch.optim.Adam(
                self.critic.parameters(), rate, betas=self.critic.betas, fused=True
            ),
            "temperature": torch.optim.Adam([self.log_temperature], rate),
        }
        if self.encoder is not None:
            self.optimisers["encoder"] = torch.optim.Adam(
                self.encoder.parameters(), config.encoder_learning_rate, fused=True
            )
        self.generator = torch.Generator(device=device).manual_seed(seed + 1)
        self.updates = 0
        # Modules that came with their normalisers from elsewhere.
        self.taken: list[str] = []

    def take_over(self, states: Mapping[str, Mapping[str, Tensor]], source: Path) -> None:
        """Start from other networks, with their normalisers, by the names of `modules`. What this
        one does not have is left aside, as is the encoder of another kind of belief. Raises
        AcclimateError for networks of other shapes, and without an actor."""
        if "actor" not in states:
            raise AcclimateError(f"start={source}: it has no actor of PEARL's")
        for name, module in self.modules().items():
            mine, theirs = module.state_dict(), states.get(name, {})
            if name != "actor" and mine.keys() != theirs.keys():
                continue
            differing = [k for k in {**mine, **theirs} if _shape(mine, k) != _shape(theirs, k)]
            if differing:
                told = ", ".join(
                    f"{k}: {_shape(theirs, k)} there, {_shape(mine, k)} here" for k in differing
                )
                raise AcclimateError(f"start={source}: its {name} has other shapes ({told})")
            module.load_state_dict(theirs)
            self.taken.append(name)

    def fit_normalisers(self, observation: Tensor, context: Tensor) -> None:
        """Fit the input normalisers to observations (N, n_o) and transitions (N, n_c)."""
        if "actor" not in self.taken:
            self.actor.normaliser.fit(observation)
        if "critic" not in self.taken:
            self.critic.normaliser.fit(observation)
        if self.target is not None and "target" not in self.taken:
            self.target.normaliser.fit(observation)
        if self.encoder is not None and "encoder" not in self.taken:
            self.encoder.normaliser.fit(context)

    def fit_rewards(self, reward: Tensor, going_on: Tensor) -> None:
        """Fix the rewards' units to rewards (N,), going_on (N,) as `RewardUnits.fit` has it."""
        if self.units is not None:
            self.units.fit(reward, going_on, self.config.discount)

    def update(
        self, replay: RunReplay, factors: np.ndarray, rng: np.random.Generator
    ) -> dict[str, Tensor]:
        """One gradient step of every network.

        Args:
            replay: of runs.
            factors: true standardised factors of every training task (tasks, n_f).
            rng: picks runs, rows and prefixes.

        Returns:
            scalars, still tensors: losses, Q, temperature, entropy, belief statistics.
        """
        with float32_products(self.device.type):
            return self._update(replay, factors, rng)

    def _update(
        self, replay: RunReplay, factors: np.ndarray, rng: np.random.Generator
    ) -> dict[str, Tensor]:
        c = self.config
        runs = replay.sample_runs(c.tasks_per_batch, c.context_recency, rng)
        if c.fixed_actor and self.encoder is not None:
            return self._update_belief(self.encoder, replay, runs, factors)
        rows = replay.rows(runs, c.rows_per_task, rng)
        rows = Rows(*(getattr(rows, f).to(self.device) for f in Rows.__dataclass_fields__))
        truth = torch.from_numpy(factors[replay.arrays["task"][runs]]).to(self.device)
        info: dict[str, Tensor] = {}
        latent, encoder_loss = self._latents(replay, runs, truth, rng, info)
        truth_rows = truth.repeat_interleave(c.rows_per_task, 0)
        with self._autocast():
            critic_loss = self._critic_loss(rows, latent, truth_rows, info)
        self._step_critic(critic_loss, encoder_loss, info)
        with self._autocast():
            actor_loss, entropy = self._actor_loss(rows, latent.detach(), truth_rows)
        self.optimisers["actor"].zero_grad()
        actor_loss.backward(inputs=list(self.actor.parameters()))
        self.optimisers["actor"].step()

        target_entropy = c.target_entropy_per_action * self.spec.action_size
        temperature_loss = self.log_temperature.exp() * (entropy - target_entropy)
        self.optimisers["temperature"].zero_grad()
        temperature_loss.backward()
        self.optimisers["temperature"].step()

        if self.target is not None:
            target: list[Tensor] = list(self.target.parameters())
            critic: list[Tensor] = list(self.critic.parameters())
            get_ema_multi_avg_fn(1 - c.target_rate)(target, critic, 0)
        self.updates += 1
        info |= {
            "critic_loss": critic_loss.detach(),
            "actor_loss": actor_loss.detach(),
            "entropy": entropy,
            "temperature": self.log_temperature.detach().exp(),
        }
        return info

    def _latents(
        self,
        replay: RunReplay,
        runs: np.ndarray,
        truth: Tensor,
        rng: np.random.Generator,
        info: dict[str, Tensor],
    ) -> tuple[Tensor, Tensor | None]:
        """Latents (tasks · rows, n_z), one for each row from a random prefix, and the loss of the
        encoder that does not go through the critic."""
        c = self.config
        if self.encoder is None:
            known = truth if self.n_z else truth[:, :0]
            return known.repeat_interleave(c.rows_per_task, 0), None
        n = c.tasks_per_batch * c.rows_per_task
        beliefs = self._beliefs(self.encoder, replay, runs)
        prefix = torch.from_numpy(rng.integers(replay.steps + 1, size=n)).to(self.device)
        task = torch.arange(c.tasks_per_batch, device=self.device)
        task = task.repeat_interleave(c.rows_per_task)
        row = beliefs.after(task, prefix)
        latent = row.sample(c.exploration, self.generator)
        info["belief_std"] = beliefs.final().variance.detach().sqrt().mean()
        info["kl"] = kl_to_prior(row.mean, row.variance).sum(-1).mean()
        if c.objective == "critic":
            return latent, c.kl_weight * info["kl"]
        loss = beliefs.loss(truth, self.generator)
        info["belief_nll"] = loss.detach()
        latent = latent.detach()
        if c.told_rows:
            told = torch.rand(n, 1, generator=self.generator, device=self.device) < c.told_rows
            latent = torch.where(told, truth.repeat_interleave(c.rows_per_task, 0), latent)
        return latent, loss

    def _update_belief(
        self, encoder: Encoder, replay: RunReplay, runs: np.ndarray, factors: np.ndarray
    ) -> dict[str, Tensor]:
        """One gradient step of the encoder alone."""
        truth = torch.from_numpy(factors[replay.arrays["task"][runs]]).to(self.device)
        beliefs = self._beliefs(encoder, replay, runs)
        loss = beliefs.loss(truth, self.generator)
        self.optimisers["encoder"].zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(encoder.parameters(), 10.0)
        self.optimisers["encoder"].step()
        self.updates += 1
        info = {
            "belief_nll": loss.detach(),
            "belief_std": beliefs.final().variance.detach().sqrt().mean(),
        }
        return info | {"encoder_gradient": norm}

    def _beliefs(self, encoder: Encoder, replay: RunReplay, runs: np.ndarray) -> Prefixes:
        """After every prefix of the runs."""
        context, valid = replay.context(runs)
        with self._autocast():
            return encoder.posteriors(context.to(self.device), valid.to(self.device))

    def _critic_loss(
        self, rows: Rows, latent: Tensor, truth: Tensor, info: dict[str, Tensor]
    ) -> Tensor:
        c = self.config
        extra = (truth,) if self.told_critic else ()
        with torch.no_grad():
            action, log_density = self._sample(rows.next_observation, latent)
        now = (rows.observation, rows.action, latent, *extra)
        q, following = self._values(now, (rows.next_observation, action, latent.detach(), *extra))
        with torch.no_grad():
            following = following.min(0).values - self.log_temperature.exp() * log_density
            reward = c.reward_scale * rows.reward
            going_on = c.discount * rows.discount
            if self.units is not None:
                # Critics know values less `worth`: it is added to the next and taken from this.
                worth = c.reward_scale * self.units.worth
                reward = reward / self.units.unit + (going_on - 1) * worth
            target = reward + going_on * following
        info["q"] = q.detach().mean()
        return ((q - target) ** 2).mean(1).sum()

    def _values(self, now: tuple[Tensor, ...], then: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Q (2, B) of present inputs, and without gradient of the following ones."""
        if self.target is not None:
            with torch.no_grad():
                following = self.target(*then)
            return self.critic(*now), following
        self.critic.train()
        q, following = self.critic(*map(torch.cat, zip(now, then, strict=True))).chunk(2, 1)
        self.critic.eval()
        return q, following.detach()

    def _step_critic(
        self, critic_loss: Tensor, encoder_loss: Tensor | None, info: dict[str, Tensor]
    ) -> None:
        self.optimisers["critic"].zero_grad()
        if encoder_loss is None or self.encoder is None:
            critic_loss.backward()
        else:
            self.optimisers["encoder"].zero_grad()
            (critic_loss + encoder_loss).backward()
            norm = nn.utils.clip_grad_norm_(self.encoder.parameters(), 10.0)
            info["encoder_gradient"] = norm
            self.optimisers["encoder"].step()
        self.optimisers["critic"].step()
        self.critic.project()

    def _actor_loss(self, rows: Rows, latent: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        extra = (truth,) if self.told_critic else ()
        action, log_density = self._sample(rows.observation, latent)
        q = self.critic(rows.observation, action, latent, *extra).min(0).values
        loss = (self.log_temperature.detach().exp() * log_density - q).mean()
        return loss, -log_density.detach().mean()

    def _sample(self, observation: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        shape = (len(observation), self.spec.action_size)
        noise = torch.randn(shape, generator=self.generator, device=self.device)
        return self.actor.sample(observation, latent, noise)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)

    def modules(self) -> dict[str, nn.Module]:
        found: dict[str, nn.Module] = {"actor": self.actor}
        if not self.config.fixed_actor:
            found["critic"] = self.critic
            if self.target is not None:
                found["target"] = self.target
        if self.encoder is not None:
            found["encoder"] = self.encoder
        if self.units is not None:
            found["units"] = self.units
        return found

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next update depends on."""
        return {
            "modules": {k: m.state_dict() for k, m in self.modules().items()},
            "optimisers": {k: o.state_dict() for k, o in self.optimisers.items()},
            "log_temperature": self.log_temperature.detach().clone(),
            "generator": self.generator.get_state(),
            "updates": self.updates,
            "taken": self.taken,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, module in self.modules().items():
            module.load_state_dict(state["modules"][name])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        with torch.no_grad():
            self.log_temperature.copy_(state["log_temperature"])
        self.generator.set_state(state["generator"])
        self.updates = int(state["updates"])
        self.taken = list(state.get("taken", []))


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(state[name].shape) if name in state else None

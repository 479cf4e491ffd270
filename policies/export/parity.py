"""Closed-loop parity: the exported bundle and torch's networks, stepped side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from adapt.adapters.base import Transition
from adapt.adapters.registry import make_adapter
from adapt.bundle.policy_bundle import PolicyBundle
from policies.networks.belief import prefix_posteriors
from policies.rollout.collect import transition_rows
from policies.training.trainer import Trainer
from sim.core.worlds import Worlds


@dataclass(frozen=True)
class Parity:
    """Largest absolute differences over all steps; action is normalised, belief mean and std."""

    steps: int
    action: float
    belief_mean: float
    belief_std: float

    @property
    def worst(self) -> float:
        return max(self.action, self.belief_mean, self.belief_std)


@torch.no_grad()
def closed_loop(
    trainer: Trainer,
    bundle: PolicyBundle,
    tasks: int,
    episodes: int,
    seed: int,
    worlds: Worlds | None = None,
) -> Parity:
    """Let the bundle's adapter, as a robot runs it, play simulated tasks, and let torch answer the
    same observations, latents and contexts.

    The adapter drives, so an error in its belief would feed back into what both see next. Torch's
    belief is recomputed from the whole context at once at every step, not incrementally.

    worlds: one world to play in, closed at the end; the family's own if there is none.
    """
    learner, c = trainer.learner, trainer.settings.learner
    worlds = worlds or trainer.family.make(1, seed, 1)
    chosen = trainer.family.space.sample(tasks, np.random.default_rng(seed), "train")
    action_error = mean_error = std_error = 0.0
    steps = 0
    for number, task in enumerate(chosen):
        worlds.assign([task])
        adapter = make_adapter(bundle, seed + number)
        rows: list[np.ndarray] = []
        for _ in range(episodes):
            observation = worlds.reset(np.ones(1, bool))
            adapter.begin_episode()
            done = False
            while not done:
                action = adapter.act(observation[0])
                latent = torch.from_numpy(action.latent.copy())[None]
                mean, _ = learner.actor(torch.from_numpy(observation), latent)
                difference = np.abs(torch.tanh(mean)[0].numpy() - action.normalised).max()
                action_error = max(action_error, float(difference))
                step = worlds.step(action.normalised[None])
                belief = adapter.observe(
                    Transition(
                        observation[0],
                        action.normalised,
                        float(step.measured_reward[0]),
                        step.observation[0],
                        bool(step.discount[0] == 0),
                    )
                )
                if learner.encoder is not None:
                    rows.append(
                        transition_rows(
                            observation,
                            action.normalised[None],
                            step,
                            c.reward_in_context,
                            c.next_in_context,
                        )[0]
                    )
                    capacity = c.capacity
                    context = torch.from_numpy(np.stack(rows[-capacity:])[None])
                    factor = learner.encoder(context)
                    mean, variance = prefix_posteriors(*factor, torch.ones(context.shape[:2]))
                    off = np.abs(mean[0, -1].numpy() - belief.mean).max()
                    mean_error = max(mean_error, float(off))
                    off = np.abs(variance[0, -1].sqrt().numpy() - np.sqrt(belief.variance)).max()
                    std_error = max(std_error, float(off))
                observation, done = step.observation, bool(step.done[0])
                steps += 1
            adapter.end_episode()
    worlds.close()
    return Parity(steps, action_error, mean_error, std_error)

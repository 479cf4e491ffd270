"""Closed-loop parity of a MAESN bundle: its adapter plays, torch answers and steps beside it."""

from __future__ import annotations

import contextlib

import numpy as np
import torch

from adapt.adapters.base import Adapter, Transition
from adapt.adapters.registry import make_adapter
from adapt.belief.gaussian import Belief
from adapt.bundle.policy_bundle import PolicyBundle
from adapt.errors import LessonError
from policies.algorithms.maesn.learner import LOG_STD_HIGH, LOG_STD_LOW
from policies.algorithms.maesn.trainer import MaesnTrainer
from policies.export.parity import Parity
from sim.core.worlds import Worlds


@torch.no_grad()
def closed_loop_maesn(
    trainer: MaesnTrainer, bundle: PolicyBundle, tasks: int, steps: int, seed: int
) -> Parity:
    """Let the bundle's adapter play simulated tasks through so many adaptation steps each, and let
    torch answer the same observations and take the same steps.

    Torch takes each step from the adapter's belief before it, so that differences do not add up.
    """
    worlds = trainer.family.make(1, seed, 1)
    chosen = trainer.family.space.sample(tasks, np.random.default_rng(seed), "train")
    count, worst = 0, np.zeros(3)
    for number, task in enumerate(chosen):
        worlds.assign([task])
        adapter = make_adapter(bundle, seed + number)
        for _ in range(steps):
            found = _Batch(trainer, bundle)
            before = adapter.belief
            found.play(adapter, worlds)
            count += int(found.mask.sum())
            worst[0] = max(worst[0], found.action_error)
            if adapter.belief.version != before.version:
                worst[1:] = np.maximum(worst[1:], found.belief_errors(before, adapter.belief))
    worlds.close()
    return Parity(count, *worst.tolist())


class _Batch:
    """The episodes of one step, as the adapter met them, in the step's own layout."""

    def __init__(self, trainer: MaesnTrainer, bundle: PolicyBundle) -> None:
        self.trainer, self.manifest = trainer, bundle.manifest
        spec = trainer.settings.learner.episodes, trainer.family.spec.horizon
        self.observation = np.zeros((*spec, bundle.manifest.observation_size), np.float32)
        self.reward, self.mask = np.zeros(spec, np.float32), np.zeros(spec, np.float32)
        self.latent = np.zeros(
            (spec[0], trainer.learner.step.draws, bundle.manifest.latent.size), np.float32
        )
        self.action_error = 0.0

    def play(self, adapter: Adapter, worlds: Worlds) -> None:
        for episode in range(len(self.mask)):
            adapter.begin_episode()
            self._play_one(episode, adapter, worlds)
            # One that teaches nothing is as good here as one that does.
            with contextlib.suppress(LessonError):
                adapter.end_episode()

    def _play_one(self, episode: int, adapter: Adapter, worlds: Worlds) -> None:
        hold = self.manifest.latent.hold
        policy = self.trainer.learner.policy
        observation, done, t = worlds.reset(np.ones(1, bool)), False, 0
        while not done:
            action = adapter.act(observation[0])
            if t == 0 or (hold and t % hold == 0):
                self.latent[episode, t // hold if hold else 0] = action.latent
            mean, _ = policy(
                torch.from_numpy(observation), torch.from_numpy(action.latent.copy())[None]
            )
            off = float(np.abs(torch.tanh(mean)[0].numpy() - action.normalised).max())
            self.action_error = max(self.action_error, off)
            step = worlds.step(action.normalised[None])
            reward = float(step.measured_reward[0])
            adapter.observe(
                Transition(observation[0], action.normalised, reward, step.observation[0])
            )
            self.observation[episode, t] = observation[0]
            self.reward[episode, t], self.mask[episode, t] = reward, 1.0
            observation, done, t = step.observation, bool(step.done[0]), t + 1
        if self.trainer.settings.learner.counted == "last":
            self.reward[episode, : t - 1] = 0.0

    def belief_errors(self, before: Belief, after: Belief) -> tuple[float, float]:
        """Largest differences of mean and std between torch's step and the adapter's belief."""
        learner = self.trainer.learner
        arrays = (self.latent, self.observation, self.reward, self.mask)
        mean, log_std = learner.step(
            torch.from_numpy(before.mean.astype(np.float32))[None],
            torch.from_numpy(0.5 * np.log(before.variance).astype(np.float32))[None],
            learner.sizes.belief[None],
            *(torch.from_numpy(array.reshape(1, -1)) for array in arrays),
        )
        std = log_std.clamp(LOG_STD_LOW, LOG_STD_HIGH).exp()[0].numpy()
        off = (
            np.abs(mean[0].numpy() - after.mean).max(),
            np.abs(std - np.sqrt(after.variance)).max(),
        )
        return float(off[0]), float(off[1])

"""Adapter: what every algorithm does on the robot, in the order in which a robot asks for it.

    reset -> begin_episode -> act, observe, act, observe, ... -> end_episode -> begin_episode ...

A robot learns on a second thread: `observe` and `conclude` run there, and all other methods on the
thread that acts. `act` never waits for them: both sides share one reference to an immutable Belief.
`end_episode` serves programs of one thread; it is `conclude` followed by `leave_episode`, which a
robot calls on their own threads. Each robot has its own adapter; adapters share a bundle's
sessions.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar, Literal

import numpy as np
from msgspec import structs

from adapt.adapters.snapshot import AdapterState, load_generator, save_generator, seal, unseal
from adapt.adapters.transition import Action, Float32, Transition
from adapt.belief.gaussian import Belief, GaussianPrior
from adapt.bundle.algorithms import Algorithm
from adapt.bundle.layout import ActionMap, Layout, all_finite
from adapt.bundle.manifest import Phase
from adapt.bundle.policy_bundle import PolicyBundle
from adapt.errors import ContextError, EpisodeError, InferenceError, PriorError, SnapshotError

# A performed action comes back through a division by its float32 scale; more is a wrong unit.
ACTION_SLACK = 1e-4
MAX_REWARD = float(np.finfo(np.float32).max)
# An observe takes far less. One that holds the memory for longer hangs, and is not waited for [s].
BUSY = 0.05


class Adapter(ABC):
    """A policy with a belief about the task it has met.

    bundle: a loaded bundle of this adapter's algorithm. seed: of the latents and of stochastic
    actions; the same seed and the same calls give the same answers. A subclass says in `variant`
    which struct its manifest block is, and in `learns_from` after which of them its belief changes.
    """

    variant: ClassVar[type[Algorithm]]
    learns_from: ClassVar[Literal["transitions", "episodes"]] = "transitions"

    def __init__(self, bundle: PolicyBundle, seed: int) -> None:
        manifest = bundle.manifest
        self.bundle = bundle
        # False freezes the belief: transitions are checked and then left aside.
        self.adapting = True
        self._observation = Layout("observation", manifest.observation)
        self._action = Layout("action", manifest.action)
        self._action_map = ActionMap(manifest.action)
        self._rng = np.random.default_rng(seed)
        self._rows = {p.policy: bundle.graphs[p.policy].bind() for p in manifest.phases}
        # Held while the belief's memory changes; `act` never takes it.
        self._memory_lock = threading.Lock()
        latent = manifest.latent
        self._own = GaussianPrior.of(latent.prior_mean, latent.prior_variance)
        self._start = self._own
        self._start_bytes = b""  # of a prior that is not the bundle's
        self._belief = self._prior = self._forget(0)
        self._trusted = True
        self._in_episode = False
        self._period = 0
        self._episodes = 0  # complete ones, of this task
        self._enter_phase()
        self._latent = np.zeros(manifest.fed_size(self._phase.condition), np.float32)
        self._latent_version = 0

    @property
    def belief(self) -> Belief:
        """The belief as it stands: one whole object, safe to read from any thread."""
        return self._belief

    @property
    def latent(self) -> Float32:
        """The policy's input `latent` in force, read-only; zero before the first episode."""
        return self._latent

    @property
    def policy(self) -> str:
        """Name of the policy graph that acts in this episode."""
        return self._phase.policy

    @property
    def latent_version(self) -> int:
        """Version of the belief that the latent was drawn from."""
        return self._latent_version

    def reset(self) -> None:
        """Meet a new task: forget everything, and leave the episode if one is under way."""
        with self._memory_lock:
            self._belief = self._prior = self._forget(self._belief.version + 1)
        self._in_episode = False
        self._episodes = 0

    @property
    def start(self) -> GaussianPrior:
        """The prior that beliefs start from."""
        return self._start

    def start_from(self, prior: GaussianPrior) -> None:
        """Meet a new task, and from now on every task, with a prior that is not the bundle's; see
        `adapt.prior.latent_prior`. Raises PriorError, unchanged, where the algorithm cannot."""
        manifest = self.bundle.manifest
        if reason := manifest.algorithm.refuses_prior(manifest):
            raise PriorError(f"bundle {manifest.name!r} takes no other prior: {reason}")
        # Through the bytes, so that a snapshot restores the same numbers.
        self._set_start(prior.encode())
        self.reset()

    def _set_start(self, data: bytes) -> None:
        """data: as `GaussianPrior.encode` makes it; empty for the bundle's own prior."""
        size = self.bundle.manifest.latent.size
        self._start = GaussianPrior.decode(data, size) if data else self._own
        self._start_bytes = data

    @property
    def trusted(self) -> bool:
        """Whether latents are drawn from the belief."""
        return self._trusted

    def trust(self, trusted: bool) -> None:
        """Draw latents from the belief or, False, from the prior; one at once after a change within
        an episode. What is learnt goes into the belief all the same."""
        if trusted == self._trusted:
            return
        self._trusted = trusted
        if self._in_episode:
            self._draw()

    def begin_episode(self) -> None:
        """Choose the phase and draw a latent from the belief. Raises EpisodeError within an
        episode."""
        if self._in_episode:
            raise EpisodeError("begin_episode within an episode; end_episode or reset comes first")
        self._in_episode = True
        self._period = 0
        self._enter_phase()
        self._draw()

    def end_episode(self, complete: bool = True) -> Belief:
        """The episode is over; returns the belief after it. Raises EpisodeError outside an episode,
        and what `conclude` raises, with the episode over."""
        if not self._in_episode:
            raise EpisodeError("end_episode outside an episode; begin_episode comes first")
        try:
            return self.conclude(complete)
        finally:
            self.leave_episode(complete)

    def leave_episode(self, complete: bool = True) -> None:
        """The acting thread's part of `end_episode`. Raises EpisodeError outside an episode.

        complete: False for an episode that was cut, which does not count for its phase.
        """
        if not self._in_episode:
            raise EpisodeError("leave_episode outside an episode; begin_episode comes first")
        self._in_episode = False
        self._episodes += complete

    def _enter_phase(self) -> None:
        manifest = self.bundle.manifest
        self._phase = phase_after(self._episodes, manifest.phases)
        # Only a drawn latent is held: the other inputs are the belief itself.
        self._hold = manifest.latent.hold if self._phase.condition == "sample" else 1

    def act(self, observation: Float32, stochastic: bool = False, checked: bool = False) -> Action:
        """Answer one observation (n_o,), from the latent's most likely action or a sample.

        A new latent is drawn from the current belief after every `hold` control periods. checked:
        the observation is known to be finite float32 (n_o,). Raises ContextError naming the field
        at fault, EpisodeError outside an episode.
        """
        row = self._rows[self._phase.policy]
        self.pose(observation, row.inputs, checked)
        row.run()
        return self.settle(row.outputs, stochastic)

    def pose(
        self, observation: Float32, inputs: Mapping[str, Float32], checked: bool = False
    ) -> None:
        """The first part of `act`, for a run of the policy that others share: write what it is
        asked, by name, observation (n_o,) and latent. Raises as `act`, inputs half written.
        """
        if not self._in_episode:
            raise EpisodeError("act outside an episode; begin_episode comes first")
        if not checked:
            observation = self._observation.check(observation)
        inputs["observation"][:] = observation
        hold = self._hold
        if hold and self._period and self._period % hold == 0:
            self._draw()
        if self._latent.size:
            inputs["latent"][:] = self._latent

    def settle(self, outputs: Mapping[str, Float32], stochastic: bool = False) -> Action:
        """The last part of `act`: the answer, from what the run found, mean and log_std (n_a,),
        which is not kept. Raises InferenceError for a mean that is not finite."""
        mean = outputs["mean"]
        if stochastic:
            noise = self._rng.standard_normal(mean.size, np.float32)
            mean = mean + np.exp(outputs["log_std"]) * noise
        if not all_finite(mean):
            index = int(np.argmin(np.isfinite(mean)))
            raise InferenceError(f"policy answers {mean[index]} for {self._action.locate(index)}")
        if self.bundle.manifest.squash == "tanh":
            normalised = np.tanh(mean)
        else:
            normalised = np.clip(mean, -1.0, 1.0)
        self._period += 1
        physical = self._action_map.physical(normalised)
        return Action(normalised, physical, self._latent, self._latent_version)

    def _draw(self) -> None:
        # One read: the worker may swap the belief between two.
        belief = self._belief if self._trusted else self._prior
        if self._phase.condition == "sample":
            exploration = self.bundle.manifest.latent.exploration
            self._latent = belief.sample(self._rng, exploration)
        elif self._phase.condition == "statistics":
            self._latent = belief.statistics()
        else:
            self._latent = belief.state
        self._latent_version = belief.version

    def snapshot(self) -> bytes:
        """Everything the adapter knows, the episode under way included; see `restore`.

        Raises SnapshotError when an `observe` on another thread does not come to its end.
        """
        with self._memory():
            memory, belief = self._remember(), self._belief
        return seal(
            AdapterState(
                bundle=self.bundle.digest,
                in_episode=self._in_episode,
                period=self._period,
                latent=self._latent.astype("<f4").tobytes(),
                latent_version=self._latent_version,
                belief_version=belief.version,
                generator=save_generator(self._rng),
                memory=memory,
                trusted=self._trusted,
                prior_version=self._prior.version,
                episodes=self._episodes,
                prior=self._start_bytes,
            )
        )

    def restore(self, data: bytes) -> None:
        """Return to a snapshot: from here on it answers as it did from there, to the last bit.

        The belief gets a version that this adapter has not used, so that none names two beliefs.
        Raises SnapshotError, with nothing changed, for damage or another bundle.
        """
        state = unseal(data, self.bundle.digest)
        phases = self.bundle.manifest.phases
        # Between episodes the latent is still that of the episode before, in whichever phase.
        possible = phases if not state.in_episode else [phase_after(state.episodes, phases)]
        widths = {4 * self.bundle.manifest.fed_size(phase.condition) for phase in possible}
        if len(state.latent) not in widths:
            raise SnapshotError(
                f"latent takes {' or '.join(map(str, widths))} bytes; found {len(state.latent)}"
            )
        latent = np.frombuffer(state.latent, "<f4").astype(np.float32)
        if not np.isfinite(latent).all():
            raise SnapshotError("the stored latent is not finite")
        latent.setflags(write=False)
        rng = load_generator(state.generator)
        self._return_to(state)
        self._prior = structs.replace(self._prior, version=state.prior_version)
        self._rng, self._trusted = rng, state.trusted
        self._latent, self._latent_version = latent, state.latent_version
        self._in_episode, self._period = state.in_episode, state.period
        self._episodes = state.episodes
        self._enter_phase()

    def restore_belief(self, data: bytes) -> Belief:
        """Return to the belief of a snapshot, to the prior that it started from, and to how many
        episodes were behind it; returns it.

        An episode under way goes on, with a latent drawn from it at once. The belief gets a version
        that this adapter has not used. Raises SnapshotError, with nothing changed.
        """
        state = unseal(data, self.bundle.digest)
        self._return_to(state)
        self._episodes = state.episodes
        if self._in_episode:
            self._draw()
        return self._belief

    def _return_to(self, state: AdapterState) -> None:
        """Take over a snapshot's prior and belief. Raises SnapshotError, unchanged."""
        before = self._start_bytes
        with self._memory():
            version = max(self._belief.version + 1, state.belief_version)
            if state.prior == before:
                self._belief = self._recall(state.memory, version)
                return
            manifest = self.bundle.manifest
            if reason := manifest.algorithm.refuses_prior(manifest):
                raise SnapshotError(f"the snapshot has a prior of its own: {reason}")
            self._set_start(state.prior)
            try:
                belief = self._recall(state.memory, version + 1)
            except SnapshotError:
                self._set_start(before)
                raise
            self._belief, self._prior = belief, self._first(version)

    @contextmanager
    def _memory(self) -> Iterator[None]:
        if not self._memory_lock.acquire(timeout=BUSY):
            raise SnapshotError(f"an observe has been under way for more than {BUSY} s")
        try:
            yield
        finally:
            self._memory_lock.release()

    def _check(self, transition: Transition) -> tuple[Float32, Float32, Float32]:
        """observation, action, next observation as finite float32, or ContextError."""
        observation = self._observation.check(transition.observation)
        action = self._action.check(transition.action)
        if (np.abs(action) > 1.0 + ACTION_SLACK).any():
            index = int(np.argmax(np.abs(action)))
            raise ContextError(
                f"action {self._action.locate(index)} is {action[index]}; expected the normalised "
                "action, in [-1, 1]"
            )
        following = self._observation.check(transition.next_observation, "next observation")
        # A NaN compares false, so this refuses it too.
        if not abs(transition.reward) <= MAX_REWARD:
            raise ContextError(f"reward is {transition.reward}; expected a finite float32")
        return observation, action, following

    @abstractmethod
    def observe(self, transition: Transition) -> Belief:
        """Learn from one transition; returns the belief after it.

        Raises ContextError or BeliefError, with the belief as before.
        """

    def conclude(self, complete: bool = True) -> Belief:
        """The episode has had its last transition; returns the belief after it. On the thread that
        observes, before the next episode's transitions.

        complete: False for an episode that was cut. Raises LessonError, with the belief as before,
        when the episode teaches nothing and why is worth telling. An algorithm that learns from
        each transition has nothing left to do.
        """
        return self._belief

    def _first(self, version: int) -> Belief:
        """The belief before anything was observed, with the memory left as it is."""
        return self._start.belief(version)

    @abstractmethod
    def _forget(self, version: int) -> Belief:
        """Empty the algorithm's memory and return the prior under that version."""

    @abstractmethod
    def _remember(self) -> bytes:
        """The algorithm's memory, for a snapshot."""

    @abstractmethod
    def _recall(self, memory: bytes, version: int) -> Belief:
        """Take over a memory and return its belief; SnapshotError, unchanged, if it is unfit."""


def phase_after(episodes: int, phases: tuple[Phase, ...]) -> Phase:
    """The phase of the episode that follows so many complete ones."""
    for phase in phases[:-1]:
        if episodes < phase.episodes:
            return phase
        episodes -= phase.episodes
    return phases[-1]

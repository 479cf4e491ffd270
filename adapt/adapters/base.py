"""Adapter: what every algorithm does on the robot, in the order in which a robot asks for it.

    reset -> begin_episode -> act, observe, act, observe, ... -> conclude -> end_episode ->
    begin_episode ...

`act` answers from the current latent and never waits for `observe` and `conclude`, which may run
on a thread of their own: the two sides meet in one reference to an immutable Belief. All other
methods belong to the thread that acts. Each robot has its own adapter; adapters share a bundle's
sessions.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from msgspec import Struct, structs

from adapt.adapters.snapshot import AdapterState, load_generator, save_generator, seal, unseal
from adapt.belief.gaussian import Belief
from adapt.bundle.layout import Layout, action_scale
from adapt.bundle.policy_bundle import PolicyBundle
from adapt.errors import BundleError, ContextError, EpisodeError, InferenceError, SnapshotError

Float32 = npt.NDArray[np.float32]

# A performed action comes back through a division by its float32 scale; more is a wrong unit.
ACTION_SLACK = 1e-4
MAX_REWARD = float(np.finfo(np.float32).max)
# An observe takes far less; one that holds the memory longer hangs, and nobody waits for it [s].
BUSY = 0.05


# Structs, for one of each is made in every control period: a frozen dataclass takes ten times as
# long.
class Action(Struct, frozen=True, eq=False):
    """An answer. normalised: (n_a,) in [-1, 1]; physical: (n_a,) in the action fields' units.

    latent: (n_z,) it was computed with, read-only. belief_version: of the belief it was drawn from.
    """

    normalised: Float32
    physical: Float32
    latent: Float32
    belief_version: int


class Transition(Struct, frozen=True, eq=False):
    """What one control period taught.

    observation, next_observation: (n_o,) float32. action: (n_a,) float32, normalised, as performed.
    reward: as the robot measured it. terminal: whether the state after it ends the task.
    """

    observation: Float32
    action: Float32
    reward: float
    next_observation: Float32
    terminal: bool = False


class Adapter(ABC):
    """A policy with a belief about the task it has met.

    bundle: a loaded bundle of this adapter's algorithm. seed: of the latents and of stochastic
    actions; the same seed and the same calls give the same answers.
    """

    def __init__(self, bundle: PolicyBundle, seed: int) -> None:
        manifest = bundle.manifest
        self.bundle = bundle
        # False freezes the belief: transitions are checked and then left aside.
        self.adapting = True
        self._observation = Layout("observation", manifest.observation)
        self._action = Layout("action", manifest.action)
        self._scale = action_scale(manifest.action)
        self._rng = np.random.default_rng(seed)
        self._row = bundle.policy.bind()
        # Held while the belief's memory changes; `act` never takes it.
        self._memory_lock = threading.Lock()
        self._belief = self._prior = self._forget(0)
        self._trusted = True
        self._in_episode = False
        self._period = 0
        self._latent = np.zeros(manifest.latent.size, np.float32)
        self._latent_version = 0

    @property
    def belief(self) -> Belief:
        """The belief as it stands: one whole object, safe to read from any thread."""
        return self._belief

    @property
    def latent(self) -> Float32:
        """The latent (n_z,) in force, read-only; zero before the first episode."""
        return self._latent

    @property
    def latent_version(self) -> int:
        """Version of the belief that the latent was drawn from."""
        return self._latent_version

    def reset(self) -> None:
        """Meet a new task: forget everything, and leave the episode if one is under way."""
        with self._memory_lock:
            self._belief = self._prior = self._forget(self._belief.version + 1)
        self._in_episode = False

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
        """Draw a latent from the belief. Raises EpisodeError within an episode."""
        if self._in_episode:
            raise EpisodeError("begin_episode within an episode; end_episode or reset comes first")
        self._in_episode = True
        self._period = 0
        self._draw()

    def end_episode(self) -> None:
        """Raises EpisodeError outside an episode."""
        if not self._in_episode:
            raise EpisodeError("end_episode outside an episode; begin_episode comes first")
        self._in_episode = False

    def act(self, observation: Float32, stochastic: bool = False) -> Action:
        """Answer one observation (n_o,), from the latent's most likely action or a sample.

        A new latent is drawn from the current belief after every `hold` control periods.
        Raises ContextError naming the field at fault, EpisodeError outside an episode.
        """
        row = self._row
        self.pose(observation, row.inputs)
        row.run()
        return self.settle(row.outputs, stochastic)

    def pose(self, observation: Float32, inputs: Mapping[str, Float32]) -> None:
        """The first part of `act`, for a run of the policy that others share: write what it is
        asked, by name, observation (n_o,) and latent (n_z,). Raises as `act`, inputs half written.
        """
        if not self._in_episode:
            raise EpisodeError("act outside an episode; begin_episode comes first")
        inputs["observation"][:] = self._observation.check(observation)
        hold = self.bundle.manifest.latent.hold
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
        if not np.isfinite(mean).all():
            index = int(np.argmin(np.isfinite(mean)))
            raise InferenceError(f"policy answers {mean[index]} for {self._action.locate(index)}")
        if self.bundle.manifest.squash == "tanh":
            normalised = np.tanh(mean)
        else:
            normalised = np.clip(mean, -1.0, 1.0)
        self._period += 1
        return Action(normalised, self._scale * normalised, self._latent, self._latent_version)

    def _draw(self) -> None:
        # One read: the worker may swap the belief between two.
        belief = self._belief if self._trusted else self._prior
        exploration = self.bundle.manifest.latent.exploration
        self._latent = belief.sample(self._rng, exploration)
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
            )
        )

    def restore(self, data: bytes) -> None:
        """Return to a snapshot: from here on it answers as it did from there, to the last bit.

        The belief gets a version that this adapter has not used, so that none names two beliefs.
        Raises SnapshotError, with nothing changed, for damage or another bundle.
        """
        state = unseal(data, self.bundle.digest)
        if len(state.latent) != self._latent.nbytes:
            raise SnapshotError(
                f"latent takes {self._latent.nbytes} bytes; found {len(state.latent)}"
            )
        latent = np.frombuffer(state.latent, "<f4").astype(np.float32)
        if not np.isfinite(latent).all():
            raise SnapshotError("the stored latent is not finite")
        latent.setflags(write=False)
        rng = load_generator(state.generator)
        with self._memory():
            version = max(self._belief.version + 1, state.belief_version)
            self._belief = self._recall(state.memory, version)
        self._prior = structs.replace(self._prior, version=state.prior_version)
        self._rng, self._trusted = rng, state.trusted
        self._latent, self._latent_version = latent, state.latent_version
        self._in_episode, self._period = state.in_episode, state.period

    def restore_belief(self, data: bytes) -> Belief:
        """Return to the belief of a snapshot and to nothing else of it; returns it.

        An episode under way goes on, with a latent drawn from it at once. The belief gets a version
        that this adapter has not used. Raises SnapshotError, with nothing changed.
        """
        state = unseal(data, self.bundle.digest)
        with self._memory():
            version = max(self._belief.version + 1, state.belief_version)
            self._belief = self._recall(state.memory, version)
        if self._in_episode:
            self._draw()
        return self._belief

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

    @abstractmethod
    def _forget(self, version: int) -> Belief:
        """Empty the algorithm's memory and return the prior under that version."""

    @abstractmethod
    def _remember(self) -> bytes:
        """The algorithm's memory, for a snapshot."""

    @abstractmethod
    def _recall(self, memory: bytes, version: int) -> Belief:
        """Take over a memory and return its belief; SnapshotError, unchanged, if it is unfit."""


def make_adapter(bundle: PolicyBundle, seed: int) -> Adapter:
    """The adapter for the bundle's algorithm."""
    # Imported here, for each of them is built on this module.
    from adapt.adapters.fixed import FixedAdapter
    from adapt.adapters.gaussian import PearlAdapter
    from adapt.adapters.stepped import MaesnAdapter

    adapters: dict[str, type[Adapter]] = {
        "pearl": PearlAdapter,
        "maesn": MaesnAdapter,
        "none": FixedAdapter,
    }
    algorithm = bundle.manifest.algorithm
    if algorithm not in adapters:
        raise BundleError(f"no adapter for {algorithm!r}; there are {', '.join(adapters)}")
    return adapters[algorithm](bundle, seed)

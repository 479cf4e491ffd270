"""SteppedAdapter: a latent held for the episode, and between episodes a step on its belief.

Episodes that were drawn from one belief are gathered; once the bundle's number is there, the graph
`latent_step` answers the next belief (Gupta et al. 2018, arXiv 1802.07245). It is the step that was
meta-trained, so nothing here knows torch. Around it stands what a robot needs: nothing is learnt
from an episode that cannot be trusted, a step is bounded, and every belief can be returned to.
"""

from __future__ import annotations

from collections import deque
from typing import cast

import msgspec
import numpy as np
import numpy.typing as npt

from adapt.adapters.base import Adapter, Transition
from adapt.adapters.stored_episode import Rollout, SavedRollout, floats, revive
from adapt.belief.gaussian import Belief
from adapt.bundle.algorithms import Stepped
from adapt.bundle.policy_bundle import PolicyBundle
from adapt.errors import EpisodeError, LessonError, SnapshotError

Float64 = npt.NDArray[np.float64]

LEAST_SPREAD = 1e-6
"""Of the episodes' returns, against their size: below lies rounding, and no direction."""
HALVINGS = 40
"""Of a step that is too long; a step 2^-40 of the one asked for is none."""


class _Memory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """mean, log_std: (n_z,) little-endian float64. waiting: for a step. begun: not concluded."""

    mean: bytes
    log_std: bytes
    count: int
    waiting: list[SavedRollout]
    begun: list[SavedRollout]


class SteppedAdapter(Adapter):
    """See Adapter. `observe` only takes note; `conclude` may take a step on the belief.

    Not for two episodes at once: an episode is concluded before the next one's first transition.
    """

    variant = Stepped
    learns_from = "episodes"

    def __init__(self, bundle: PolicyBundle, seed: int) -> None:
        self._spec = cast("Stepped", bundle.manifest.algorithm)
        latent = bundle.manifest.latent
        self._draws = self._spec.draws(latent.hold)
        self._prior_mean = np.array(latent.prior_mean)
        self._prior_log_std = 0.5 * np.log(np.array(latent.prior_variance))
        # Begun by the thread that acts, finished by the one that learns; a deque's two ends are
        # safe for that.
        self._begun: deque[Rollout] = deque()
        self._revived: deque[Rollout] = deque()  # of the snapshot read last, see `restore`
        self._waiting: list[Rollout] = []
        self._mean, self._log_std = self._prior_mean, self._prior_log_std
        self._count = 0
        self._history: dict[int, tuple[Float64, Float64, int]] = {}
        super().__init__(bundle, seed)
        self._step = bundle.graphs["latent_step"].bind()
        self._step.inputs["step_sizes"][:] = self._spec.step_sizes

    @property
    def waiting(self) -> int:
        """Episodes gathered for the next step."""
        return len(self._waiting)

    def begin_episode(self) -> None:
        if not self._in_episode:
            self._begun.append(Rollout())
        super().begin_episode()

    def _draw(self) -> None:
        super()._draw()
        # One more than fits says as much as a thousand.
        if self._begun and len(self._begun[-1].draws) <= self._draws + 1:
            self._begun[-1].drew(self._latent, self._latent_version)

    def restore(self, data: bytes) -> None:
        super().restore(data)
        # Only here: `restore_belief` leaves the episode under way as it is.
        self._begun = self._revived

    def observe(self, transition: Transition) -> Belief:
        with self._memory_lock:
            if not self._begun:
                raise EpisodeError("observe outside an episode; begin_episode comes first")
            episode = self._begun[0]
            try:
                observation, _, _ = self._check(transition)
                if abs(transition.reward) > self._spec.max_reward:
                    raise LessonError(
                        f"reward is {transition.reward:g}; the bundle's are at most "
                        f"{self._spec.max_reward:g}"
                    )
            except Exception as error:
                # A hole in an episode would pass for a bad end.
                episode.spoilt = episode.spoilt or str(error)
                raise
            if len(episode.rewards) > self._spec.horizon:
                # Unfit as it is; what follows need not be kept.
                return self._belief
            episode.observations.append(observation.copy())
            episode.rewards.append(float(transition.reward))
            return self._belief

    def conclude(self, complete: bool = True) -> Belief:
        with self._memory_lock:
            if not self._begun:
                raise EpisodeError("conclude outside an episode; begin_episode comes first")
            episode = self._begun.popleft()
            if not self.adapting:
                return self._belief
            why = self._unfit(episode) if complete else "it was cut"
            if why:
                raise LessonError(why)
            self._waiting.append(episode)
            if len(self._waiting) == self._spec.episodes:
                episodes, self._waiting = self._waiting, []
                self._learn(episodes)
            return self._belief

    def rollback(self, version: int) -> Belief:
        """Return to the belief of that version, under a new one; what waits for a step is dropped.

        Raises LessonError naming the versions there are.
        """
        with self._memory_lock:
            if version not in self._history:
                raise LessonError(
                    f"no belief of version {version}; since the task began there are "
                    f"{', '.join(map(str, self._history))}"
                )
            self._waiting = []
            self._belief = self._adopt(*self._history[version], self._belief.version + 1)
            return self._belief

    def _unfit(self, episode: Rollout) -> str:
        """Why an episode cannot be learnt from; "" when it can."""
        steps, spec = len(episode.rewards), self._spec
        hold = self.bundle.manifest.latent.hold
        if episode.spoilt:
            return episode.spoilt
        if steps < 2:
            return f"it has {steps} transitions; expected at least 2"
        if steps > spec.horizon:
            return f"it has more transitions than the bundle's step takes, {spec.horizon}"
        if episode.version != self._belief.version:
            return (
                "its latent was not drawn from the belief in force alone "
                f"(version {self._belief.version})"
            )
        expected = -(-steps // hold) if hold else 1
        # The last observation is acted on before the episode is known to be over.
        if len(episode.draws) not in (expected, expected + bool(hold)):
            return f"{len(episode.draws)} latents were drawn; expected {expected}"
        return ""

    def _learn(self, episodes: list[Rollout]) -> None:
        """One step on as many episodes as the graph takes. Raises LessonError, belief as before."""
        returns = np.array([np.sum(self._counted(e)) for e in episodes])
        spread = float(returns.std())
        if not spread > LEAST_SPREAD * max(1.0, float(np.abs(returns).max())):
            raise LessonError(
                f"no step: all {len(episodes)} episodes returned {returns[0]:g}, which speaks for "
                "no direction"
            )
        self._fill(episodes)
        self._step.run()
        mean = self._step.outputs["new_mean"].astype(np.float64)
        log_std = self._step.outputs["new_log_std"].astype(np.float64)
        if not (np.isfinite(mean).all() and np.isfinite(log_std).all()):
            raise LessonError("no step: latent_step answers a belief that is not finite")
        mean, log_std = self._bounded(mean, log_std)
        if np.array_equal(mean, self._mean) and np.array_equal(log_std, self._log_std):
            raise LessonError("no step: the episodes' advantages are all zero")
        count = self._count + sum(len(e.rewards) for e in episodes)
        self._belief = self._adopt(mean, log_std, count, self._belief.version + 1)

    def _counted(self, episode: Rollout) -> Float64:
        """The episode's rewards (steps,), zero where they do not count."""
        rewards = np.array(episode.rewards)
        if self._spec.counted == "last":
            rewards[:-1] = 0.0
        return rewards

    def _fill(self, episodes: list[Rollout]) -> None:
        """Write the graph's inputs, padded with zeros."""
        spec, inputs = self._spec, self._step.inputs
        draws, n_z = self._draws, self._mean.size
        inputs["mean"][:], inputs["log_std"][:] = self._mean, self._log_std
        for name in ("latent", "observation", "reward", "mask"):
            inputs[name][:] = 0.0
        latent = inputs["latent"].reshape(spec.episodes, draws, n_z)
        observation = inputs["observation"].reshape(spec.episodes, spec.horizon, -1)
        reward = inputs["reward"].reshape(spec.episodes, spec.horizon)
        mask = inputs["mask"].reshape(spec.episodes, spec.horizon)
        for i, episode in enumerate(episodes):
            steps = len(episode.rewards)
            kept = episode.draws[:draws]
            latent[i, : len(kept)] = kept
            observation[i, :steps] = episode.observations
            reward[i, :steps] = self._counted(episode)
            mask[i, :steps] = 1.0

    def _bounded(self, mean: Float64, log_std: Float64) -> tuple[Float64, Float64]:
        """The new belief, or as much of the way to it as the bundle's bounds allow."""
        spec = self._spec
        low, high = spec.log_std_low, spec.log_std_high
        log_std = self._prior_log_std + np.clip(log_std - self._prior_log_std, low, high)
        away = (mean - self._prior_mean) / np.exp(self._prior_log_std)
        norm = float(np.linalg.norm(away))
        if norm > spec.max_norm:
            mean = self._prior_mean + (mean - self._prior_mean) * (spec.max_norm / norm)
        on_mean, on_log_std = mean - self._mean, log_std - self._log_std
        fraction = 1.0
        for _ in range(HALVINGS):
            reached = self._mean + fraction * on_mean, self._log_std + fraction * on_log_std
            if kl(*reached, self._mean, self._log_std) <= spec.max_kl:
                return reached
            fraction *= 0.5
        return self._mean, self._log_std

    def _adopt(self, mean: Float64, log_std: Float64, count: int, version: int) -> Belief:
        """Take over a Gaussian and return it as the belief to show."""
        self._mean, self._log_std, self._count = mean, log_std, count
        self._history[version] = (mean, log_std, count)
        shown, variance = mean.copy(), np.exp(2.0 * log_std)
        shown.setflags(write=False)
        variance.setflags(write=False)
        return Belief(shown, variance, count, version)

    def _forget(self, version: int) -> Belief:
        self._begun.clear()
        self._waiting = []
        self._history = {}
        return self._adopt(self._prior_mean, self._prior_log_std, 0, version)

    def _remember(self) -> bytes:
        mean, log_std = (a.astype("<f8").tobytes() for a in (self._mean, self._log_std))
        version = self._belief.version
        waiting, begun = (
            [e.save(version) for e in group] for group in (self._waiting, self._begun)
        )
        return msgspec.msgpack.encode(_Memory(mean, log_std, self._count, waiting, begun))

    def _recall(self, memory: bytes, version: int) -> Belief:
        try:
            saved = msgspec.msgpack.decode(memory, type=_Memory)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SnapshotError(f"not a memory of episodes: {error}") from error
        n_z = self._mean.size
        mean, log_std = (floats(data, "<f8", n_z) for data in (saved.mean, saved.log_std))
        if not mean.size == log_std.size == n_z:
            raise SnapshotError(f"belief of {mean.size} and {log_std.size} numbers; expected {n_z}")
        if len(saved.waiting) >= self._spec.episodes:
            raise SnapshotError(
                f"{len(saved.waiting)} episodes wait for a step on {self._spec.episodes}"
            )
        n_o = self._observation.size
        waiting = [revive(episode, version, n_o, n_z) for episode in saved.waiting]
        self._revived = deque(revive(episode, version, n_o, n_z) for episode in saved.begun)
        self._waiting = waiting
        return self._adopt(mean, log_std, saved.count, version)


def kl(mean: Float64, log_std: Float64, to_mean: Float64, to_log_std: Float64) -> float:
    """KL(N(mean, std) ‖ N(to_mean, to_std)) over (n_z,) [nat]."""
    ratio = np.exp(2.0 * (log_std - to_log_std))
    distance = ((mean - to_mean) * np.exp(-to_log_std)) ** 2
    return float(0.5 * np.sum(ratio + distance - 1.0 - 2.0 * (log_std - to_log_std)))

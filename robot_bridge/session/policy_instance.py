"""The policy of one robot: model, belief, guard, and the beliefs that it can go back to."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from adapt.adapters.base import Adapter
from adapt.adapters.registry import make_adapter
from adapt.adapters.snapshot import unseal
from adapt.belief.gaussian import Belief
from adapt.bundle.policy_bundle import PolicyBundle
from adapt.errors import PriorError, SnapshotError
from adapt.guard import Guard, GuardSettings, Verdict
from adapt.prior import MeasuredPrior, latent_prior
from robot_bridge.errors import StateError
from robot_bridge.protocol.messages import Float32
from robot_bridge.safety.limits import Limits

KEPT = 20  # beliefs that one robot can go back to ...
KEPT_BYTES = 16 * 1024 * 1024  # ... or as many as fit here


@dataclass(frozen=True)
class Kept:
    """A belief to go back to. number: counts up for as long as the robot is connected. cause: why
    it was kept. digest: of the bundle it belongs to. version, count: as the belief's own.
    time_ns: when, on the bridge's clock."""

    number: int
    cause: str
    digest: str
    version: int
    count: int
    time_ns: int
    snapshot: bytes


class PolicyInstance:
    """Belongs to the thread that acts. seed: of the latents. prior: measured, that beliefs of every
    task start from unless the task brings its own; None for the bundle's. Raises PriorError."""

    def __init__(
        self,
        bundle: PolicyBundle,
        seed: int,
        guard: GuardSettings,
        prior: MeasuredPrior | None = None,
    ) -> None:
        self.bundle = bundle
        self._default = self._prior = prior
        self.adapter: Adapter = _adapter(bundle, seed, prior)
        self.kept: list[Kept] = []
        self.verdict = Verdict(True, 0.0)
        self._seed = seed
        self._settings = guard
        self._guard = Guard(bundle.manifest, guard)
        self.limits = _limits(bundle, self._guard)
        self._number = 0
        self._left: dict[str, bytes] = {}  # by digest, what models knew when others took over

    @property
    def belief(self) -> Belief:
        return self.adapter.belief

    def begin_task(self, seed: int, task: int, prior: MeasuredPrior | None = None) -> None:
        """Meet a new task: a prior, and draws that depend on seed and task alone.

        prior: see the class. Raises PriorError, unchanged, where the bundle cannot express it.
        """
        # A new adapter, not a reset one: the draws of two tasks then have nothing in common.
        mixed = np.random.SeedSequence([seed, task]).generate_state(1, np.uint64)
        prior = prior or self._default
        self.adapter = _adapter(self.bundle, int(mixed[0]), prior)
        self._seed, self._prior = int(mixed[0]), prior
        # What another model believed concerned another task.
        self._left.clear()
        self._judge_anew()

    def adopt(self, bundle: PolicyBundle, in_episode: bool) -> str:
        """Let another model act: from its prior, or from what it believed of this task when it
        was replaced. Returns why it does not start from the measured prior, or "". Raises
        SnapshotError, unchanged, while the belief cannot be kept."""
        before, refused = self.adapter, ""
        left = before.snapshot()
        try:
            adapter = _adapter(bundle, self._seed, self._prior)
        except PriorError as error:
            adapter, refused = make_adapter(bundle, self._seed), str(error)
        guard = Guard(bundle.manifest, self._settings)
        limits = _limits(bundle, guard)
        if bundle.digest in self._left:
            adapter.restore_belief(self._left.pop(bundle.digest))
        if in_episode:
            adapter.begin_episode()
        adapter.adapting = before.adapting
        self._left[self.bundle.digest] = left
        self.bundle, self.adapter, self.limits, self._guard = bundle, adapter, limits, guard
        self._judge_anew()
        return refused

    def weigh(self, observation: Float32, sound: bool) -> bool:
        """Judge this robot, and fall back where it is outside of what training saw; True when the
        verdict has changed. observation: (n_o,), finite. sound: as its `limits` say."""
        before = self.verdict.inside
        self.verdict = self._guard.judge(self.adapter.belief, observation, sound)
        if self.verdict.inside == before:
            return False
        if self._settings.fallback == "prior":
            self.adapter.trust(self.verdict.inside)
        return True

    def foresee(self, belief: Belief) -> None:
        """Judge a belief that has just been learnt, so that `weigh` need not. For any thread."""
        self._guard.belief(belief)

    @property
    def must_hold(self) -> bool:
        """Whether the robot may not move, by the guard."""
        return self._settings.fallback == "hold" and not self.verdict.inside

    @property
    def fallback(self) -> str:
        """What a robot outside does."""
        return self._settings.fallback

    def keep(self, cause: str) -> Kept:
        """Keep the belief as it is; returns it. Raises SnapshotError while the adapter learns."""
        data = self.adapter.snapshot()
        belief = self.adapter.belief
        self._number += 1
        kept = Kept(
            self._number,
            cause,
            self.bundle.digest,
            belief.version,
            belief.count,
            time.monotonic_ns(),
            data,
        )
        self.kept.append(kept)
        while len(self.kept) > KEPT or sum(len(k.snapshot) for k in self.kept) > KEPT_BYTES:
            if len(self.kept) == 1:
                break
            del self.kept[0]
        return kept

    def restore(self, number: int) -> Kept:
        """Go back to a kept belief; what it replaces is kept first. Raises StateError for a number
        that is not kept or of another model, SnapshotError while the adapter learns."""
        found = [kept for kept in self.kept if kept.number == number]
        if not found:
            numbers = ", ".join(str(kept.number) for kept in self.kept)
            raise StateError(f"belief {number} is not kept; there are {numbers or 'none'}")
        (kept,) = found
        if kept.digest != self.bundle.digest:
            raise StateError(
                f"belief {number} is of the model {kept.digest[:12]}; {self.bundle.digest[:12]} "
                "acts now"
            )
        self.keep("before restore")
        self.recall(kept.snapshot)
        return kept

    def recall(self, snapshot: bytes) -> Belief:
        """Take over the belief of a snapshot. Raises SnapshotError, unchanged."""
        belief = self.adapter.restore_belief(snapshot)
        self._judge_anew()
        return belief

    def recall_stored(self, snapshot: bytes) -> Belief:
        """Take over a belief from an earlier connection, with the prior that it started from.
        Raises SnapshotError, unchanged, where another prior is given now: it was measured later."""
        stored = unseal(snapshot, self.bundle.digest).prior
        if self._prior is not None and stored != self.adapter.start.encode():
            raise SnapshotError("the belief started from another prior than the one given now")
        return self.recall(snapshot)

    def forget(self) -> None:
        """Back to the prior; what is forgotten is kept first. Raises SnapshotError while the
        adapter learns."""
        self.keep("before forget")
        self.recall(_adapter(self.bundle, self._seed, self._prior).snapshot())

    def _judge_anew(self) -> None:
        self._guard.reset()
        self.verdict = Verdict(True, 0.0)
        self.adapter.trust(True)


def _adapter(bundle: PolicyBundle, seed: int, prior: MeasuredPrior | None) -> Adapter:
    """An adapter that starts from a measured prior, if there is one. Raises PriorError."""
    adapter = make_adapter(bundle, seed)
    if prior is not None:
        adapter.start_from(latent_prior(prior, bundle.manifest))
    return adapter


def _limits(bundle: PolicyBundle, guard: Guard) -> Limits:
    manifest = bundle.manifest
    made = Limits(manifest.observation, manifest.action, manifest.limits, manifest.control_period)
    if guard.range is not None:
        made.confine(*guard.range)
    return made

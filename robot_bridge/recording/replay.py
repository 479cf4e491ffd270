"""Replays one robot's recorded observations and lessons, and compares the adapter's answers.

A recording's rows come from two threads, so an adaptation may be recorded after a step that already
used it. A step therefore waits until every lesson that it depends on has been read.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from adapt.adapters.registry import make_adapter
from adapt.adapters.snapshot import unseal
from adapt.bundle.policy_bundle import PolicyBundle
from adapt.errors import AcclimateError, SnapshotError
from robot_bridge.errors import described
from robot_bridge.protocol.messages import Float32
from robot_bridge.recording.replay_result import Array, Difference, ReplayResult, difference
from robot_bridge.recording.rows import (
    AdaptationRow,
    EndRow,
    StateRow,
    StepRow,
    gathered,
    numbers,
    unpacked,
)
from robot_bridge.safety.limits import Limits

# Most rows that wait for a lesson: a worker further behind has dropped transitions.
AHEAD = 4096
MISSED = "records before them are missing"
FAILED = "the policy had failed"
NO_LESSON = "a transition that was learnt is missing"

Told = StateRow | StepRow | EndRow


class _Gap(Exception):
    """A lesson that a step depends on was not recorded."""


class RobotReplay:
    """Takes one robot's rows in the order of the recording, and counts in `result`."""

    def __init__(self, bundle: PolicyBundle) -> None:
        manifest = bundle.manifest
        self.result = ReplayResult()
        self._bundle, self._manifest = bundle, manifest
        self._adapter = make_adapter(bundle, 0)
        self._limits = Limits(
            manifest.observation, manifest.action, manifest.limits, manifest.control_period
        )
        self._waiting: deque[tuple[int, Told] | None] = deque()
        self._lessons: deque[AdaptationRow | None] = deque()  # not yet learnt; None for a gap
        self._learner = 0  # number of the adapter
        self._version = 0  # of the recorded belief that the adapter has now
        self._number = -1  # of the last row
        self._lesson = -1  # number of the last lesson
        self._lost = "no state comes before them"  # why steps cannot be replayed, or ""
        self._opening = False  # whether the next step begins an episode
        self._before: Float32 | None = None  # the command before, if the robot tracked it
        self._blind = True  # whether `_before` is unknown
        # By how much a lesson that mattered raised the version: where episodes teach as a whole,
        # transitions only prepare for their ends.
        self._teaching = (0, 1) if self._adapter.learns_from == "episodes" else (1,)

    def take(self, number: int, row: Told) -> None:
        """Add a row of the bridge's loop."""
        self._waiting.append((number, row))
        self._go_on()

    def fail(self) -> None:
        """The policy failed in the last step: the adapter's random draws are unknown from here."""
        self._waiting.append(None)
        self._go_on()

    def learn(self, number: int, row: AdaptationRow) -> None:
        """Add a row of the adaptation, which may come after steps that depend on it."""
        if self._lesson >= 0 and number != self._lesson + 1:
            self._lessons.append(None)
        self._lesson = number
        if row.took_ns:
            self._lessons.append(row)
        self._go_on()

    def finish(self) -> None:
        """Replay what still waits: no row follows."""
        self._go_on(final=True)

    def _go_on(self, final: bool = False) -> None:
        while self._waiting:
            item = self._waiting[0]
            if item is None:
                self._lost = FAILED
            else:
                number, row = item
                if self._number >= 0 and number != self._number + 1:
                    self._lost, self._blind = MISSED, True
                patient = not final and len(self._waiting) < AHEAD
                if patient and not self._lost and not self._taught(row):
                    return
                self._number = number
                self._play(row)
            self._waiting.popleft()

    def _taught(self, row: Told) -> bool:
        """Whether every lesson that this row depends on has been read."""
        if not isinstance(row, StepRow):
            return True
        last = max(row.latent_version, row.belief_version)
        if self._version >= last or None in self._lessons:
            return True
        return any(
            lesson and lesson.adapter == self._learner and lesson.belief_version >= last
            for lesson in self._lessons
        )

    def _play(self, row: Told) -> None:
        if isinstance(row, StateRow):
            self._restore(row)
        elif isinstance(row, StepRow):
            self.result.bundles.add(row.digest)
            if self._lost:
                self.result.left_out[self._lost] += 1
            else:
                self._step(row)
            self._before, self._blind = self._sent(row), False

    def _restore(self, row: StateRow) -> None:
        # The state contains what was learnt before it.
        self._lessons = deque(
            lesson
            for lesson in self._lessons
            if lesson and lesson.adapter == row.adapter and lesson.time_ns >= row.time_ns
        )
        self._learner = row.adapter
        self._opening = row.cause == "episode"
        self.result.episodes += self._opening
        if self._opening:
            self._before, self._blind = None, False
        self._lost = self._unfit(row)
        if self._lost:
            return
        try:
            self._version = unseal(row.snapshot, self._bundle.digest).belief_version
            self._adapter.restore(row.snapshot)
        except SnapshotError as error:
            self._lost = f"{error}"
        self._adapter.adapting = row.adapting

    def _unfit(self, row: StateRow) -> str:
        """Why no replay can start from this state, or ""."""
        if row.digest != self._bundle.digest:
            return f"bundle {row.digest[:12]} acted"
        if not row.snapshot:
            return "their state could not be taken"
        # The limits compare each command with the one before.
        return MISSED if self._blind else ""

    def _sent(self, row: StepRow) -> Float32 | None:
        """The policy's command as sent; None where it was not asked, or has other fields."""
        fields = self._manifest.action
        if not isinstance(row.wanted, dict) or not all(f.name in row.command for f in fields):
            return None
        return gathered(row.command, fields)

    def _step(self, row: StepRow) -> None:
        try:
            found = self._repeat(row)
        except _Gap:
            self._lost = NO_LESSON
            self.result.left_out[NO_LESSON] += 1
            return
        # An edited recording, or one of another version, may hold anything.
        except (AcclimateError, KeyError, ValueError) as error:
            found = Difference(row.sequence, "answer", "given", f"none: {described(error)}")
            self._lost = "the replay had failed"
        if found is not None:
            self.result.different += 1
            self.result.first = self.result.first or found

    def _repeat(self, row: StepRow) -> Difference | None:
        """Do what the bridge did for this step; returns the first number that differs."""
        manifest, adapter = self._manifest, self._adapter
        self._learn_to(row.latent_version)
        if self._opening:
            adapter.begin_episode()
            self._opening = False
        pairs: list[tuple[str, Array, Array]] = []
        asked = isinstance(row.wanted, dict)
        if isinstance(row.wanted, dict):
            action = adapter.act(gathered(row.observation, manifest.observation))
            command, _ = self._limits.clamp(action.physical, self._before)
            recorded = gathered(row.command, manifest.action)
            pairs.append(("latent", numbers(row.latent), action.latent))
            pairs.append(("wanted", gathered(row.wanted, manifest.action), action.physical))
            pairs.append(("command", recorded, command))
        self._learn_to(row.belief_version)
        self.result.replayed += asked
        self.result.idle += not asked
        belief = adapter.belief
        pairs.append(("belief_mean", numbers(row.belief_mean, np.float64), belief.mean))
        pairs.append(("belief_variance", numbers(row.belief_variance, np.float64), belief.variance))
        for name, recorded, replayed in pairs:
            if recorded.tobytes() != replayed.tobytes():
                return difference(row.sequence, name, recorded, replayed)
        return None

    def _learn_to(self, version: int) -> None:
        """Learn as far as the recorded belief of that version."""
        while self._version < version:
            lesson = self._lessons.popleft() if self._lessons else None
            if lesson is None:
                raise _Gap
            # A lesson of a replaced adapter, or one that changed nothing.
            if lesson.adapter != self._learner:
                continue
            if lesson.belief_version - self._version in self._teaching:
                self._take(lesson)
                self._version = lesson.belief_version
                self.result.learnt += 1

    def _take(self, lesson: AdaptationRow) -> None:
        n_o, n_a = self._manifest.observation_size, self._manifest.action_size
        try:
            if lesson.transition:
                self._adapter.observe(unpacked(lesson, n_o, n_a))
            else:
                self._adapter.conclude(lesson.complete)
        except AcclimateError:
            # A refused lesson may have changed the adapter then, too.
            if not lesson.problem:
                raise

"""One robot's episodes: requested, open, over, learnt from, recorded."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Literal

from adapt.adapters.base import Adapter, Transition
from adapt.belief.gaussian import Belief
from adapt.bundle.policy_bundle import PolicyBundle
from adapt.errors import SnapshotError
from adapt.guard import GuardSettings
from adapt.prior import MeasuredPrior
from robot_bridge.errors import BridgeError, ProbeError
from robot_bridge.probing.limits import ProbeSettings
from robot_bridge.protocol.messages import (
    Begin,
    Flag,
    Float32,
    Observation,
    Outcome,
    Ready,
    ResetRequest,
)
from robot_bridge.protocol.operator_messages import EpisodeRecord
from robot_bridge.session.adaptation_worker import AdaptationWorker
from robot_bridge.session.episode_recorder import Episode
from robot_bridge.session.event_throttle import EventThrottle
from robot_bridge.session.policy_instance import Kept, PolicyInstance
from robot_bridge.session.probing_episode import ProbingEpisode
from robot_bridge.session.snapshot_publisher import SnapshotPublisher
from robot_bridge.telemetry.observers import Taps
from robot_bridge.telemetry.records import EndRecord

# An episode's record waits so long for a worker that is behind, or hangs [s].
SETTLE = 5.0
# A request for an episode that the robot has not begun after so long is given up [s].
BEGINNING = 120.0
# Between two tries at a model's swap while the robot's worker hangs: each blocks the loop for
# 50 ms [s].
RETRY = 5.0
# An episode without an observation for so long is cut when the next one is requested [s].
STALLED = 10.0
# Bits as plain numbers: an operation on enum members takes a microsecond.
FIRST, TERMINAL, UNAPPLIED = int(Flag.FIRST), int(Flag.TERMINAL), int(Flag.UNAPPLIED)
# Lessons that may wait for a loop that is too busy to hand them over.
PENDING = 8


class EpisodeLifecycle:
    """The episodes of one robot, and the policy that acts and learns in them. See `RobotSession`
    for the arguments."""

    def __init__(
        self,
        name: str,
        bundle: PolicyBundle,
        seed: int,
        simulated_time: bool,
        taps: Taps | None,
        shadow: bool,
        guard: GuardSettings | None,
        prior: MeasuredPrior | None = None,
        probe: ProbeSettings | None = None,
        probes: bool = False,
    ) -> None:
        self.name = name
        self.simulated_time = simulated_time
        # Whether each transition is learnt from before the next action.
        self._in_step = simulated_time or bundle.manifest.synchronous
        self.policy = PolicyInstance(bundle, seed, guard or GuardSettings(), prior)
        self.probing = ProbingEpisode(probe or ProbeSettings(), probes, shadow)
        self._shadow = shadow
        self._coming: tuple[PolicyBundle, bool] | None = None  # a model to swap in; whether at once
        self._retry = 0.0  # when a swap that failed is tried again [s]
        self._taps = taps or Taps(())
        told = self._taps.adapted if self._taps else None
        self._adaptation = AdaptationWorker(
            not self._in_step, robot=name, told=told, learnt=self.policy.foresee
        )
        self._begin: Begin | None = None  # requested by an operator, not yet started
        self._begin_by = 0.0  # when the request expires [s]
        self._observed_ns = 0  # when the last observation came
        self._ready = Ready()
        self._episode: Episode | None = None
        self._outcome: Outcome | None = None
        self._over = False  # whether the open episode has had its last observation
        self._ended = 0.0  # when the driver said so [s]
        self._records: list[EpisodeRecord] = []  # not yet taken by `finished`
        self._last: tuple[Observation, Float32] | None = None  # with the command that answered it
        # To be learnt from once the answers have left: adapter, observation, command, observation.
        self._lessons: deque[tuple[Adapter, Observation, Float32, Observation]] = deque()
        self.notices = EventThrottle(self._note)
        self._snapshots = SnapshotPublisher(name, self.policy, self._taps, self.notices)

    def begin(self, begin: Begin) -> ResetRequest:
        """Prepare for an operator's episode. Raises BridgeError while another is under way,
        PriorError for a prior that the bundle cannot express, ProbeError where it cannot probe."""
        idle = time.monotonic() - self._observed_ns * 1e-9
        if self._episode is not None and not self.settling and idle > STALLED:
            text = f"nothing measured for {idle:.0f} s, and another episode is asked for"
            self._cut("episode_stalled", text)
        if self._begin or self._episode or self._records:
            raise BridgeError(f"robot {self.name!r} is busy with another episode")
        limits = self.probing.prepare(self.name, begin, self.policy.bundle)
        anew = begin.new_task or begin.prior is not None
        if anew:
            self.policy.begin_task(begin.seed, begin.task, begin.prior)
        self.policy.adapter.adapting = begin.adapting
        if anew:
            self.keep("task" if begin.new_task else "prior")
        self._begin, self._ready = begin, Ready()
        self._begin_by = time.monotonic() + BEGINNING
        return ResetRequest(begin.task, begin.episode, begin.seed, begin.new_task, limits)

    def ready(self, ready: Ready) -> None:
        """The robot stands at the start."""
        self._ready = ready

    def refused(self) -> None:
        """The robot will not move: an operator's request is void."""
        self._begin = None

    @property
    def no_probing(self) -> str:
        """Why the robot cannot probe here, or ""."""
        try:
            self.probing.check(self.name, self.policy.bundle)
        except ProbeError as error:
            return str(error)
        return ""

    @property
    def running(self) -> bool:
        """Whether an episode is open and has not had its last observation."""
        return self._episode is not None and not self._over

    def observed(self, flags: int, received_ns: int) -> None:
        """An observation with these flags has come; FIRST opens an episode. received_ns: when, on
        the bridge's clock [ns]."""
        self._observed_ns = received_ns
        if flags & FIRST:
            self._open()

    def learn(self, observation: Observation, flags: int) -> None:
        """Keep what came of the last command, to be learnt from; in simulated time at once."""
        if self._last is None or self._shadow or flags & UNAPPLIED:
            return
        self._lessons.append((self.policy.adapter, *self._last, observation))
        if self._in_step:
            self.hand_over()

    def last_observed(self) -> None:
        """The open episode has had its last observation."""
        self._last, self._over = None, True

    def interrupt(self) -> None:
        """The robot stands still: nothing is learnt across the gap."""
        self._last = None

    def pass_over(self) -> None:
        """An observation gets no answer: a step like any other, with nothing to learn from."""
        self.interrupt()
        if self._episode is not None and not self._over:
            self._episode.skip()

    def followed(self, observation: Observation, command: Float32) -> None:
        """The policy answered an observation with this command (n_a,)."""
        self._last = observation, command

    def record(
        self, observation: Observation, command: Float32, acted: bool, belief: Belief
    ) -> None:
        """Count one step of the open episode; keep it if the policy acted. To be called once the
        answer has left."""
        if self._episode is not None and not self._over:
            if acted:
                self._episode.add(observation.payload, command, observation.reward, belief)
            else:
                self._episode.skip()
        if len(self._lessons) > PENDING:
            self.hand_over()

    @property
    def digest(self) -> str:
        """Of the bundle that answers."""
        return self.policy.bundle.digest

    @property
    def next_digest(self) -> str:
        """Of the bundle that waits for its turn; "" without one."""
        return self._coming[0].digest if self._coming else ""

    @property
    def step(self) -> int:
        """Of the open episode; 0 without one."""
        return self._episode.step if self._episode else 0

    @property
    def phase(self) -> Literal["none", "open", "over"]:
        """Of an episode."""
        return "none" if self._episode is None else "over" if self._over else "open"

    @property
    def waiting(self) -> int:
        """Transitions that have not been learnt from yet."""
        return self._adaptation.waiting

    @property
    def settling(self) -> bool:
        """Whether an episode is over but not yet learnt from."""
        return self._outcome is not None

    def adopt(self, bundle: PolicyBundle, at_once: bool) -> None:
        """Let another model act: now, or from the end of the open episode on. Its fields, scales
        and period are those of the one before."""
        self._coming = bundle, at_once
        self._turn()

    def _turn(self) -> None:
        """Swap in the model that waits, if it may."""
        if self._coming is None or not (self._coming[1] or self._episode is None):
            return
        if not self._adaptation.settled and time.monotonic() < self._retry:
            return
        (bundle, _), before = self._coming, self.digest
        try:
            refused = self.policy.adopt(bundle, self._episode is not None)
        except SnapshotError as error:
            # The worker is learning, or hangs.
            self._retry = time.monotonic() + RETRY
            self.notices.last("model_waits", str(error))
            return
        self._coming = None
        if self._episode is not None:
            self._episode.restart(self.policy.belief)
        self.notices.say("model_swapped", f"{bundle.digest[:12]} acts in place of {before[:12]}")
        if refused:
            self.notices.say("prior_refused", f"it starts from its own prior: {refused}")
        self.keep("model")

    def restore(self, number: int) -> Kept:
        """Go back to a kept belief. Raises StateError, SnapshotError."""
        kept = self.policy.restore(number)
        self._changed("restore")
        return kept

    def recall(self, snapshot: bytes) -> Belief:
        """Go on with a belief from an earlier connection. Raises SnapshotError."""
        belief = self.policy.recall_stored(snapshot)
        self._changed("recall")
        return belief

    def forget(self) -> None:
        """Back to the prior. Raises SnapshotError."""
        self.policy.forget()
        self._changed("forget")

    def _changed(self, cause: str) -> None:
        """The belief is another one, by no transition."""
        if self._episode is not None:
            self._episode.note(f"step {self._episode.step}: belief: {cause}")
        self.keep(cause)

    def keep(self, cause: str) -> None:
        """Tell recorders what the adapter knows; see `SnapshotPublisher.tell`."""
        self._snapshots.tell(cause, self._episode.begin if self._episode else None)

    def _open(self) -> None:
        if self._outcome is not None:
            # The next episode began at once. Waiting for the worker here would delay the answer.
            self._conclude()
        elif self._episode is not None:
            self._cut("episode_cut", "a new episode starts before the last one ended")
        self._turn()
        limits = self.policy.limits
        width = limits.observation_size + limits.action_size
        self._episode = Episode(self.name, self._begin, self.policy.belief, width)
        self._episode.ready = self._ready
        self.probing.open(self._begin, self._ready, self.policy.bundle)
        self._begin = self._outcome = self._last = None
        self._over = False
        self.notices.restart()
        self.keep("episode")
        self.policy.adapter.begin_episode()

    def _cut(self, name: str, text: str) -> None:
        self.notices.last(name, text)
        self._lesson_over(complete=False)
        self.policy.adapter.leave_episode(complete=False)
        self._episode = self._last = None

    def hand_over(self, here: bool = False) -> None:
        """Give the worker what waits to be learnt from. To be called when the answers have left:
        before, the worker would compete with them for the interpreter. here: see
        `AdaptationWorker.learn`."""
        while self._lessons:
            adapter, before, command, observation = self._lessons.popleft()
            # The action as sent, after the limits: that is what the robot did.
            action = self.policy.limits.normalised(command)
            terminal = bool(int(observation.flags) & TERMINAL)
            seen, reward = observation.payload, observation.reward
            self._adaptation.learn(
                adapter, Transition(before.payload, action, reward, seen, terminal), here
            )

    def end(self, outcome: Outcome) -> None:
        """The robot says that its episode is over; see `finished`."""
        if self._episode is None:
            self.notices.last("no_episode", "the end of an episode that never began")
            self._begin = None
            return
        # Without its last observation an episode lacks what came of its last action.
        self._lesson_over(complete=self._over)
        self._outcome, self._over = outcome, True
        self._ended = time.monotonic()

    def _lesson_over(self, complete: bool) -> None:
        self.hand_over()
        # In shadow nothing was learnt from, so there is nothing to conclude.
        if not self._shadow:
            self._adaptation.conclude(self.policy.adapter, complete)

    def finished(self) -> Iterator[EpisodeRecord]:
        """The record of an episode that ended, once everything in it has been learnt from, or the
        next one has begun, or the worker is SETTLE behind. Gives up requests that expired."""
        if self._begin is not None and time.monotonic() > self._begin_by:
            self._begin = None
            self.notices.say("begin_expired", f"no episode within {BEGINNING:g} s of the request")
        if self._adaptation.settled:
            self._conclude()
        elif self._outcome is not None and time.monotonic() - self._ended > SETTLE:
            text = f"{self.waiting} transitions are not learnt from {SETTLE:g} s after the episode"
            self.notices.say("adaptation_late", text)
            self._conclude()
        self._turn()
        records, self._records = self._records, []
        yield from records

    def _conclude(self) -> None:
        episode, outcome = self._episode, self._outcome
        if episode is None or outcome is None:
            return
        self._gather()
        self.policy.adapter.leave_episode()
        begin = episode.begin
        task, number = (begin.task, begin.episode) if begin else (-1, -1)
        if self._taps.recording:
            self._taps.ended(EndRecord(self.name, time.monotonic_ns(), task, number, outcome))
        record = episode.record(outcome, self.policy.belief, self.probing.report())
        self._episode = self._outcome = self._last = None
        if record is not None:
            self._records.append(record)
        self._snapshots.put_aside(f"task {task}, episode {number}" if begin else "episode")

    def unsaved(self) -> Kept | None:
        """The latest belief that has been kept since the last call."""
        return self._snapshots.unsaved()

    def events(self) -> list[tuple[str, str]]:
        """(name, text) of what went wrong since the last call."""
        self._gather()
        return self.notices.take()

    def close(self) -> None:
        """Let the worker end without waiting for it, and keep the belief; see `join`."""
        if self._adaptation.settled:
            self._snapshots.put_aside("the robot left")
        self._adaptation.close()

    def join(self, timeout: float) -> None:
        """After `close`: wait for the worker, at most timeout [s]."""
        self._adaptation.join(timeout)

    def _gather(self) -> None:
        for text in self._adaptation.problems():
            self.notices.count("adaptation_problem", text)

    def _note(self, name: str, text: str) -> None:
        if self._episode is not None:
            self._episode.note(f"step {self._episode.step}: {name}: {text}")

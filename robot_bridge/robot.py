"""One connected robot as the bridge sees it: its adapter, its episode, its answers. No sockets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Literal

import numpy as np

from adapt.adapter import Adapter, Transition
from adapt.belief import Belief
from adapt.bundle import PolicyBundle
from adapt.errors import SnapshotError
from adapt.guard import GuardSettings
from robot_bridge.adaptation import Adaptation
from robot_bridge.answer import Answer
from robot_bridge.episode import Episode
from robot_bridge.errors import BridgeError
from robot_bridge.messages import (
    Begin,
    Command,
    EpisodeRecord,
    Fault,
    Flag,
    Float32,
    Mode,
    Observation,
    Outcome,
    Ready,
    ResetRequest,
)
from robot_bridge.mind import Kept, Mind
from robot_bridge.notices import Notices
from robot_bridge.pace import Pace, PaceSettings
from robot_bridge.tap import EndRecord, StateRecord
from robot_bridge.taps import Taps

# How long an episode's record waits for a worker that is behind, or hangs [s].
SETTLE = 5.0
# A robot that has not begun so long after it was asked will not; others shall not wait for it [s].
BEGINNING = 120.0
# An episode without an observation for so long is over when the next one is asked for [s].
STALLED = 10.0


class Robot:
    """Answers observations and learns from them.

    seed: of the latents, until an operator begins a task with another. simulated_time: each
    transition is learnt from before the next action. validity_ns: of every command [ns]. taps: hear
    of every transition, on the thread that learnt from it, and of what a replay starts from.
    shadow: answer what would be commanded, marked as such, and learn nothing: nobody follows it.
    guard, pace: when it is outside of what training saw, and when the bridge is too slow for it.
    """

    def __init__(
        self,
        name: str,
        bundle: PolicyBundle,
        seed: int,
        simulated_time: bool,
        validity_ns: int,
        taps: Taps | None = None,
        shadow: bool = False,
        guard: GuardSettings | None = None,
        pace: PaceSettings | None = None,
    ) -> None:
        self._shadow = shadow
        self.halted = ""  # why it is stopped by the bridge
        self.name = name
        self.simulated_time = simulated_time
        self.mind = Mind(bundle, seed, guard or GuardSettings())
        self.pace = Pace(pace or PaceSettings(), round(bundle.manifest.control_period * 1e9))
        self.mode: Mode | None = None  # of the last answer
        self._coming: tuple[PolicyBundle, bool] | None = None  # a model, and whether at once
        self._taps = taps or Taps(())
        told = self._taps.adapted if self._taps else None
        self._adaptation = Adaptation(not simulated_time, robot=name, told=told)
        self._validity_ns = validity_ns
        self._begin: Begin | None = None  # asked for by an operator, not yet started
        self._begin_by = 0.0  # when that is off [s]
        self._observed = 0.0  # when the last observation came [s]
        self._ready = Ready()
        self._episode: Episode | None = None
        self._outcome: Outcome | None = None
        self._over = False  # whether the open episode has had its last observation
        self._ended = 0.0  # when the driver said so [s]
        self._unsaved: Kept | None = None
        self._records: list[EpisodeRecord] = []  # not yet taken by `finished`
        self._sequence = -1
        self._last: tuple[Observation, Float32] | None = None  # with the command that answered it
        self._measured: Float32 | None = None  # by the last observation that made sense
        # To be learnt from once the answer has left: adapter, what was seen and done, what came.
        self._lesson: tuple[Adapter, Observation, Float32, Observation] | None = None
        self._notices = Notices(self._note)

    def begin(self, begin: Begin) -> ResetRequest:
        """Prepare for an operator's episode. Raises BridgeError while another is under way."""
        idle = time.monotonic() - self._observed
        if self._episode is not None and not self.settling and idle > STALLED:
            text = f"nothing measured for {idle:.0f} s, and another episode is asked for"
            self._cut("episode_stalled", text)
        if self._begin or self._episode or self._records:
            raise BridgeError(f"robot {self.name!r} is busy with another episode")
        if begin.new_task:
            self.mind.begin_task(begin.seed, begin.task)
        self._adapter.adapting = begin.adapting
        if begin.new_task:
            self._keep("task")
        self._begin, self._ready = begin, Ready()
        self._begin_by = time.monotonic() + BEGINNING
        return ResetRequest(begin.task, begin.episode, begin.seed, begin.new_task)

    def ready(self, ready: Ready) -> None:
        """The robot stands at the start."""
        self._ready = ready

    def refused(self) -> None:
        """The robot will not move: what an operator asked for is off."""
        self._begin = None

    def halt(self, reason: str) -> None:
        """Answer nothing but stop, until `unhalt`."""
        self.halted = reason
        self._begin = None

    def unhalt(self) -> None:
        """An operator has released the robot."""
        self.halted = ""
        self.pace.reset()

    @property
    def _adapter(self) -> Adapter:
        return self.mind.adapter

    @property
    def digest(self) -> str:
        """Of the bundle that answers."""
        return self.mind.bundle.digest

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

    def adopt(self, bundle: PolicyBundle, at_once: bool) -> None:
        """Let another model act: now, or from the end of the open episode on. Its fields, scales
        and period are those of the one before."""
        self._coming = bundle, at_once
        self._turn()

    def restore(self, number: int) -> Kept:
        """Go back to a kept belief. Raises StateError, SnapshotError."""
        kept = self.mind.restore(number)
        self._changed("restore")
        return kept

    def recall(self, snapshot: bytes) -> Belief:
        """Go on with a belief from an earlier connection. Raises SnapshotError."""
        belief = self.mind.recall(snapshot)
        self._changed("recall")
        return belief

    def forget(self) -> None:
        """Back to the prior. Raises SnapshotError."""
        self.mind.forget()
        self._changed("forget")

    def answer(self, observation: Observation) -> Answer | None:
        """The answer to one observation; None for one that was seen before."""
        if observation.sequence <= self._sequence:
            self._notices.last(
                "sequence_repeated",
                f"observation {observation.sequence} after {self._sequence}; left aside",
            )
            return None
        self._sequence = observation.sequence
        self._observed = time.monotonic()
        self.answered()
        try:
            answer = self._judged(observation)
        # A fault of ours, or of a library's, is one robot's and for one period: it stands still,
        # people hear of it, and the others do not notice.
        except Exception as error:
            self._notices.last("answer_failed", repr(error))
            answer = self._held(observation)
        self.mode = answer.command.mode
        return answer

    def _judged(self, observation: Observation) -> Answer:
        if observation.flags & Flag.FIRST:
            self._open()
        episode = self._episode
        name, text = self._wrong(observation)
        if name or episode is None:
            self._notices.last(name, text)
            self._measured = None
            return self._held(observation)
        broken = self.mind.limits.broken(observation.payload, self._measured)
        self._measured = observation.payload
        self._learn(observation)
        if observation.flags & Flag.LAST:
            self._last, self._over = None, True
            return self._still(observation, broken[0] if broken else Mode.HOLD)
        if broken:
            mode, text = broken
            self._notices.last("limit_broken", text)
            return self._held(observation, mode)
        return self._act(observation, episode)

    def _held(self, observation: Observation, mode: Mode = Mode.HOLD) -> Answer:
        """Stand still, or go limp; within an episode that is a step like any other."""
        # Nothing may be learnt across a gap.
        self._last = None
        if self._episode is not None and not self._over:
            self._episode.skip()
        stop = self.halted or observation.faults
        return self._still(observation, Mode.STOP if stop else mode)

    def _act(self, observation: Observation, episode: Episode) -> Answer:
        mind = self.mind
        if mind.weigh(observation.payload):
            verdict = mind.verdict
            self._notices.say(
                "guard_inside" if verdict.inside else "guard_outside",
                f"{verdict.reason or 'as training saw it again'}; fallback: {mind.fallback}",
            )
            self._keep("guard")
        if mind.must_hold:
            return self._held(observation)
        try:
            action = mind.act(observation.payload)
            before = self._last[1] if self._last else None
            payload, _ = mind.limits.clamp(action.physical, before)
        # Whatever the runtime raises; onnxruntime's exceptions share no base of their own.
        except Exception as error:
            self._notices.last("policy_failed", str(error) or repr(error))
            return self._held(observation)
        self._notices.well()
        episode.add(observation.payload, payload, observation.reward, self._adapter.belief)
        self._last = observation, payload
        version = action.belief_version
        mode = Mode.HOLD if self._shadow else Mode.TRACK
        command = Command(
            observation.sequence, self._validity_ns, mode, payload, version, shadow=self._shadow
        )
        return self._explained(command, action.physical)

    def _learn(self, observation: Observation) -> None:
        if self._last is None or self._shadow or observation.flags & Flag.UNAPPLIED:
            return
        self._lesson = (self._adapter, *self._last, observation)
        if self.simulated_time:
            self.answered()

    def answered(self) -> None:
        """The answer is on its way: from here on a worker may have the processor. Handed over any
        earlier, a lesson would compete with the answer for the interpreter."""
        if self._lesson is None:
            return
        (adapter, before, command, observation), self._lesson = self._lesson, None
        # The action as sent, after the limits: that is what the robot did.
        action = np.clip(command / self.mind.limits.scale, -1.0, 1.0)
        terminal = bool(observation.flags & Flag.TERMINAL)
        self._adaptation.learn(
            adapter,
            Transition(before.payload, action, observation.reward, observation.payload, terminal),
        )

    def _wrong(self, observation: Observation) -> tuple[str, str]:
        """Name and text of what forbids motion; empty when nothing does."""
        if self.halted:
            return "robot_halted", self.halted
        if observation.faults:
            return "robot_fault", f"the robot reports {Fault(observation.faults)!r}"
        if self._episode is None or self._over:
            return "no_episode", "an observation outside an episode; one starts with flag FIRST"
        if text := self.mind.limits.invalid(observation.payload):
            return "observation_invalid", text
        if not np.isfinite(observation.reward):
            return "observation_invalid", f"reward is {observation.reward}; expected a number"
        return "", ""

    def _still(self, observation: Observation, mode: Mode) -> Answer:
        payload = np.zeros(self.mind.limits.action_size, np.float32)
        version = self._adapter.belief.version
        command = Command(
            observation.sequence, self._validity_ns, mode, payload, version, shadow=self._shadow
        )
        return self._explained(command, None)

    def _explained(self, command: Command, wanted: Float32 | None) -> Answer:
        adapter = self._adapter
        return Answer(
            command,
            wanted,
            adapter.latent,
            adapter.latent_version,
            adapter.belief,
            adapter.bundle.digest,
        )

    def _open(self) -> None:
        if self._outcome is not None:
            # Both came at once. Waiting for the worker here would delay the answer.
            self._conclude()
        elif self._episode is not None:
            self._cut("episode_cut", "a new episode starts before the last one ended")
        self._turn()
        limits = self.mind.limits
        width = limits.observation_size + limits.action_size
        self._episode = Episode(self.name, self._begin, self.mind.belief, width)
        self._episode.ready = self._ready
        self._begin = self._outcome = self._last = self._measured = None
        self._over = False
        self._notices.restart()
        self._keep("episode")
        self._adapter.begin_episode()

    def _cut(self, name: str, text: str) -> None:
        self._notices.last(name, text)
        self._lesson_over(complete=False)
        self._adapter.end_episode()
        self._episode = self._last = None

    def _turn(self) -> None:
        """Let the model that waits take over, if its time has come."""
        if self._coming is None or not (self._coming[1] or self._episode is None):
            return
        (bundle, _), before = self._coming, self.digest
        try:
            self.mind.adopt(bundle, self._episode is not None)
        except SnapshotError as error:
            # The worker is at it; there is another turn in a moment.
            self._notices.last("model_waits", str(error))
            return
        self._coming = None
        if self._episode is not None:
            self._episode.restart(self.mind.belief)
        self._notices.say("model_swapped", f"{bundle.digest[:12]} acts in place of {before[:12]}")
        self._keep("model")

    def _changed(self, cause: str) -> None:
        """The belief is another one, by no transition."""
        if self._episode is not None:
            self._episode.note(f"step {self._episode.step}: belief: {cause}")
        self._keep(cause)

    def _keep(self, cause: str) -> None:
        """Tell recorders what the adapter knows, whenever it changes by anything but `act` and
        `observe`: a replay goes on from there."""
        if not self._taps.recording:
            return
        begin = self._episode.begin if self._episode else None
        numbers = (begin.task, begin.episode, begin.seed) if begin else ()
        # Before the snapshot: what was learnt before this moment is in it.
        now_ns = time.monotonic_ns()
        try:
            snapshot = self._adapter.snapshot()
        except SnapshotError as error:
            self._notices.last("state_not_recorded", f"{cause}: {error}")
            snapshot = b""
        self._taps.state(
            StateRecord(
                self.name,
                now_ns,
                cause,
                self.digest,
                snapshot,
                self._adapter.adapting,
                *numbers,
                # As long as one is still learning, no other has its address.
                adapter=id(self._adapter),
            )
        )

    def end(self, outcome: Outcome) -> None:
        """The robot says that its episode is over; see `finished`."""
        if self._episode is None:
            self._notices.last("no_episode", "the end of an episode that never began")
            self._begin = None
            return
        # Without its last observation an episode lacks what came of its last action.
        self._lesson_over(complete=self._over)
        self._outcome, self._over = outcome, True
        self._ended = time.monotonic()

    def _lesson_over(self, complete: bool) -> None:
        self.answered()
        # In shadow nothing was learnt from, so there is nothing to conclude.
        if not self._shadow:
            self._adaptation.conclude(self._adapter, complete)

    @property
    def settling(self) -> bool:
        """Whether an episode is over but not yet learnt from."""
        return self._outcome is not None

    def finished(self) -> Iterator[EpisodeRecord]:
        """The record of an episode that ended, once everything in it has been learnt from, or the
        next one has begun, or the worker is SETTLE behind. What waits for too long is given up."""
        if self._begin is not None and time.monotonic() > self._begin_by:
            self._begin = None
            self._notices.say("begin_expired", f"no episode within {BEGINNING:g} s of the request")
        if self._adaptation.settled:
            self._conclude()
        elif self._outcome is not None and time.monotonic() - self._ended > SETTLE:
            text = f"{self.waiting} transitions are not learnt from {SETTLE:g} s after the episode"
            self._notices.say("adaptation_late", text)
            self._conclude()
        self._turn()
        records, self._records = self._records, []
        yield from records

    def _conclude(self) -> None:
        episode, outcome = self._episode, self._outcome
        if episode is None or outcome is None:
            return
        self._gather()
        self._adapter.end_episode()
        begin = episode.begin
        task, number = (begin.task, begin.episode) if begin else (-1, -1)
        if self._taps.recording:
            self._taps.ended(EndRecord(self.name, time.monotonic_ns(), task, number, outcome))
        record = episode.record(outcome, self.mind.belief)
        self._episode = self._outcome = self._last = None
        if record is not None:
            self._records.append(record)
        self._put_aside(f"task {task}, episode {number}" if begin else "episode")

    def _put_aside(self, cause: str) -> None:
        """Keep the belief if it is another than the one kept last."""
        mind, kept = self.mind, self.mind.kept
        latest = (kept[-1].digest, kept[-1].version) if kept else ("", 0)
        if (self.digest, mind.belief.version) == latest or not mind.belief.count:
            return
        try:
            self._unsaved = mind.keep(cause)
        except SnapshotError as error:
            self._notices.last("belief_not_kept", str(error))

    def unsaved(self) -> Kept | None:
        """The latest belief that has been kept since the last call."""
        kept, self._unsaved = self._unsaved, None
        return kept

    def events(self) -> list[tuple[str, str]]:
        """(name, text) of what went wrong since the last call."""
        self._gather()
        return self._notices.take()

    def close(self) -> None:
        """Let the worker end, without waiting for it, and put the belief aside; see `join`."""
        if self._adaptation.settled:
            self._put_aside("the robot left")
        self._adaptation.close()

    def join(self, timeout: float) -> None:
        """After `close`: wait for the worker, at most timeout [s]."""
        self._adaptation.join(timeout)

    def _gather(self) -> None:
        for text in self._adaptation.problems():
            self._notices.count("adaptation_problem", text)

    def _note(self, name: str, text: str) -> None:
        if self._episode is not None:
            self._episode.note(f"step {self._episode.step}: {name}: {text}")

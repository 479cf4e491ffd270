"""One connected robot as the bridge sees it: its adapter, its episode, its answers. No sockets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from adapt.adapter import Transition, make_adapter
from adapt.belief import Belief
from adapt.bundle import PolicyBundle
from adapt.errors import AcclimateError
from robot_bridge.adaptation import Adaptation
from robot_bridge.episode import Episode
from robot_bridge.errors import BridgeError
from robot_bridge.limits import Limits
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
from robot_bridge.tap import EndRecord, StateRecord
from robot_bridge.taps import Taps


@dataclass(frozen=True, eq=False)
class Answer:
    """A command and what explains it.

    wanted: (n_a,) what the policy asked for before the limits, None where it was not asked.
    latent: (n_z,) in force, drawn from the belief of latent_version. belief: in force.
    """

    command: Command
    wanted: Float32 | None
    latent: Float32
    latent_version: int
    belief: Belief


class Robot:
    """Answers observations and learns from them.

    seed: of the latents, until an operator begins a task with another. simulated_time: each
    transition is learnt from before the next action. validity_ns: of every command [ns]. taps: hear
    of every transition, on the thread that learnt from it, and of what a replay starts from.
    shadow: answer what would be commanded, marked as such, and learn nothing: nobody follows it.
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
    ) -> None:
        manifest = bundle.manifest
        self._shadow = shadow
        self._halted = ""
        self.name = name
        self._bundle = bundle
        self._adapter = make_adapter(bundle, seed)
        self._taps = taps or Taps(())
        told = self._taps.adapted if self._taps else None
        self._adaptation = Adaptation(not simulated_time, robot=name, told=told)
        self._limits = Limits(
            manifest.observation, manifest.action, manifest.limits, manifest.control_period
        )
        self._validity_ns = validity_ns
        self._begin: Begin | None = None  # asked for by an operator, not yet started
        self._ready = Ready()
        self._episode: Episode | None = None
        self._outcome: Outcome | None = None
        self._over = False  # whether the open episode has had its last observation
        self._records: list[EpisodeRecord] = []  # not yet taken by `finished`
        self._sequence = -1
        self._last: tuple[Observation, Float32] | None = None  # with the command that answered it
        self._events: list[tuple[str, str]] = []
        self._trouble = ""  # the event of the step before: one that lasts is told once

    def begin(self, begin: Begin) -> ResetRequest:
        """Prepare for an operator's episode. Raises BridgeError while another is under way."""
        if self._begin or self._episode or self._records:
            raise BridgeError(f"robot {self.name!r} is busy with another episode")
        if begin.new_task:
            # A new adapter, not a reset one: its draws then depend on this seed and task alone,
            # and those of two tasks have nothing in common.
            mixed = np.random.SeedSequence([begin.seed, begin.task]).generate_state(1, np.uint64)
            self._adapter = make_adapter(self._bundle, int(mixed[0]))
        self._adapter.adapting = begin.adapting
        self._begin, self._ready = begin, Ready()
        return ResetRequest(begin.task, begin.episode, begin.seed, begin.new_task)

    def ready(self, ready: Ready) -> None:
        """The robot stands at the start."""
        self._ready = ready

    def refused(self) -> None:
        """The robot will not move: what an operator asked for is off."""
        self._begin = None

    def halt(self, reason: str) -> None:
        """Answer nothing but stop, until `unhalt`."""
        self._halted = reason
        self._begin = None

    def unhalt(self) -> None:
        """An operator has released the robot."""
        self._halted = ""

    @property
    def digest(self) -> str:
        """Of the bundle that answers."""
        return self._bundle.digest

    def answer(self, observation: Observation) -> Answer | None:
        """The answer to one observation; None for one that was seen before."""
        if observation.sequence <= self._sequence:
            self._tell(
                "sequence_repeated",
                f"observation {observation.sequence} after {self._sequence}; left aside",
            )
            return None
        self._sequence = observation.sequence
        if observation.flags & Flag.FIRST:
            self._open()
        episode = self._episode
        name, text = self._wrong(observation)
        if name or episode is None:
            self._tell(name, text)
            # Nothing may be learnt across a gap.
            self._last = None
            stop = self._halted or observation.faults
            return self._still(observation, Mode.STOP if stop else Mode.HOLD)
        self._learn(observation)
        if observation.flags & Flag.LAST:
            self._last, self._over = None, True
            return self._still(observation, Mode.HOLD)
        return self._act(observation, episode)

    def _act(self, observation: Observation, episode: Episode) -> Answer:
        try:
            action = self._adapter.act(observation.payload)
            before = self._last[1] if self._last else None
            payload, _ = self._limits.clamp(action.physical, before)
        except AcclimateError as error:
            self._tell("policy_failed", str(error))
            self._last = None
            return self._still(observation, Mode.HOLD)
        self._trouble = ""
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
        before, command = self._last
        # The action as sent, after the limits: that is what the robot did.
        action = np.clip(command / self._limits.scale, -1.0, 1.0)
        terminal = bool(observation.flags & Flag.TERMINAL)
        self._adaptation.learn(
            self._adapter,
            Transition(before.payload, action, observation.reward, observation.payload, terminal),
        )

    def _wrong(self, observation: Observation) -> tuple[str, str]:
        """Name and text of what forbids motion; empty when nothing does."""
        if self._halted:
            return "robot_halted", self._halted
        if observation.faults:
            return "robot_fault", f"the robot reports {Fault(observation.faults)!r}"
        if self._episode is None or self._over:
            return "no_episode", "an observation outside an episode; one starts with flag FIRST"
        if text := self._limits.invalid(observation.payload):
            return "observation_invalid", text
        if not np.isfinite(observation.reward):
            return "observation_invalid", f"reward is {observation.reward}; expected a number"
        return "", ""

    def _still(self, observation: Observation, mode: Mode) -> Answer:
        payload = np.zeros(self._limits.action_size, np.float32)
        version = self._adapter.belief.version
        command = Command(
            observation.sequence, self._validity_ns, mode, payload, version, shadow=self._shadow
        )
        return self._explained(command, None)

    def _explained(self, command: Command, wanted: Float32 | None) -> Answer:
        adapter = self._adapter
        return Answer(command, wanted, adapter.latent, adapter.latent_version, adapter.belief)

    def _open(self) -> None:
        if self._outcome is not None:
            # Both came at once. Waiting for the worker here would delay the answer.
            self._conclude()
        elif self._episode is not None:
            self._tell("episode_cut", "a new episode starts before the last one ended")
            self._lesson_over(complete=False)
            self._adapter.end_episode()
        width = self._limits.observation_size + self._limits.action_size
        self._episode = Episode(self.name, self._begin, self._adapter.belief, width)
        self._episode.ready = self._ready
        self._begin, self._outcome, self._last, self._trouble = None, None, None, ""
        self._over = False
        self._keep("episode")
        self._adapter.begin_episode()

    def _keep(self, cause: str) -> None:
        """Tell recorders what the adapter knows, whenever it changes by anything but `act` and
        `observe`: a replay goes on from there."""
        if not self._taps.recording:
            return
        begin = self._episode.begin if self._episode else None
        numbers = (begin.task, begin.episode, begin.seed) if begin else ()
        self._taps.state(
            StateRecord(
                self.name,
                time.monotonic_ns(),
                cause,
                self._bundle.digest,
                self._adapter.snapshot(),
                self._adapter.adapting,
                *numbers,
            )
        )

    def end(self, outcome: Outcome) -> None:
        """The robot says that its episode is over; see `finished`."""
        if self._episode is None:
            self._tell("no_episode", "the end of an episode that never began")
            self._begin = None
            return
        # Without its last observation an episode lacks what came of its last action.
        self._lesson_over(complete=self._over)
        self._outcome, self._over = outcome, True

    def _lesson_over(self, complete: bool) -> None:
        # In shadow nothing was learnt from, so there is nothing to conclude.
        if not self._shadow:
            self._adaptation.conclude(self._adapter, complete)

    @property
    def settling(self) -> bool:
        """Whether an episode is over but not yet learnt from."""
        return self._outcome is not None

    def finished(self) -> Iterator[EpisodeRecord]:
        """The record of an episode that ended, once everything in it has been learnt from or the
        next one has begun."""
        if self._adaptation.settled:
            self._conclude()
        records, self._records = self._records, []
        yield from records

    def _conclude(self) -> None:
        if self._episode is None or self._outcome is None:
            return
        self._gather()
        self._adapter.end_episode()
        record = self._episode.record(self._outcome, self._adapter.belief)
        if self._taps.recording:
            begin, now_ns = self._episode.begin, time.monotonic_ns()
            task, number = (begin.task, begin.episode) if begin else (-1, -1)
            self._taps.ended(EndRecord(self.name, now_ns, task, number, self._outcome))
        self._episode = self._outcome = self._last = None
        if record is not None:
            self._records.append(record)

    def events(self) -> list[tuple[str, str]]:
        """(name, text) of what went wrong since the last call."""
        self._gather()
        found, self._events = self._events, []
        return found

    def close(self) -> None:
        """End the worker."""
        self._adaptation.close()

    def _gather(self) -> None:
        for text in self._adaptation.problems():
            self._tell("adaptation_problem", text)

    def _tell(self, name: str, text: str) -> None:
        if name == self._trouble:
            return
        self._trouble = name
        self._events.append((name, text))
        if self._episode is not None:
            self._episode.note(f"step {self._episode.step}: {name}: {text}")

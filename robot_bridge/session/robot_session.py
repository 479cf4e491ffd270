"""One connected robot as the bridge sees it: its answers. No sockets."""

from __future__ import annotations

import time
from enum import Enum
from typing import Literal

import numpy as np

from adapt.adapters.base import Action
from adapt.bundle.policy_bundle import PolicyBundle
from adapt.guard import GuardSettings
from robot_bridge.errors import described
from robot_bridge.protocol.messages import (
    Command,
    Flag,
    Float32,
    Mode,
    Observation,
    fault_names,
)
from robot_bridge.safety.deadline_monitor import DeadlineMonitor, DeadlineSettings
from robot_bridge.safety.spacing import SpacingMonitor, SpacingSettings
from robot_bridge.session.answer import Answer
from robot_bridge.session.episode_lifecycle import EpisodeLifecycle
from robot_bridge.telemetry.observers import Taps

# Control periods by which frames may come in early by the bridge's clock: a bridge that was held up
# reads several at once. The robot's own stamps are held to less, see SpacingSettings.
ARRIVALS = 25.0


class Open(Enum):
    """No answer yet."""

    POLICY = "the policy has to be asked"


class RobotSession(EpisodeLifecycle):
    """Answers observations and learns from them.

    seed: of the latents, until an operator begins a task with another. simulated_time: each
    transition is learnt from before the next action. validity_ns: of every command [ns]. taps: hear
    of every transition, on the thread that learnt from it, and of what a replay starts from.
    shadow: answer what would be commanded, marked as such, and learn nothing: nobody follows it.
    guard, pace, spacing: when it is outside of what training saw, when the bridge is too slow for
    it, and when its driver keeps another period than the bundle's.
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
        pace: DeadlineSettings | None = None,
        spacing: SpacingSettings | None = None,
    ) -> None:
        super().__init__(name, bundle, seed, simulated_time, taps, shadow, guard)
        self.halted = ""  # why it is stopped by the bridge
        period = bundle.manifest.control_period
        self.pace = DeadlineMonitor(pace or DeadlineSettings(), round(period * 1e9))
        self.faults = 0  # as last reported
        spacing = spacing or SpacingSettings()
        self._stamps = SpacingMonitor(period, spacing)
        # Who stamps nominal times and asks without a pause is still seen by when frames come in.
        drift = max(ARRIVALS, spacing.drift)
        self._arrivals = SpacingMonitor(period, SpacingSettings(spacing.gap, drift))
        self.mode: Mode | None = None  # of the last answer
        self._validity_ns = validity_ns
        self._sequence = -1

    def halt(self, reason: str) -> None:
        """Answer nothing but stop, until `unhalt`."""
        self.halted = reason
        self.refused()

    def unhalt(self) -> None:
        """An operator has released the robot."""
        self.halted = ""
        self.pace.reset()

    def answer(self, observation: Observation, received_ns: int) -> Answer | None:
        """The answer to one observation; None for one that was seen before. received_ns: when its
        frame came in, on the bridge's clock [ns]."""
        try:
            answer = self._judged(observation, received_ns)
            if answer is Open.POLICY:
                answer = self._act(observation)
        # A fault of ours, or of a library's, is one robot's and for one period: it stands still,
        # people hear of it, and the others do not notice.
        except Exception as error:
            answer = self._failed(observation, error)
        if answer is not None:
            self.mode = answer.command.mode
        return answer

    def ask(
        self, observation: Observation, received_ns: int
    ) -> Answer | Literal[Open.POLICY] | None:
        """The first half of `answer`, for a run of the policy that robots share: POLICY where it
        has to be asked, to be followed by `decide` before anything else."""
        try:
            answer = self._judged(observation, received_ns)
        except Exception as error:
            answer = self._failed(observation, error)
        if isinstance(answer, Answer):
            self.mode = answer.command.mode
        return answer

    def decide(self, observation: Observation, outcome: Action | Exception | None = None) -> Answer:
        """The second half. outcome: of the shared run, for this robot; None for one of its own."""
        try:
            answer = self._act(observation, outcome)
        except Exception as error:
            answer = self._failed(observation, error)
        self.mode = answer.command.mode
        return answer

    def _judged(
        self, observation: Observation, received_ns: int
    ) -> Answer | Literal[Open.POLICY] | None:
        if observation.sequence <= self._sequence:
            self._notices.last(
                "sequence_repeated",
                f"observation {observation.sequence} after {self._sequence}; left aside",
            )
            return None
        self._sequence = observation.sequence
        self._observed = time.monotonic()
        self.answered()
        spacing, stamps = self._spacing_trouble(observation, received_ns), self._stamps
        if observation.flags & Flag.FIRST:
            self._open()
        name, text = self._wrong(observation)
        if name:
            self._notices.last(name, text)
            self._measured = None
            return self._held(observation)
        policy = self.policy
        broken = policy.limits.broken(observation.payload, self._measured, stamps.elapsed)
        self._measured = observation.payload
        if spacing[0]:
            # What was commanded had another time to act than a control period.
            self._last = None
        self._learn(observation)
        if observation.flags & Flag.LAST:
            self._last, self._over = None, True
            return self._still(observation, broken[0] if broken else Mode.HOLD)
        if broken:
            mode, text = broken
            self._notices.last("limit_broken", text)
            return self._held(observation, mode)
        if spacing[0]:
            self._notices.last(*spacing)
            return self._held(observation)
        if policy.weigh(observation.payload):
            verdict = policy.verdict
            self._notices.say(
                "guard_inside" if verdict.inside else "guard_outside",
                f"{verdict.reason or 'as training saw it again'}; fallback: {policy.fallback}",
            )
            self._keep("guard")
        return self._held(observation) if policy.must_hold else Open.POLICY

    def _spacing_trouble(self, observation: Observation, received_ns: int) -> tuple[str, str]:
        """Name and text of a spacing that forbids motion; empty where it is right, and for a robot
        whose clock waits for its answers."""
        if self.simulated_time:
            return "", ""
        paused = bool(observation.flags & Flag.FIRST)
        arrivals = self._arrivals.note(received_ns, paused=True)
        stamps = self._stamps.note(observation.time_ns, paused)
        return stamps if stamps[0] else arrivals

    def _failed(self, observation: Observation, error: Exception) -> Answer:
        self._notices.last("answer_failed", described(error))
        return self._held(observation)

    def _held(self, observation: Observation, mode: Mode = Mode.HOLD) -> Answer:
        """Stand still, or go limp; within an episode that is a step like any other."""
        # Nothing may be learnt across a gap.
        self._last = None
        if self._episode is not None and not self._over:
            self._episode.skip()
        stop = self.halted or observation.faults
        return self._still(observation, Mode.STOP if stop else mode)

    def _act(self, observation: Observation, outcome: Action | Exception | None = None) -> Answer:
        policy, episode = self.policy, self._episode
        if episode is None:
            raise RuntimeError("the policy is asked outside an episode")
        try:
            if isinstance(outcome, Exception):
                raise outcome
            action = policy.act(observation.payload) if outcome is None else outcome
            before = self._last[1] if self._last else None
            payload, _ = policy.limits.clamp(action.physical, before)
        # Whatever the runtime raises; onnxruntime's exceptions share no base of their own.
        except Exception as error:
            self._notices.last("policy_failed", described(error))
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

    def _wrong(self, observation: Observation) -> tuple[str, str]:
        """Name and text of what forbids motion; empty when nothing does."""
        if self.halted:
            return "robot_halted", self.halted
        if observation.faults:
            return "robot_fault", f"the robot reports {fault_names(observation.faults)}"
        if self._episode is None or self._over:
            return "no_episode", "an observation outside an episode; one starts with flag FIRST"
        if text := self.policy.limits.invalid(observation.payload):
            return "observation_invalid", text
        if not np.isfinite(observation.reward):
            return "observation_invalid", f"reward is {observation.reward}; expected a number"
        return "", ""

    def _still(self, observation: Observation, mode: Mode) -> Answer:
        payload = np.zeros(self.policy.limits.action_size, np.float32)
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

"""One connected robot as the bridge sees it: its answers. No sockets."""

from __future__ import annotations

import math
from enum import Enum
from typing import Literal

import numpy as np
from msgspec import structs

from adapt.adapters.base import Action
from adapt.bundle.policy_bundle import PolicyBundle
from adapt.guard import GuardSettings
from adapt.prior import MeasuredPrior
from robot_bridge.errors import described
from robot_bridge.probing.limits import ProbeSettings
from robot_bridge.protocol.messages import Command, Flag, Float32, Mode, Observation, fault_names
from robot_bridge.safety.deadline_monitor import DeadlineMonitor, DeadlineSettings
from robot_bridge.safety.spacing import SpacingMonitor, SpacingSettings
from robot_bridge.session.answer import Answer
from robot_bridge.session.episode_lifecycle import FIRST, EpisodeLifecycle
from robot_bridge.telemetry.observers import Taps

LAST = int(Flag.LAST)
# Control periods by which frames may come in early by the bridge's clock: a bridge that was held up
# reads several at once. The robot's own stamps are held to less, see SpacingSettings.
ARRIVALS = 25.0


class Open(Enum):
    """No answer yet."""

    POLICY = "the policy has to be asked"


class RobotSession:
    """Answers observations and learns from them.

    seed: of the latents, until an operator begins a task with another. simulated_time: each
    transition is learnt from before the next action. validity_ns: of every command [ns]. taps: hear
    of every transition, on the thread that learnt from it, and of what a replay starts from.
    shadow: answer what would be commanded, marked as such, and learn nothing, for no robot follows.
    guard, pace, spacing: when the robot is outside of what training saw, when the bridge is too
    slow for it, and when its driver keeps another period than the bundle's. probe, probes: how
    probing goes, and whether the driver performs it.
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
        prior: MeasuredPrior | None = None,
        probe: ProbeSettings | None = None,
        probes: bool = False,
    ) -> None:
        self.name = name
        self.simulated_time = simulated_time
        self.episodes = EpisodeLifecycle(
            name, bundle, seed, simulated_time, taps, shadow, guard, prior, probe, probes
        )
        self.policy = self.episodes.policy
        self.halted = ""  # why the bridge has stopped it
        self.faults = 0  # as last reported
        self.mode: Mode | None = None  # of the last answer
        period = bundle.manifest.control_period
        self.pace = DeadlineMonitor(pace or DeadlineSettings(), round(period * 1e9))
        spacing = spacing or SpacingSettings()
        self._stamps = SpacingMonitor(period, spacing)
        # A driver that stamps times at which it did not measure is seen by when its frames come in.
        drift = max(ARRIVALS, spacing.drift)
        self._arrivals = SpacingMonitor(period, SpacingSettings(spacing.gap, drift))
        self._shadow = shadow
        self._validity_ns = validity_ns
        self._sequence = -1
        self._before: Float32 | None = None  # the command of the period before, where it tracked
        self._measured: Float32 | None = None  # by the last valid observation of the episode

    def halt(self, reason: str) -> None:
        """Answer nothing but stop, until `unhalt`."""
        self.halted = reason
        self.episodes.refused()

    def unhalt(self) -> None:
        """An operator has released the robot."""
        self.halted = ""
        self.pace.reset()

    def answer(self, observation: Observation, received_ns: int) -> Answer | None:
        """The answer to one observation; None for one that was seen before. received_ns: when its
        frame came in, on the bridge's clock [ns]. `answered` has to follow."""
        try:
            answer = self._judged(observation, received_ns)
            return self._act(observation, None) if answer is Open.POLICY else answer
        # A fault of ours, or of a library's, concerns one robot and one period: it holds, people
        # hear of it, and the other robots do not notice.
        except Exception as error:
            return self._failed(observation, "answer_failed", error)

    def ask(
        self, observation: Observation, received_ns: int
    ) -> Answer | Literal[Open.POLICY] | None:
        """The first half of `answer`, for a run of the policy that robots share: POLICY where it
        has to be asked, to be followed by `decide` before anything else."""
        try:
            return self._judged(observation, received_ns)
        except Exception as error:
            return self._failed(observation, "answer_failed", error)

    def decide(self, observation: Observation, outcome: Action | Exception | None = None) -> Answer:
        """The second half. outcome: of the shared run, for this robot; None for one of its own."""
        try:
            return self._act(observation, outcome)
        except Exception as error:
            return self._failed(observation, "answer_failed", error)

    def pass_over(self) -> None:
        """After `ask` returned POLICY: leave that observation without an answer, because a newer
        one waits behind it."""
        self.episodes.pass_over()
        text = "the bridge is behind: of several observations that wait it answers the newest"
        self.episodes.notices.count("observation_superseded", text)

    def answered(self, observation: Observation, answer: Answer) -> None:
        """The answer has left: do what did not have to be done before it."""
        command, acted = answer.command, answer.wanted is not None
        self.mode = command.mode
        if acted:
            self.episodes.notices.well()
        self.episodes.record(observation, command.payload, acted, answer.belief)

    def _judged(
        self, observation: Observation, received_ns: int
    ) -> Answer | Literal[Open.POLICY] | None:
        episodes, notices = self.episodes, self.episodes.notices
        if observation.sequence <= self._sequence:
            notices.last(
                "sequence_repeated",
                f"observation {observation.sequence} after {self._sequence}; left aside",
            )
            return None
        self._sequence = observation.sequence
        flags = int(observation.flags)
        spacing = "", ""  # name and text of one that forbids motion
        if not self.simulated_time:
            arrivals = self._arrivals.note(received_ns, True)
            spacing = self._stamps.note(observation.time_ns, bool(flags & FIRST))
            if not spacing[0]:
                spacing = arrivals
        if flags & FIRST:
            self._before = self._measured = None
        episodes.observed(flags, received_ns)
        policy, payload, probing = self.policy, observation.payload, episodes.probing
        limits, elapsed = probing.limits or policy.limits, self._stamps.elapsed
        before, self._measured = self._measured, None
        # Nearly always true. Otherwise the checks below find out what is wrong.
        sound = limits.sound(payload, before, elapsed)
        name, text = self._forbidden(observation, sound)
        if name:
            notices.last(name, text)
            probing.disturbed(text)
            return self._held(observation)
        self._measured = payload
        if spacing[0]:
            # What was commanded had another time to act than a control period.
            episodes.interrupt()
        episodes.learn(observation, flags)
        broken = None if sound else limits.broken(payload, before, elapsed)
        if flags & LAST:
            episodes.last_observed()
            return self._still(observation, broken[0] if broken else Mode.HOLD)
        if broken:
            mode, text = broken
            notices.last("limit_broken", text)
            probing.disturbed(text)
            return self._held(observation, mode)
        if spacing[0]:
            notices.last(*spacing)
            return self._held(observation)
        if probing.limits is not None:
            return self._probe(observation)
        if policy.weigh(payload, sound):
            verdict = policy.verdict
            notices.say(
                "guard_inside" if verdict.inside else "guard_outside",
                f"{verdict.reason or 'as training saw it again'}; fallback: {policy.fallback}",
            )
            episodes.keep("guard")
        return self._held(observation) if policy.must_hold else Open.POLICY

    def _forbidden(self, observation: Observation, sound: bool) -> tuple[str, str]:
        """Name and text of what forbids motion; empty for nothing."""
        if self.halted:
            return "robot_halted", self.halted
        if observation.faults:
            return "robot_fault", f"the robot reports {fault_names(observation.faults)}"
        if not self.episodes.running:
            return "no_episode", "an observation outside an episode; one starts with flag FIRST"
        limits = self.episodes.probing.limits or self.policy.limits
        if not sound and (text := limits.invalid(observation.payload)):
            return "observation_invalid", text
        if not math.isfinite(observation.reward):
            return "observation_invalid", f"not finite: the reward is {observation.reward}"
        return "", ""

    def _failed(self, observation: Observation, name: str, error: Exception) -> Answer:
        failure = name, described(error)
        self.episodes.notices.last(*failure)
        return structs.replace(self._held(observation), failure=failure)

    def _held(self, observation: Observation, mode: Mode = Mode.HOLD) -> Answer:
        """Stand still, or go limp; within an episode that is a step like any other."""
        self.episodes.interrupt()
        stop = self.halted or observation.faults
        return self._still(observation, Mode.STOP if stop else mode)

    def _act(self, observation: Observation, outcome: Action | Exception | None) -> Answer:
        policy = self.policy
        try:
            if isinstance(outcome, Exception):
                raise outcome
            # What `_judged` lets through is valid, and so finite.
            action = outcome or policy.adapter.act(observation.payload, False, True)
            payload, _ = policy.limits.clamp(action.physical, self._before)
        # Any exception of the runtime: onnxruntime's share no base class.
        except Exception as error:
            return self._failed(observation, "policy_failed", error)
        self._before = payload
        self.episodes.followed(observation, payload)
        mode = Mode.HOLD if self._shadow else Mode.TRACK
        version, wanted = action.belief_version, action.physical
        return self._answer(observation, mode, payload, version, wanted, action.latent, version)

    def _probe(self, observation: Observation) -> Answer:
        """The policy is not asked, and nothing is learnt: the bridge touches the cell."""
        probing = self.episodes.probing
        limits = probing.limits or self.policy.limits
        wanted = probing.step(observation.payload, limits.offset)
        payload, _ = limits.clamp(wanted, self._before)
        answer = self._still(observation, Mode.TRACK)
        self._before = payload
        command = structs.replace(answer.command, payload=payload, over=probing.over)
        return structs.replace(answer, command=command)

    def _still(self, observation: Observation, mode: Mode) -> Answer:
        self._before = None
        payload = np.zeros(self.policy.limits.action_size, np.float32)
        adapter = self.policy.adapter
        version, latent, drawn_from = adapter.belief.version, adapter.latent, adapter.latent_version
        return self._answer(observation, mode, payload, version, None, latent, drawn_from)

    def _answer(
        self,
        observation: Observation,
        mode: Mode,
        payload: Float32,
        version: int,
        wanted: Float32 | None,
        latent: Float32,
        drawn_from: int,
    ) -> Answer:
        policy = self.policy
        command = Command(
            observation.sequence, self._validity_ns, mode, payload, version, shadow=self._shadow
        )
        belief = policy.adapter.belief
        return Answer(command, wanted, latent, drawn_from, belief, policy.bundle.digest)

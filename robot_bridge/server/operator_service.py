"""Requests of operators: episodes, stops, releases, models, beliefs, status."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from adapt.bundle.policy_bundle import PolicyBundle
from adapt.errors import AcclimateError
from robot_bridge.errors import ModelError
from robot_bridge.protocol.codec import Frame, decode_message, decode_stop
from robot_bridge.protocol.messages import RELEASE_REFUSED, STOP_GIVEN, Begin, Event, Release, Stop
from robot_bridge.protocol.operator_messages import (
    BeliefRequest,
    ModelRequest,
    ModelStatus,
    Reply,
    StageStatus,
    Status,
)
from robot_bridge.safety.stop_registry import StopRegistry
from robot_bridge.server.session_registry import REASON, Peer, SessionRegistry
from robot_bridge.server.status import robot_status
from robot_bridge.session.model_registry import ModelRegistry
from robot_bridge.session.robot_session import RobotSession
from robot_bridge.system.log import speakable

TEXT = 1000  # characters of a reply


@dataclass(frozen=True)
class _Asked:
    """An operator that waits for a model to be loaded, and the number of its request."""

    operator: Peer
    number: int


class OperatorService:
    """stages: how long each stage of the work takes. shadow: whether the bridge only watches."""

    def __init__(
        self,
        registry: SessionRegistry,
        models: ModelRegistry,
        stops: StopRegistry,
        stages: Callable[[], Sequence[StageStatus]],
        shadow: bool,
    ) -> None:
        self._registry = registry
        self._models = models
        self._stops = stops
        self._stages = stages
        self._shadow = shadow
        self._asked: _Asked | None = None
        self._started = time.monotonic()

    def begin(self, operator: Peer, frame: Frame) -> None:
        """Ask a robot for an episode."""
        begin = decode_message(frame, Begin)
        peer = self._registry.find(operator, begin.robot)
        if peer is None or peer.robot is None:
            return
        try:
            reset = peer.robot.episodes.begin(begin)
        except AcclimateError as error:
            self._registry.send(
                operator, Event("begin_refused", peer.name, speakable(str(error))[:TEXT])
            )
            return
        peer.operator = operator
        self._registry.send(peer, reset)

    def stop(self, giver: Peer, frame: Frame) -> None:
        """Stop a robot, or all; any peer may."""
        stop = decode_stop(frame)
        reason = f"{'robot' if giver.robot else 'operator'} {giver.name!r}: {stop.reason}"
        self.give_stop(stop.robot, reason)

    def give_stop(self, name: str, reason: str) -> None:
        """Stop the robot of that name; "" for all."""
        if not self._stops.room(name):
            name = ""
        number = self._stops.give(name)
        # A longer text would be refused by the robot's decoder, and the stop with it.
        words = speakable(reason)[:REASON]
        robots = self._registry.robots()
        for peer in robots.values():
            if name in ("", peer.name):
                self._registry.send(peer, Stop(words, number=number, robot=name))
        for peer in robots.values():
            if peer.robot is not None and name in ("", peer.name):
                peer.robot.halt(f"stop {number} stands")
        if name and name not in robots:
            reason += "; it is not connected, and starts stopped when it is"
        self._registry.tell(STOP_GIVEN, name, reason, number=number)

    def latch_fault(self, name: str, robot: RobotSession, reason: str) -> None:
        """Keep a robot that reported a fault stopped until it is released, also when the fault
        clears. One that has latched by itself has a number for that; another gets a stop."""
        if self._stops.latched(name):
            robot.halt(reason)
        else:
            self.give_stop(name, reason)

    def release(self, operator: Peer, frame: Frame) -> None:
        """Let a robot move again, unless a stop is newer than the release."""
        release = decode_message(frame, Release)
        peer = self._registry.find(operator, release.robot)
        if peer is None or peer.robot is None:
            return
        refusal = self._stops.release(peer.name, release)
        if refusal:
            self._registry.tell(RELEASE_REFUSED, peer.name, refusal)
            return
        self._registry.log("released", robot=peer.name, operator=operator.name)
        self._registry.send(peer, Release(peer.name, release.stop, release.latch))
        peer.robot.unhalt()

    def model(self, operator: Peer, frame: Frame) -> None:
        """Load, swap or roll back a model."""
        request = decode_message(frame, ModelRequest)
        try:
            if request.action == "load":
                self._models.load(Path(request.path))
                self._asked = _Asked(operator, request.number)
                return
            text = self._swap(request)
        except AcclimateError as error:
            self._reply(operator, request.number, False, str(error))
            return
        self._registry.tell("model_serves", "", f"{text}, by operator {operator.name!r}")
        self._reply(operator, request.number, True, text)

    def _swap(self, request: ModelRequest) -> str:
        models, robots = self._models, self._registry.robots()
        back = request.action == "rollback"
        coming = models.previous if back else models.candidate
        if coming is not None:
            bound = [
                name for name, peer in robots.items() if peer.demands not in ("", coming.digest)
            ]
            if bound:
                raise ModelError(
                    f"the drivers of {', '.join(bound)} were made for another digest than "
                    f"{coming.digest[:12]}; they must connect without one"
                )
        bundle = models.rollback() if back else models.swap()
        at_once = back or request.when == "now"
        for peer in robots.values():
            if peer.robot is not None:
                peer.robot.episodes.adopt(bundle, at_once)
        when = "at once" if at_once else "from each robot's next episode on"
        return f"{bundle.manifest.name} ({bundle.digest[:12]}) acts {when}"

    def tend(self) -> None:
        """Tell the operator that asked for it that a model is loaded, or why not."""
        result = self._models.finished()
        if result is None:
            return
        fits, text = result
        said = f"loaded and verified: {text}" if fits else text
        self._registry.tell("model_loaded" if fits else "model_refused", "", said)
        if self._asked is not None:
            self._reply(self._asked.operator, self._asked.number, fits, said)
            self._asked = None

    def belief(self, operator: Peer, frame: Frame) -> None:
        """Keep, restore or forget a robot's belief."""
        request = decode_message(frame, BeliefRequest)
        peer = self._registry.find(operator, request.robot)
        if peer is None or peer.robot is None:
            self._reply(operator, request.number, False, f"no such robot: {request.robot!r}")
            return
        try:
            name, text = self._change(peer.robot, request)
        except AcclimateError as error:
            self._reply(operator, request.number, False, str(error))
            return
        self._registry.tell(name, peer.name, f"{text}, by operator {operator.name!r}")
        self._reply(operator, request.number, True, text)

    def _change(self, robot: RobotSession, request: BeliefRequest) -> tuple[str, str]:
        if request.action == "keep":
            kept = robot.policy.keep("an operator asked")
            return "belief_kept", f"belief {kept.number}: {kept.count} transitions"
        if request.action == "restore":
            kept = robot.episodes.restore(request.kept)
            return (
                "belief_restored",
                f"belief {kept.number} again: {kept.count} transitions; now version "
                f"{robot.policy.belief.version}",
            )
        robot.episodes.forget()
        return "belief_forgotten", f"the prior again; now version {robot.policy.belief.version}"

    def status(self, operator: Peer, frame: Frame) -> None:
        """Send an operator the status of the bridge and its robots."""
        registry, models = self._registry, self._models
        now_ns = time.monotonic_ns()
        robots = [
            robot_status(peer, peer.robot, now_ns)
            for peer in registry.robots().values()
            if peer.robot is not None
        ]
        registry.send(
            operator,
            Status(
                served=_named(models.served),
                candidate=_named(models.candidate) if models.candidate else None,
                previous=_named(models.previous) if models.previous else None,
                loading=speakable(models.loading)[:TEXT],
                shadow=self._shadow,
                uptime=time.monotonic() - self._started,
                stop=self._stops.number,
                robots=tuple(robots),
                operators=tuple(registry.operators()),
                events=registry.recent(),
                stages=tuple(self._stages()),
            ),
        )

    def _reply(self, operator: Peer, number: int, done: bool, text: str) -> None:
        self._registry.send(operator, Reply(number, done, speakable(text)[:TEXT]))


def _named(bundle: PolicyBundle) -> ModelStatus:
    return ModelStatus(bundle.manifest.name, bundle.digest)

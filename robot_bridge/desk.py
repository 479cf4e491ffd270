"""What operators ask of the bridge besides episodes: models, beliefs, how it fares."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from adapt.bundle import PolicyBundle
from adapt.errors import AcclimateError
from robot_bridge.codec import Frame, decode_message
from robot_bridge.errors import ModelError
from robot_bridge.messages import Event, Message
from robot_bridge.models import Models
from robot_bridge.operator_messages import (
    BeliefRequest,
    ModelRequest,
    ModelStatus,
    Reply,
    StageStatus,
    Status,
)
from robot_bridge.peer import Peer
from robot_bridge.robot import Robot
from robot_bridge.status import robot_status

TEXT = 1000  # characters of a reply


class House(Protocol):
    """What the desk needs of the peers."""

    shadow: bool

    def robots(self) -> dict[str, Peer]: ...

    def operators(self) -> list[str]: ...

    def find(self, operator: Peer, name: str) -> Peer | None:
        """The robot of that name, or the only one; None after telling the operator why not."""
        ...

    def send(self, peer: Peer, message: Message) -> None: ...

    def tell(self, name: str, robot: str, text: str) -> None: ...

    def recent(self) -> Sequence[Event]:
        """The latest events, oldest first."""
        ...

    def last_stop(self) -> int: ...


@dataclass(frozen=True)
class _Asked:
    """Who waits for a model to be loaded, and the number of the request."""

    operator: Peer
    number: int


class Desk:
    """stages: how long each stage of the work takes, from whoever measures it."""

    def __init__(
        self, house: House, models: Models, stages: Callable[[], Sequence[StageStatus]]
    ) -> None:
        self._house = house
        self._models = models
        self._stages = stages
        self._asked: _Asked | None = None
        self._started = time.monotonic()

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
        self._house.tell("model_serves", "", f"{text}, by operator {operator.name!r}")
        self._reply(operator, request.number, True, text)

    def _swap(self, request: ModelRequest) -> str:
        models, robots = self._models, self._house.robots()
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
                peer.robot.adopt(bundle, at_once)
        when = "at once" if at_once else "from each robot's next episode on"
        return f"{bundle.manifest.name} ({bundle.digest[:12]}) acts {when}"

    def tend(self) -> None:
        """Tell whoever waits that a model is loaded, or why not."""
        result = self._models.finished()
        if result is None:
            return
        fits, text = result
        said = f"loaded and verified: {text}" if fits else text
        self._house.tell("model_loaded" if fits else "model_refused", "", said)
        if self._asked is not None:
            self._reply(self._asked.operator, self._asked.number, fits, said)
            self._asked = None

    def belief(self, operator: Peer, frame: Frame) -> None:
        """Keep, restore or forget a robot's belief."""
        request = decode_message(frame, BeliefRequest)
        peer = self._house.find(operator, request.robot)
        if peer is None or peer.robot is None:
            self._reply(operator, request.number, False, f"no such robot: {request.robot!r}")
            return
        try:
            name, text = self._change(peer.robot, request)
        except AcclimateError as error:
            self._reply(operator, request.number, False, str(error))
            return
        self._house.tell(name, peer.name, f"{text}, by operator {operator.name!r}")
        self._reply(operator, request.number, True, text)

    def _change(self, robot: Robot, request: BeliefRequest) -> tuple[str, str]:
        if request.action == "keep":
            kept = robot.mind.keep("an operator asked")
            return "belief_kept", f"belief {kept.number}: {kept.count} transitions"
        if request.action == "restore":
            kept = robot.restore(request.kept)
            return (
                "belief_restored",
                f"belief {kept.number} again: {kept.count} transitions; now version "
                f"{robot.mind.belief.version}",
            )
        robot.forget()
        return "belief_forgotten", f"the prior again; now version {robot.mind.belief.version}"

    def status(self, operator: Peer, frame: Frame) -> None:
        """Everything that an operator can know of the bridge."""
        house, models = self._house, self._models
        now_ns = time.monotonic_ns()
        robots = [
            robot_status(peer, peer.robot, now_ns)
            for peer in house.robots().values()
            if peer.robot is not None
        ]
        house.send(
            operator,
            Status(
                served=_named(models.served),
                candidate=_named(models.candidate) if models.candidate else None,
                previous=_named(models.previous) if models.previous else None,
                loading=models.loading[:TEXT],
                shadow=house.shadow,
                uptime=time.monotonic() - self._started,
                stop=house.last_stop(),
                robots=tuple(robots),
                operators=tuple(house.operators()),
                events=tuple(house.recent()),
                stages=tuple(self._stages()),
            ),
        )

    def _reply(self, operator: Peer, number: int, done: bool, text: str) -> None:
        self._house.send(operator, Reply(number, done, text[:TEXT]))


def _named(bundle: PolicyBundle) -> ModelStatus:
    return ModelStatus(bundle.manifest.name, bundle.digest)

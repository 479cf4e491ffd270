"""OperatorClient: asks for episodes, stops, models and beliefs, and hears what became of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal, Self

from robot_bridge.client.safety_monitor import clipped
from robot_bridge.errors import BridgeError, RobotLost, described
from robot_bridge.protocol.codec import Frame, decode_message, encode
from robot_bridge.protocol.messages import (
    RELEASE_REFUSED,
    RELEASED,
    STOP_GIVEN,
    STOPPED,
    Begin,
    Event,
    Heartbeat,
    Hello,
    Kind,
    Release,
    Stop,
    Welcome,
)
from robot_bridge.protocol.operator_messages import (
    BeliefRequest,
    EpisodeRecord,
    ModelRequest,
    Reply,
    Status,
)
from robot_bridge.system.log import speakable
from robot_bridge.transport.client_socket import ClientSocket

CONNECT = 10.0  # [s]
ANSWER = 10.0  # that a bridge gets to answer a request [s]
LOADING = 120.0  # that it gets to load a model, at low priority [s]
GLANCE = 0.2  # between looks at the bridge's signs of life [s]
# Events after which the robot will not finish its episode.
ENDINGS = ("robot_lost", "robot_left", "episode_cut", "begin_expired", STOPPED)
REFUSALS = ("robot_unknown", "begin_refused")
REASON = 1000  # characters of why a robot is stopped; the bridge passes on no more


class OperatorClient:
    """One operator's connection to a bridge. Belongs to one thread.

    keys: for tcp, a folder of keys or one certificate; None for the default folder.
    """

    def __init__(self, endpoint: str, name: str = "operator", keys: Path | None = None) -> None:
        self._link = ClientSocket(endpoint, "operator", name, keys)
        self._name = name
        self._robots: set[str] = set()
        # What this operator knows of stops: the bridge's latest number, and each robot's own.
        self._stop = 0
        self._latches: dict[str, int] = {}
        self._number = 0  # of the latest request
        self._given: Stop | None = None  # our latest stop, and what the bridge's number was then
        self._given_after = 0
        self._asked = ""  # whose release was asked for last

    def connect(self, timeout: float = CONNECT) -> Welcome:
        """Shake hands within timeout [s]. Raises BridgeLost without an answer."""
        welcome = self._link.introduce(Hello("operator", self._name), timeout)
        self._robots = set(welcome.robots)
        self._stop, self._latches = welcome.stop, dict(welcome.latches)
        return welcome

    def wait_robot(self, name: str, timeout: float) -> str:
        """The name of a connected robot: that one, or any if name is empty.

        Raises RobotLost when none connects within timeout [s].
        """
        deadline = time.monotonic() + timeout
        while True:
            if name in self._robots or (not name and self._robots):
                return name or min(self._robots)
            if time.monotonic() >= deadline:
                raise RobotLost(
                    f"{f'robot {name!r}' if name else 'no robot'} connected within {timeout:g} s; "
                    f"connected: {', '.join(sorted(self._robots)) or 'none'}"
                )
            self._event(min(GLANCE, deadline - time.monotonic()))

    def run(self, begin: Begin, timeout: float) -> EpisodeRecord:
        """Run one episode and wait for its record, at most timeout [s].

        Raises RobotLost when the robot leaves, stops or takes too long, BridgeError when the bridge
        refuses, BridgeLost when it is gone. The robot is stopped when an exception (too late,
        Ctrl-C, a signal) ends this call while its episode may still go on.
        """
        running = True
        try:
            self._link.send(begin)
            deadline = time.monotonic() + timeout
            while (left := deadline - time.monotonic()) > 0:
                frame = self._link.receive(min(GLANCE, left))
                if frame is None:
                    self._link.check_alive()
                elif frame.kind is Kind.EPISODE_RECORD:
                    record = decode_message(frame, EpisodeRecord)
                    if (record.task, record.episode) == (begin.task, begin.episode):
                        return record
                elif frame.kind is Kind.EVENT:
                    event = self._learn(frame)
                    running = not _ends(event, begin.robot)
                    self._judge(event, begin.robot)
                else:
                    self._heed(frame)
            raise RobotLost(
                f"robot {begin.robot!r}: task {begin.task}, episode {begin.episode} did not end "
                f"within {timeout:g} s; it is stopped"
            )
        except BaseException as error:
            if running:
                self._abandon(begin, error)
            raise

    def _abandon(self, begin: Begin, error: BaseException) -> None:
        """Stop the robot whose episode this operator gives up."""
        given_up = f"task {begin.task}, episode {begin.episode}"
        why = f"the operator gave up {given_up}: {described(error)}"
        try:
            self.stop(why, begin.robot)
        except BridgeError:
            # The bridge is gone; its robots stop by themselves.
            return

    def stop(self, reason: str, robot: str = "") -> None:
        """Stop the robot of that name, or every robot on this bridge, until released. The reason
        may be any text; the robots hear what a frame can carry of it. Raises BridgeLost, and
        BridgeError for a name that no robot can have."""
        self._given = Stop(clipped(reason, REASON), robot=_nameable(robot))
        self._given_after = self._stop
        self._link.send(self._given)

    def release(self, robot: str) -> None:
        """Let a stopped robot move again: the caller has looked, and it is safe. An empty name
        means the only one connected. Raises BridgeError where it is not clear which that is.

        Answers the stops that this operator has heard of; one that latched since stays.
        """
        # Every robot counts its own stops: the number of another would answer those to come.
        self._asked = robot = _nameable(robot) or self._only()
        self._link.send(Release(robot, self._stop, self._latches.get(robot, 0)))

    def _only(self) -> str:
        """The one connected robot, as far as has been heard."""
        if len(self._robots) != 1:
            raise BridgeError(
                "which robot is not said; expected the name of one that is connected: "
                f"{', '.join(sorted(self._robots)) or 'none is known of'}"
            )
        return min(self._robots)

    def wait_stopped(self, timeout: float = ANSWER) -> str:
        """After `stop`: what the bridge has done. Raises RobotLost when it does not say so within
        timeout [s]; what it says of another's stop, or of one before, is no answer."""
        given = self._given
        if given is None:
            raise BridgeError("wait_stopped before stop: there is none of our own to wait for")
        # As the bridge tells it: who gave it, and in which words.
        words = f"{self._name!r}: {given.reason}"
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            event = self._event(min(GLANCE, left))
            if event is None or event.name != STOP_GIVEN or event.robot != given.robot:
                continue
            if event.number > self._given_after and words in event.text:
                return f"stop {event.number}, {event.robot or 'every robot'}: {event.text}"
        raise RobotLost(f"the bridge does not say within {timeout:g} s that it has passed it on")

    def wait_released(self, robot: str, timeout: float = ANSWER) -> str:
        """After `release`: what the robot says; an empty name means the one that was asked for.
        Raises BridgeError with the reason when bridge or robot refuse, RobotLost when nothing is
        heard within timeout [s]."""
        robot = robot or self._asked
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            event = self._event(min(GLANCE, left))
            if event is None or (robot and robot != event.robot):
                continue
            if event.name == RELEASED:
                return event.text
            if event.name in (RELEASE_REFUSED, "robot_unknown"):
                raise BridgeError(f"{event.name}: {event.text}")
        raise RobotLost(
            f"robot {robot!r} does not say within {timeout:g} s whether it is released; "
            "`acclimate status` shows how it stands"
        )

    def load_model(self, path: str, timeout: float = LOADING) -> str:
        """Load and verify the bundle at a path of the bridge's machine, beside the one that serves;
        returns what the bridge says. Raises BridgeError with its reason, BridgeLost."""
        return self._ask(ModelRequest(self._next(), "load", path), timeout)

    def swap_model(self, when: Literal["now", "episode"] = "episode") -> str:
        """Let the loaded model act: at once, or from each robot's next episode on."""
        return self._ask(ModelRequest(self._next(), "swap", when=when))

    def rollback_model(self) -> str:
        """Let the model before act again, at once, with what it believed."""
        return self._ask(ModelRequest(self._next(), "rollback"))

    def keep_belief(self, robot: str = "") -> str:
        """Keep a robot's belief as it is, to go back to."""
        return self._ask(BeliefRequest(self._next(), robot, "keep"))

    def restore_belief(self, number: int, robot: str = "") -> str:
        """Go back to the kept belief of that number; see `status`."""
        return self._ask(BeliefRequest(self._next(), robot, "restore", number))

    def forget_belief(self, robot: str = "") -> str:
        """Go back to the prior."""
        return self._ask(BeliefRequest(self._next(), robot, "forget"))

    def status(self, timeout: float = ANSWER) -> Status:
        """How the bridge fares. Raises BridgeError when it does not say so within timeout [s]."""
        self._link.tell(encode(Kind.STATUS, session=self._link.session))
        return decode_message(self._await(Kind.STATUS, timeout), Status)

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _ask(self, request: ModelRequest | BeliefRequest, timeout: float = ANSWER) -> str:
        self._link.send(request)
        deadline = time.monotonic() + timeout
        while True:
            frame = self._await(Kind.REPLY, deadline - time.monotonic())
            reply = decode_message(frame, Reply)
            # An older one is the answer to a request that was given up.
            if reply.number == request.number:
                if not reply.done:
                    raise BridgeError(reply.text)
                return reply.text

    def _await(self, kind: Kind, timeout: float) -> Frame:
        """The next frame of one kind, others heeded meanwhile."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            frame = self._link.receive(min(GLANCE, left))
            if frame is None:
                self._link.check_alive()
            elif frame.kind is kind:
                return frame
            elif frame.kind is Kind.EVENT:
                self._learn(frame)
            else:
                self._heed(frame)
        raise BridgeError(f"no {kind.name} from the bridge in time")

    def close(self) -> None:
        """Say goodbye and let go of the socket."""
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _event(self, timeout: float) -> Event | None:
        frame = self._link.receive(max(0.0, timeout))
        if frame is None:
            self._link.check_alive()
            return None
        if frame.kind is not Kind.EVENT:
            self._heed(frame)
            return None
        return self._learn(frame)

    def _heed(self, frame: Frame) -> None:
        if frame.kind is Kind.HEARTBEAT:
            self._stop = max(self._stop, decode_message(frame, Heartbeat).stop)

    def _learn(self, frame: Frame) -> Event:
        event = decode_message(frame, Event)
        if event.name == "robot_connected":
            self._robots.add(event.robot)
        elif event.name in ("robot_lost", "robot_left"):
            self._robots.discard(event.robot)
        elif event.name == STOP_GIVEN:
            self._stop = max(self._stop, event.number)
        elif event.name == STOPPED:
            latest = max(self._latches.get(event.robot, 0), event.number)
            self._latches[event.robot] = latest
        return event

    def _judge(self, event: Event, robot: str) -> None:
        if event.name in REFUSALS:
            raise BridgeError(f"{event.name}: {event.text}")
        if _ends(event, robot):
            advice = (
                "; once it is safe, release it with `acclimate release`"
                if event.name == STOPPED
                else ""
            )
            raise RobotLost(f"robot {event.robot!r}: {event.name}: {event.text}{advice}")


def _nameable(robot: str) -> str:
    """The name, if a frame can carry it. Raises BridgeError."""
    if speakable(robot) != robot:
        raise BridgeError(f"no robot is named {speakable(robot)!r}; expected UTF-8")
    return robot


def _ends(event: Event, robot: str) -> bool:
    """Whether the episode that was asked for will not go on."""
    # An empty name asked for the only robot there is.
    return event.name in REFUSALS or (robot in ("", event.robot) and event.name in ENDINGS)

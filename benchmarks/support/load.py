"""Robots that send at their rate without waiting for answers. Run as a program, one robot that
sends many EVENT frames:

python -m benchmarks.support.load ENDPOINT BUNDLE RATE    # EVENT frames per second, over ipc
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import zmq

from adapt.bundle.manifest import Manifest
from adapt.bundle.policy_bundle import read_manifest
from benchmarks.support.clients import middle
from robot_bridge.errors import CodecError
from robot_bridge.protocol.codec import (
    Frame,
    decode,
    decode_command,
    decode_message,
    encode_message,
    encode_observation,
)
from robot_bridge.protocol.handshake import specs
from robot_bridge.protocol.messages import (
    NO_FLAGS,
    Event,
    Flag,
    Heartbeat,
    Hello,
    Kind,
    Mode,
    Observation,
    Welcome,
)
from robot_bridge.protocol.timing import HEARTBEAT

PATIENCE = 1.0  # without a frame, after which a robot connects anew [s]
SERVED = 0.9  # share of timely TRACK answers from which a robot counts as served


class Robot:
    """One driver, in an episode of its own; it connects again PATIENCE after the last frame.

    connect: makes its socket. refused: whether it was refused or stopped. sent: time of each
    observation [ns], by sequence. ages: of answers [s]. timely: TRACK answers within a period. Both
    are of the observations since `count_anew`.
    """

    def __init__(self, connect: Callable[[], zmq.Socket], name: str, manifest: Manifest) -> None:
        self._connect = connect
        self.refused = False
        self.sent: dict[int, int] = {}
        self.ages: list[float] = []
        self.timely = 0
        self._uncounted = 0
        self._period_ns = round(manifest.control_period * 1e9)
        self._numbers = middle(manifest)
        self._beat_ns = 0
        self._hello = Hello(
            "robot",
            name,
            observation=specs(manifest.observation),
            action=specs(manifest.action),
            control_period=manifest.control_period,
        )
        self._begin()

    def _begin(self) -> None:
        self.socket = self._connect()
        self.session = 0
        self._first = True
        self._heard_ns = time.monotonic_ns()
        self.tell(encode_message(self._hello))

    def ask(self) -> None:
        """Send an observation, once welcomed."""
        self.hear()
        now_ns = time.monotonic_ns()
        if now_ns - self._heard_ns > PATIENCE * 1e9:
            self.socket.close(0)
            self._begin()
        if not self.session:
            return
        if now_ns >= self._beat_ns:
            self._beat_ns = now_ns + round(HEARTBEAT * 1e9)
            self.tell(encode_message(Heartbeat(), session=self.session))
        number = len(self.sent) + 1
        flags = Flag.FIRST if self._first else NO_FLAGS
        self._first = False
        self.sent[number] = now_ns
        seen = Observation(number, now_ns, self._numbers, 0.0, flags)
        self.tell(encode_observation(seen, self.session))

    def hear(self) -> None:
        """Take the frames that have arrived."""
        while True:
            try:
                data = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                self._take(decode(data))
            except CodecError:
                continue

    def _take(self, frame: Frame) -> None:
        self._heard_ns = time.monotonic_ns()
        if frame.kind is Kind.WELCOME:
            self.session = decode_message(frame, Welcome).session
        elif frame.kind in (Kind.REFUSED, Kind.STOP):
            self.refused = True
            if frame.kind is Kind.REFUSED:
                self.session = 0
        elif frame.kind is Kind.COMMAND:
            command = decode_command(frame)
            if command.sequence <= self._uncounted:
                return
            age_ns = time.monotonic_ns() - self.sent[command.sequence]
            self.ages.append(age_ns / 1e9)
            self.refused |= command.mode is Mode.STOP
            self.timely += command.mode is Mode.TRACK and age_ns <= self._period_ns

    def count_anew(self) -> None:
        """Forget the answers so far, and begin an episode. A robot that stays stopped counts as
        told to stop at its next command."""
        self.refused = False
        self._first = True
        self._uncounted = len(self.sent)
        self.timely = 0
        self.ages.clear()

    @property
    def served(self) -> bool:
        """Whether its answers came in time."""
        counted = len(self.sent) - self._uncounted
        return counted > 0 and self.timely >= SERVED * counted

    def tell(self, data: bytes) -> None:
        """Send a frame, or drop it if too many wait."""
        try:
            self.socket.send(data, zmq.NOBLOCK)
        except zmq.Again:
            return


def drive(robots: list[Robot], period: float, seconds: float, alive: Callable[[], bool]) -> None:
    """Send for every robot once a period [s], spread over the period; take answers as they come."""
    start = time.monotonic()
    turn = 0
    while (now := time.monotonic()) < start + seconds and alive():
        due = start + turn * period / len(robots)
        if now >= due:
            robots[turn % len(robots)].ask()
            turn += 1
        else:
            by_socket = {robot.socket: robot for robot in robots}
            for socket in zmq.select(list(by_socket), [], [], due - now)[0]:
                by_socket[socket].hear()


def flood(robot: Robot, rate: float) -> None:
    """Send EVENT frames at a rate [1/s], until the process is ended."""
    while not robot.session:
        robot.hear()
        time.sleep(0.01)
    event = encode_message(Event("gossip", "noisy", "x" * 100), session=robot.session)
    start, sent = time.monotonic(), 0
    while True:
        for _ in range(sent, int((time.monotonic() - start) * rate)):
            robot.tell(event)
            sent += 1
        time.sleep(0.002)


def main(endpoint: str, bundle: str, rate: str) -> None:
    context = zmq.Context()

    def connect() -> zmq.Socket:
        made = context.socket(zmq.DEALER)
        made.set(zmq.LINGER, 0)
        made.connect(endpoint)
        return made

    flood(Robot(connect, "noisy", read_manifest(bundle)[0]), float(rate))


if __name__ == "__main__":
    main(*sys.argv[1:])

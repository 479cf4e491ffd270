"""One tree's control path without sockets: a frame in, its command out, and what follows that.

    python path_probe.py BUNDLE

Works on request: each line of standard input is a JSON Case and a number of answers; each line of
the output is a JSON Block. It imports only `adapt` and `robot_bridge`, so that PYTHONPATH decides
whose path is measured.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import Any, cast

import msgspec
import numpy as np

from adapt.adapters.base import Transition
from adapt.adapters.registry import make_adapter
from adapt.bundle.manifest import Manifest
from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.protocol.codec import (
    decode,
    decode_command,
    decode_message,
    encode_message,
    encode_observation,
)
from robot_bridge.protocol.handshake import specs
from robot_bridge.protocol.messages import NO_FLAGS, Flag, Hello, Mode, Observation, Welcome
from robot_bridge.recording.writer import McapRecorder
from robot_bridge.safety.deadline_monitor import DeadlineSettings
from robot_bridge.safety.spacing import SpacingSettings
from robot_bridge.server.dispatcher import Dispatcher
from robot_bridge.server.loop_timing import LoopTiming
from robot_bridge.session.robot_session import RobotSession
from robot_bridge.telemetry.metrics import Metrics
from robot_bridge.telemetry.observers import Taps

ROBOT = b"robot"
SETTLING = 50e-6  # between looks at whether the worker has learnt [s]


class Case(msgspec.Struct, frozen=True):
    """pause: sleep before each frame [s]. learning: whether what the answers taught is handed to
    the adaptation worker. recording: whether a recording is written, beside the metrics."""

    pause: float
    learning: bool
    recording: bool


class Block(msgspec.Struct):
    """Durations [ns], one for each answer, in the same turns: from a frame to its command; until
    the loop is free again; of a bare run of the policy; of a bare belief update. calls: Python
    functions and C functions called from a frame to its command, and until the loop is free."""

    answer: list[int] = []
    turn: list[int] = []
    bare: list[int] = []
    update: list[int] = []
    calls: tuple[int, int, int, int] = (0, 0, 0, 0)


class Probe:
    """A bridge's dispatcher with one robot, whose frames are handed to it and whose commands are
    only timed. folder: for recordings."""

    def __init__(self, bundle: PolicyBundle, case: Case, folder: Path) -> None:
        manifest = bundle.manifest
        self._case = case
        taps: list[Any] = [Metrics(manifest.control_period)]
        if case.recording:
            taps.append(McapRecorder(folder, bundle))
        self._taps = Taps(taps)
        self._sent_ns = 0
        self._frame = b""  # the first that was sent to the robot in this turn
        # Frames come as fast as they are answered, which must neither hold nor stop the robot.
        loose = SpacingSettings(gap=math.inf, drift=math.inf)
        patient = DeadlineSettings(slipping=1.0, lost=1.0)
        self._peers = Dispatcher(
            bundle,
            self._send,
            0,
            10**9,
            lambda *_, **__: None,
            self._taps,
            spacing=loose,
            pace=patient,
        )
        hello = Hello(
            "robot",
            "arm",
            observation=specs(manifest.observation),
            action=specs(manifest.action),
            control_period=manifest.control_period,
        )
        self._peers.take(ROBOT, encode_message(hello))
        self._session = decode_message(decode(self._frame), Welcome).session
        robot = cast("RobotSession", self._peers.robots()["arm"].robot)
        self._episodes, self.policy = robot.episodes, robot.policy
        self._timing = LoopTiming()
        self._sequence = 0
        self._bare = bundle.graphs[manifest.phases[0].policy].bind()
        self._rest_point = at_rest(manifest)
        self._noise = 1e-3 * np.maximum(1.0, np.abs(self._rest_point))
        self._rng = np.random.default_rng(0)
        # An adapter of its own, so that the robot's belief is not learnt from twice.
        self._adapter = make_adapter(bundle, 1)

    def _send(self, address: bytes, data: bytes) -> bool:
        if not self._sent_ns:
            self._sent_ns = time.perf_counter_ns()
            self._frame = data
        return True

    def block(self, count: int) -> Block:
        """Measure `count` answers in a new episode, each beside a bare run and an update."""
        found = Block()
        self._turn(self._observation(Flag.FIRST))
        with self._timing:
            for _ in range(count):
                frame = self._observation()
                self._rest()
                begun_ns = time.perf_counter_ns()
                self._turn(frame)
                found.turn.append(time.perf_counter_ns() - begun_ns)
                found.answer.append(self._sent_ns - begun_ns)
                self._bare.inputs["observation"][:] = self._rest_point
                self._rest()
                begun_ns = time.perf_counter_ns()
                self._bare.run()
                found.bare.append(time.perf_counter_ns() - begun_ns)
                transition = self._transition()
                self._rest()
                begun_ns = time.perf_counter_ns()
                self._adapter.observe(transition)
                found.update.append(time.perf_counter_ns() - begun_ns)
        command = decode_command(decode(self._frame))
        if command.mode is not Mode.TRACK:
            raise RuntimeError(f"the last answer is {command.mode.name}; expected TRACK")
        found.calls = self._count_calls()
        self._rest()
        return found

    def _turn(self, frame: bytes) -> None:
        """As the daemon's loop makes it."""
        peers = self._peers
        self._sent_ns = 0
        peers.take(ROBOT, frame)
        peers.flush()
        if self._timing.quiet(True):
            peers.teach()
            peers.rest()
        if self._timing.turn(True):
            peers.tend()

    def _rest(self) -> None:
        """Wait until the worker has learnt, then for the pause."""
        while self._episodes.waiting:
            time.sleep(SETTLING)
        if self._case.pause:
            time.sleep(self._case.pause)

    def _observation(self, flags: Flag = NO_FLAGS) -> bytes:
        self._sequence += 1
        # Nothing is learnt from what follows a command that the robot did not follow.
        flags = flags if self._case.learning else flags | Flag.UNAPPLIED
        seen = Observation(self._sequence, time.monotonic_ns(), self._seen(), 0.0, flags)
        return encode_observation(seen, self._session)

    def _seen(self) -> np.ndarray:
        noise = self._noise * self._rng.standard_normal(self._noise.size)
        return (self._rest_point + noise).astype(np.float32)

    def _transition(self) -> Transition:
        size = self._bare.outputs["mean"].size
        action = self._rng.uniform(-1, 1, size).astype(np.float32)
        return Transition(self._seen(), action, 0.0, self._seen())

    def _count_calls(self) -> tuple[int, int, int, int]:
        counts = {"call": 0, "c_call": 0}
        at_send: list[int] = []

        def note(_: FrameType, event: str, __: object) -> None:
            if not at_send and self._sent_ns:
                at_send.extend(counts.values())
            if event in counts:
                counts[event] += 1

        frame = self._observation()
        self._rest()
        self._sent_ns = 0
        sys.setprofile(note)
        try:
            self._turn(frame)
        finally:
            sys.setprofile(None)
        return at_send[0], at_send[1], counts["call"], counts["c_call"]

    def close(self) -> None:
        """Let the robot go and finish the recording."""
        self._peers.dismiss("done")
        self._taps.close()


def at_rest(manifest: Manifest) -> np.ndarray:
    """An observation (n_o,) within every limit and range, as near to zero as they allow."""
    parts = []
    for described in manifest.observation:
        low, high = described.low, described.high
        for limit in manifest.limits:
            if limit.field == described.name and limit.quantity != "rate":
                low, high = max(low, limit.low), min(high, limit.high)
        parts.append(np.full(described.size, min(max(0.0, low), high), np.float32))
    return np.concatenate(parts)


def main(path: str) -> None:
    bundle = PolicyBundle.load(Path(path))
    probes: dict[Case, Probe] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for line in sys.stdin.buffer:
            case, count = msgspec.json.decode(line, type=tuple[Case, int])
            if case not in probes:
                probes[case] = Probe(bundle, case, Path(scratch) / str(len(probes)))
            sys.stdout.buffer.write(msgspec.json.encode(probes[case].block(count)) + b"\n")
            sys.stdout.buffer.flush()
        for probe in probes.values():
            probe.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

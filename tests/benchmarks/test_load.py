"""The robots of the overload benchmark: which answers count."""

from __future__ import annotations

import time
from typing import Any

import pytest

from adapt.bundle.policy_bundle import read_manifest
from benchmarks.bench_bridge import BUNDLE
from benchmarks.support import load
from benchmarks.support.load import Robot
from robot_bridge.protocol.messages import Kind, Mode


class Deaf:
    """A socket that takes everything and has nothing."""

    def send(self, *_: object) -> None: ...


def answered(robot: Robot, mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    """One observation, and its command at once."""
    number = len(robot.sent) + 1
    robot.sent[number] = time.monotonic_ns()
    command: Any = type("Command", (), {"sequence": number, "mode": mode})
    monkeypatch.setattr(load, "decode_command", lambda _: command)
    frame: Any = type("Frame", (), {"kind": Kind.COMMAND})
    robot._take(frame)


def test_answers_before_all_are_welcomed_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    socket: Any = Deaf()
    robot = Robot(lambda: socket, "arm", read_manifest(BUNDLE)[0])
    for _ in range(5):
        answered(robot, Mode.HOLD, monkeypatch)
    assert not robot.served
    robot.count_anew()
    assert not robot.served and not robot.ages
    for _ in range(10):
        answered(robot, Mode.TRACK, monkeypatch)
    assert robot.served and len(robot.ages) == 10
    assert not robot.refused


def test_a_robot_whose_commands_say_stop_was_told_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    socket: Any = Deaf()
    robot = Robot(lambda: socket, "arm", read_manifest(BUNDLE)[0])
    answered(robot, Mode.STOP, monkeypatch)
    assert robot.refused and not robot.served

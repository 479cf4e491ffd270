"""The page on quadrupeds: its driver walks a simulated robot, and its joint map is one."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import msgspec
import numpy as np
import pytest
import yaml

from robot_bridge.client import Mode
from robot_bridge.protocol.messages import Command
from sim.locomotion.spec import SPEC
from sim.locomotion.task import SPACE
from sim.locomotion.worlds import LocomotionWorlds
from sim.robots.go2 import STANCE
from sim.robots.joint_map import JointMap

PAGE = (Path(__file__).resolve().parents[2] / "docs/quadruped.md").read_text()
(DRIVER,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
(MAP,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
ALL = np.ones(1, bool)
SIZES = [f.size for f in SPEC.action]
OFFSET, SCALE = (
    np.repeat([getattr(f, k) for f in SPEC.action], SIZES) for k in ("offset", "scale")
)


class Legs:
    """The page's interface, over a simulated robot whose targets are given directly."""

    def __init__(self) -> None:
        self.worlds = worlds = LocomotionWorlds(1, 0, 1)
        worlds.commands_drawn = False
        worlds.assign([SPACE.task(delay=0.0)])
        worlds.reset(ALL)
        worlds.command[:] = 0.4, 0.0, 0.0
        self.limp = 0

    def joints(self):
        return self.worlds.sim.qpos[0, 7:].copy(), self.worlds.sim.qvel[0, 6:].copy()

    def _body(self) -> np.ndarray:
        return self.worlds._observe()[0]

    def gravity(self):
        return self._body()[SPEC.columns("gravity")]

    def gyro(self):
        return self._body()[SPEC.columns("gyro")]

    def asked(self):
        return self.worlds.command[0]

    def tracking(self) -> float:
        return 1.0

    def move(self, targets) -> None:
        self.worlds.sim.step(np.asarray(targets)[None], 4)

    def damp(self) -> None:
        self.limp += 1


class Robot:
    """A bridge's client that tells the neutral gait, and another mode from `then` on."""

    state = SimpleNamespace(reason="the button")

    def __init__(self, mode: Mode = Mode.STOP, then: int = 10**9) -> None:
        self.mode, self.then, self.sent, self.outcomes, self.halted = mode, then, [], [], ""

    def exchange(self, observation, reward=0.0, **flags):
        self.sent.append(np.array(observation))
        mode = self.mode if len(self.sent) > self.then else Mode.TRACK
        return Command(len(self.sent), 0, mode, OFFSET.astype(np.float32))

    def check(self):
        return Mode.HOLD

    def ready(self) -> None:
        pass

    def halt(self, reason: str) -> None:
        self.halted = reason

    def end_episode(self, outcome) -> None:
        self.outcomes.append(outcome)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch):
    mine = ModuleType("my_legs")
    vars(mine).update(STANCE=STANCE, Legs=Legs)
    monkeypatch.setitem(sys.modules, "my_legs", mine)
    made = ModuleType("quadruped_driver")
    exec(compile(DRIVER, "quadruped_driver.py", "exec"), vars(made))
    rate = SimpleNamespace(wait=lambda: None, restart=lambda: None)
    monkeypatch.setattr(made, "Rate", lambda period: rate)
    return made


def test_the_pages_driver_stands_up_walks_and_says_what_training_saw(driver) -> None:
    legs, robot = Legs(), Robot(then=300)
    driver.perform(robot, legs, OFFSET, SCALE)
    (outcome,) = robot.outcomes
    assert (outcome.steps, outcome.reason) == (300, "stopped: the button")
    assert outcome.judged_by == "return"
    assert legs.limp == 1
    assert np.linalg.norm(legs.worlds.sim.qpos[0, :2]) > 1.0
    sent = np.stack(robot.sent)
    assert sent.shape == (301, SPEC.observation_size)
    low, high = (
        [getattr(f, k) for f in SPEC.observation for _ in range(f.size)] for k in ("low", "high")
    )
    assert ((low <= sent) & (sent <= high)).all()


def test_held_it_stands(driver) -> None:
    legs, robot = Legs(), Robot(Mode.HOLD, then=100)
    driver.HORIZON = 250
    driver.perform(robot, legs, OFFSET, SCALE)
    assert robot.outcomes[0].reason == "time is up"
    assert np.abs(legs.worlds.sim.qvel[0, :3]).max() < 0.1
    assert legs.worlds.sim.qpos[0, 2] > 0.25


def test_a_robot_on_its_back_is_left_to_a_person(driver) -> None:
    legs, robot = Legs(), Robot()
    legs.worlds.sim.qpos[0, 3:7] = 0.0, 1.0, 0.0, 0.0
    driver.perform(robot, legs, OFFSET, SCALE)
    assert "side or back" in robot.halted
    assert robot.sent == []
    assert legs.limp == 1


def test_a_fall_is_the_episodes_end(driver) -> None:
    legs, robot = Legs(), Robot()
    move, count = legs.move, 0

    def pushed(targets) -> None:
        nonlocal count
        count += 1
        if count == 200:
            legs.worlds.sim.qpos[0, 3:7] = np.cos(0.7), np.sin(0.7), 0.0, 0.0
        move(targets)

    legs.move = pushed
    driver.perform(robot, legs, OFFSET, SCALE)
    assert robot.outcomes[0].reason == "fell"
    assert legs.limp == 1


def test_the_pages_joint_map_is_one() -> None:
    found = msgspec.convert(yaml.safe_load(MAP), JointMap)
    assert len(found.joints) == 12
    assert set(yaml.safe_load(MAP)) == set(JointMap.__struct_fields__)

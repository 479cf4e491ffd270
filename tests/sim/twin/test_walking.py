"""The quadruped's twin: HOLD stands, a stop and a fall end damped, and tasks change on schedule."""

from __future__ import annotations

import numpy as np
import pytest

from adapt.errors import AcclimateError
from robot_bridge.protocol.messages import Command, Mode, Outcome, ResetRequest
from sim.core.schedule import Change, Schedule
from sim.locomotion.family import REST
from sim.locomotion.spec import SPEC
from sim.twin.twin import Twin, perform, truth

NEUTRAL = np.repeat([f.offset for f in SPEC.action], [f.size for f in SPEC.action])
LEVEL = {"terrain": "flat", "slope": 0.0, "ice": 0.0, "payload": 0.0, "strength": 1.0}
LEVEL |= {"friction": 0.8, "gain": 1.0, "damping": 1.0, "softness": 0.0, "delay": 0.01}
LEVEL |= {"case": "all"}
COURSE = Schedule((Change(0.2, {"payload": 8.0}, "8 kg"),), LEVEL)


class Bridge:
    """Answers with one mode until `at`, then with another."""

    class state:
        reason = "the button"

    def __init__(self, then: Mode, at: int) -> None:
        self.then, self.at, self.count = then, at, 0
        self.truth: dict[str, float] = {}

    def ready(self, truth: dict[str, float], target: object = None) -> None:
        self.truth = truth

    def exchange(self, observation: np.ndarray, reward: float = 0.0, **flags: bool) -> Command:
        self.count += 1
        mode = self.then if self.count > self.at else Mode.TRACK
        return Command(self.count, 0, mode, NEUTRAL.astype(np.float32))


def walk(twin: Twin, bridge: Bridge) -> Outcome:
    outcome = perform(bridge, twin, ResetRequest(0, 0, 3, True), None)  # type: ignore[arg-type]
    assert outcome is not None
    return outcome


@pytest.fixture
def twin():
    found = Twin("locomotion", "", {"train": 1}, Schedule(start=LEVEL))
    yield found
    found.worlds.close()


def test_a_stop_in_mid_stride_ends_limp_and_at_rest(twin):
    outcome = walk(twin, Bridge(Mode.STOP, 60))
    assert (outcome.reason, outcome.steps) == ("stopped: the button", 60)
    assert len(twin.take(False).joints) == 1 + 60 + REST
    assert np.abs(twin.worlds.sim.qvel[0, :6]).max() < 0.3
    assert twin.worlds.sim.qpos[0, 2] < 0.2
    # What follows the stop is no part of the episode's account.
    assert outcome.measures["return"] == pytest.approx(twin.total)
    assert outcome.judged_by == "return"


def test_held_it_stands_and_it_walks_on_when_it_is_let(twin):
    request = ResetRequest(0, 0, 3, True)
    twin.reset(request)
    worlds = twin.worlds
    worlds.commands_drawn = False
    worlds.command[:] = 0.5, 0.0, 0.0

    def run(mode: Mode, periods: int) -> float:
        before = worlds.account.progress[0]
        for k in range(periods):
            twin.follow(Command(k, 0, mode, NEUTRAL.astype(np.float32)))
        return float(worlds.account.progress[0] - before)

    assert run(Mode.TRACK, 100) > 0.3
    run(Mode.HOLD, 25)
    assert abs(run(Mode.HOLD, 50)) < 0.1
    assert worlds.sim.qpos[0, 2] > 0.25
    assert run(Mode.TRACK, 100) > 0.3


def test_a_fall_is_told_as_one_and_ends_limp(twin):
    bridge = Bridge(Mode.TRACK, 10_000)
    follow = twin.follow

    def pushed(command):
        if bridge.count == 20:
            twin.worlds.sim.qpos[0, 3:7] = np.cos(0.7), np.sin(0.7), 0.0, 0.0
        return follow(command)

    twin.follow = pushed
    outcome = walk(twin, bridge)
    assert outcome.reason == "fell"
    assert not outcome.success
    assert outcome.steps < 100
    assert np.abs(twin.worlds.sim.qvel[0, :6]).max() < 0.3


def test_a_change_comes_at_its_time_and_only_what_stays_is_told_as_truth():
    twin = Twin("locomotion", "", {"train": 1}, COURSE)
    for _ in range(2):  # the second episode begins unchanged again
        twin.reset(ResetRequest(0, 0, 3, True))
        told = twin.truth()
        assert {"friction", "strength_FL_hip"} < set(told)
        assert "payload" not in told
        loads = []
        for k in range(12):
            twin.follow(Command(k, 0, Mode.TRACK, NEUTRAL.astype(np.float32)))
            loads.append(truth(twin.worlds)["payload"])
        assert loads == pytest.approx([0.0] * 10 + [8.0] * 2, abs=1e-6)
    twin.worlds.close()


def test_ground_that_would_change_under_a_robot_is_refused():
    rough = Schedule((Change(0.1, {"terrain": "rough", "difficulty": 1.0}),), LEVEL)
    twin = Twin("locomotion", "", {"train": 1}, rough)
    with pytest.raises(AcclimateError, match="cannot change terrain"):
        walk(twin, Bridge(Mode.TRACK, 10_000))
    twin.worlds.close()


def test_a_family_that_cannot_change_takes_no_schedule():
    with pytest.raises(AcclimateError, match="'point-sparse' cannot change"):
        Twin("point-sparse", "", None, Schedule((Change(1.0, {}),)))

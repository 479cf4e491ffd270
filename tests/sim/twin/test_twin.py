"""The twin: the same worlds as in training, behind the bridge's words."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapt.errors import AcclimateError
from robot_bridge.protocol.messages import Command, Mode, ResetRequest
from robot_bridge.system.clock import Rate
from sim.insertion.worlds import CONTROL_PERIOD, FACTORS, HORIZON, SPACE, SPEC, InsertionWorlds
from sim.insertion.wrist import seat_pose
from sim.twin.cli import SCALE, Twin, draw_tasks, main, perform, truth
from sim.twin.takes import BodyName

GROUPS: Any = {"held_out": 3, "unseen_choice": 2}


def request(task: int = 0, episode: int = 0, seed: int = 7) -> ResetRequest:
    return ResetRequest(task, episode, seed, episode == 0)


def command(mode: Mode = Mode.TRACK, action: tuple[float, ...] = (0, 0, 0, 0)) -> Command:
    return Command(1, 0, mode, (np.array(action) * SCALE).astype(np.float32))


@dataclass
class FakeClient:
    """Answers every observation from a list of modes, the last one for ever."""

    modes: list[Mode] = field(default_factory=lambda: [Mode.TRACK])
    truth: dict[str, float] = field(default_factory=dict)
    sent: list[dict[str, Any]] = field(default_factory=list)

    class state:
        reason = "the operator said so"

    def ready(self, truth: dict[str, float]) -> None:
        self.truth = truth

    def exchange(self, observation: np.ndarray, reward: float = 0.0, **flags: bool) -> Command:
        self.sent.append({"observation": observation, "reward": reward, **flags})
        mode = self.modes[min(len(self.sent), len(self.modes)) - 1]
        return command(mode, (0.1, -0.2, -1.0, 0.3))


def test_tasks_are_a_seeds_and_a_groups() -> None:
    tasks = draw_tasks(GROUPS, 7)
    assert len(tasks) == 5
    assert {t.choice("family") for t in tasks[3:]} == {"bs_1363"}
    assert all(t.choice("family") != "bs_1363" for t in tasks[:3])
    again, other = draw_tasks(GROUPS, 7), draw_tasks(GROUPS, 8)
    assert all((a.values == b.values).all() for a, b in zip(tasks, again, strict=True))
    assert any((a.values != b.values).any() for a, b in zip(tasks, other, strict=True))


def test_unknown_task_is_refused_by_name() -> None:
    with pytest.raises(AcclimateError, match=r"task 5 .* 0 to 4 \(held_out 3, unseen_choice 2\)"):
        Twin("wrist", GROUPS).reset(request(task=5))


def test_truth_is_physical() -> None:
    twin = Twin("wrist", GROUPS)
    twin.reset(request(task=1))
    told, task = truth(twin.worlds), draw_tasks(GROUPS, 7)[1]
    seat = seat_pose(task)
    assert set(told) == {f.name for f in FACTORS}
    assert told["seat_x"] == pytest.approx(seat.x, abs=1e-8)
    assert told["seat_yaw"] == pytest.approx(seat.yaw, abs=1e-7)
    assert told["stiffness"] == pytest.approx(task["stiffness"], rel=1e-5)
    assert told["retention"] == pytest.approx(task["retention"], abs=1e-5)


def test_wrist_twin_is_the_training_world() -> None:
    twin = Twin("wrist", GROUPS)
    observation = twin.reset(request())
    worlds = InsertionWorlds(1, 0, threads=1)
    worlds.assign([draw_tasks(GROUPS, 7)[0]])
    worlds.rng = np.random.default_rng([7, 0, 0])
    np.testing.assert_array_equal(observation, worlds.reset(np.ones(1, bool))[0])
    for _ in range(20):
        given = command(action=(0.5, -0.25, -1.0, 0.125))
        step = twin.follow(given)
        expected = worlds.step((given.payload / SCALE)[None])
        np.testing.assert_array_equal(step.observation, expected.observation)
        np.testing.assert_array_equal(step.measured_reward, expected.measured_reward)


@pytest.mark.parametrize("body", ["wrist", "arm"])
def test_an_episode_is_the_same_whatever_ran_before(body: BodyName) -> None:
    def observations(before: tuple[int, ...]) -> np.ndarray:
        twin = Twin(body, GROUPS)
        for task in before:
            twin.reset(request(task=task))
            twin.follow(command(action=(1, 1, -1, 1)))
        first = twin.reset(request(task=2, episode=1))
        steps = [twin.follow(command(action=(0, 0.5, -1, 0))).observation[0] for _ in range(4)]
        return np.stack([first, *steps])

    np.testing.assert_array_equal(observations(()), observations((0, 2)))


def test_modes_hold_and_damp() -> None:
    twin = Twin("arm", GROUPS)
    twin.reset(request())
    worlds = twin.worlds
    twin.follow(command(action=(1, 0, 0, 0)))
    before = worlds.reference.copy()
    twin.follow(command(Mode.HOLD, (1, 1, 1, 1)))
    np.testing.assert_array_equal(worlds.reference, before)
    measured = worlds.sim.qpos.copy()
    twin.follow(command(Mode.DAMP, (1, 1, 1, 1)))
    np.testing.assert_allclose(worlds.reference, measured)
    assert np.abs(worlds.reference - before).max() > 1e-4


def test_an_episode_in_the_bridges_words() -> None:
    client, twin = FakeClient(), Twin("wrist", GROUPS)
    outcome = perform(client, twin, request(task=3), None)  # type: ignore[arg-type]
    assert outcome is not None
    assert client.truth == truth(twin.worlds)
    assert [s.get("first", False) for s in client.sent] == [True] + [False] * outcome.steps
    assert [s.get("last", False) for s in client.sent] == [False] * outcome.steps + [True]
    assert all(s["observation"].shape == (SPEC.observation_size,) for s in client.sent)
    assert outcome.duration == pytest.approx(outcome.steps * CONTROL_PERIOD)
    assert (outcome.reason, outcome.steps) == ("time is up", HORIZON)
    assert not outcome.success
    assert not client.sent[-1]["terminal"]
    assert outcome.measures["peak_force"] > 5
    taken = twin.take(outcome.success)
    assert taken.joints.shape == (outcome.steps + 1, 6)
    assert taken.force.shape == (outcome.steps + 1,)
    np.testing.assert_array_equal(taken.task, draw_tasks(GROUPS, 7)[3].values)


def test_a_stop_ends_the_episode_with_its_reason() -> None:
    client, twin = FakeClient([Mode.TRACK, Mode.HOLD, Mode.STOP]), Twin("wrist", GROUPS)
    outcome = perform(client, twin, request(), None)  # type: ignore[arg-type]
    assert outcome is not None
    assert (outcome.steps, outcome.success) == (2, False)
    assert outcome.reason == "stopped: the operator said so"


def test_an_episode_is_cut_off_when_the_twin_is_to_end() -> None:
    client, twin = FakeClient(), Twin("wrist", GROUPS)
    ends = iter([False, False, True])
    assert perform(client, twin, request(), None, lambda: next(ends)) is None  # type: ignore[arg-type]
    assert len(client.sent) == 3


def test_real_time_waits_once_a_period() -> None:
    slept: list[float] = []
    now = [0]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += round(seconds * 1e9)

    client, twin = FakeClient(), Twin("wrist", GROUPS)
    rate = Rate(CONTROL_PERIOD, lambda: now[0], sleep)
    outcome = perform(client, twin, request(), rate)  # type: ignore[arg-type]
    assert outcome is not None
    assert slept == pytest.approx([CONTROL_PERIOD] * outcome.steps)


def test_settings_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(AcclimateError, match=r"leg"):
        main(["body=leg"])
    with pytest.raises(AcclimateError, match=r"bogus"):
        main(["groups.bogus=1"])
    with pytest.raises(AcclimateError, match=r"no tasks"):
        main(["groups.held_out=0", "groups.unseen_choice=0"])
    with pytest.raises(AcclimateError, match=r"no bridge answers"):
        main([f"endpoint=ipc://{tmp_path}/none", "wait=0.1"])


def test_scale_is_the_action_fields() -> None:
    assert SCALE.tolist() == [f.scale for f in SPEC.action]
    assert SPACE.name == "insertion"

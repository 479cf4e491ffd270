"""The twin: the same worlds as in training, behind the bridge's words."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from adapt.errors import AcclimateError
from robot_bridge.protocol.messages import Command, Mode, ResetRequest
from robot_bridge.system.clock import Rate
from sim.core.registry import FAMILIES, family
from sim.insertion.space import FACTORS, SPACE
from sim.insertion.spec import CONTROL_PERIOD, HORIZON, SPEC
from sim.insertion.worlds import InsertionWorlds
from sim.insertion.wrist import seat_pose
from sim.twin.cli import main
from sim.twin.twin import Twin, default_groups, draw_tasks, perform, truth

SCALE = np.array([f.scale for f in SPEC.action])
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

    size: int = 4

    class state:
        reason = "the operator said so"

    def ready(self, truth: dict[str, float], target: object = None) -> None:
        self.truth = truth

    def exchange(self, observation: np.ndarray, reward: float = 0.0, **flags: bool) -> Command:
        self.sent.append({"observation": observation, "reward": reward, **flags})
        mode = self.modes[min(len(self.sent), len(self.modes)) - 1]
        told = command(mode, (0.1, -0.2, -1.0, 0.3))
        return structs.replace(told, payload=told.payload[: self.size])


def test_tasks_are_a_seeds_and_a_groups() -> None:
    tasks = draw_tasks(SPACE, GROUPS, 7)
    assert len(tasks) == 5
    assert {t.choice("family") for t in tasks[3:]} == {"bs_1363"}
    assert all(t.choice("family") != "bs_1363" for t in tasks[:3])
    again, other = draw_tasks(SPACE, GROUPS, 7), draw_tasks(SPACE, GROUPS, 8)
    assert all((a.values == b.values).all() for a, b in zip(tasks, again, strict=True))
    assert any((a.values != b.values).any() for a, b in zip(tasks, other, strict=True))


def test_unknown_task_is_refused_by_name() -> None:
    with pytest.raises(AcclimateError, match=r"task 5 .* 0 to 4 \(held_out 3, unseen_choice 2\)"):
        Twin("insertion", "wrist", GROUPS).reset(request(task=5))


def test_truth_is_physical() -> None:
    twin = Twin("insertion", "wrist", GROUPS)
    twin.reset(request(task=1))
    told, task = truth(twin.worlds), draw_tasks(SPACE, GROUPS, 7)[1]
    seat = seat_pose(task)
    assert set(told) == {f.name for f in FACTORS}
    assert told["seat_x"] == pytest.approx(seat.x, abs=1e-8)
    assert told["seat_yaw"] == pytest.approx(seat.yaw, abs=1e-7)
    assert told["stiffness"] == pytest.approx(task["stiffness"], rel=1e-5)
    assert told["retention"] == pytest.approx(task["retention"], abs=1e-5)


def test_wrist_twin_is_the_training_world() -> None:
    twin = Twin("insertion", "wrist", GROUPS)
    observation = twin.reset(request())
    worlds = InsertionWorlds(1, 0, threads=1)
    worlds.assign([draw_tasks(SPACE, GROUPS, 7)[0]])
    worlds.rng = np.random.default_rng([7, 0, 0])
    np.testing.assert_array_equal(observation, worlds.reset(np.ones(1, bool))[0])
    for _ in range(20):
        given = command(action=(0.5, -0.25, -1.0, 0.125))
        step = twin.follow(given)
        expected = worlds.step((given.payload / SCALE)[None])
        np.testing.assert_array_equal(step.observation, expected.observation)
        np.testing.assert_array_equal(step.measured_reward, expected.measured_reward)


@pytest.mark.parametrize("body", ["wrist", "arm"])
def test_an_episode_does_not_depend_on_earlier_ones(body: str) -> None:
    def observations(before: tuple[int, ...]) -> np.ndarray:
        twin = Twin("insertion", body, GROUPS)
        for task in before:
            twin.reset(request(task=task))
            twin.follow(command(action=(1, 1, -1, 1)))
        first = twin.reset(request(task=2, episode=1))
        steps = [twin.follow(command(action=(0, 0.5, -1, 0))).observation[0] for _ in range(4)]
        return np.stack([first, *steps])

    np.testing.assert_array_equal(observations(()), observations((0, 2)))


def test_modes_hold_and_damp() -> None:
    twin = Twin("insertion", "arm", GROUPS)
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
    client, twin = FakeClient(), Twin("insertion", "wrist", GROUPS)
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
    assert taken.gauge.shape == (outcome.steps + 1,)
    np.testing.assert_array_equal(taken.task, draw_tasks(SPACE, GROUPS, 7)[3].values)


def test_a_stop_ends_the_episode_with_its_reason() -> None:
    client, twin = (
        FakeClient([Mode.TRACK, Mode.HOLD, Mode.STOP]),
        Twin("insertion", "wrist", GROUPS),
    )
    outcome = perform(client, twin, request(), None)  # type: ignore[arg-type]
    assert outcome is not None
    assert (outcome.steps, outcome.success) == (2, False)
    assert outcome.reason == "stopped: the operator said so"


def test_an_episode_is_cut_off_when_the_twin_is_to_end() -> None:
    client, twin = FakeClient(), Twin("insertion", "wrist", GROUPS)
    ends = iter([False, False, True])
    assert perform(client, twin, request(), None, lambda: next(ends)) is None  # type: ignore[arg-type]
    assert len(client.sent) == 3


def test_real_time_waits_once_a_period() -> None:
    slept: list[float] = []
    now = [0]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += round(seconds * 1e9)

    client, twin = FakeClient(), Twin("insertion", "wrist", GROUPS)
    rate = Rate(CONTROL_PERIOD, lambda: now[0], sleep)
    outcome = perform(client, twin, request(), rate)  # type: ignore[arg-type]
    assert outcome is not None
    assert slept == pytest.approx([CONTROL_PERIOD] * outcome.steps)


def test_settings_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(AcclimateError, match=r"no body 'leg'; expected one of arm, wrist"):
        main(["body=leg"])
    with pytest.raises(AcclimateError, match=r"no task family 'hovering'"):
        main(["family=hovering"])
    with pytest.raises(AcclimateError, match=r"holds no task out"):
        main(["family=cheetah-dir", "groups.held_out=1"])
    with pytest.raises(AcclimateError, match=r"bogus"):
        main(["groups.bogus=1"])
    with pytest.raises(AcclimateError, match=r"no tasks"):
        main(["groups.held_out=0", "groups.unseen_choice=0"])
    with pytest.raises(AcclimateError, match=r"no bridge answers"):
        main([f"endpoint=ipc://{tmp_path}/none", "wait=0.1"])


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_every_family_stands_as_a_robot(name: str) -> None:
    twin = Twin(name, "")
    spec = twin.family.spec
    n_a = spec.action_size
    command = Command(1, 0, Mode.TRACK, np.full(n_a, 0.01, np.float32))
    assert twin.reset(request()).shape == (spec.observation_size,)
    rewards = []
    for mode in (Mode.TRACK, Mode.HOLD, Mode.DAMP):
        step = twin.follow(Command(1, 0, mode, command.payload))
        rewards.append(step.measured_reward[0])
    outcome = twin.outcome(step, 3, "cut")
    assert outcome.measures["return"] == pytest.approx(sum(rewards), rel=1e-5)
    assert outcome.duration == pytest.approx(3 * spec.control_period)
    assert set(outcome.measures) == {*twin.family.embodiment.measures, "return"}
    assert len(twin.take(False).joints) == len(twin.take(False).gauge) == 4
    assert twin.worlds.scene(0).model.nq == twin.take(False).joints.shape[1]
    twin.worlds.close()


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_commands_in_physical_units_become_normalised_actions(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin, actions = Twin(name, ""), []
    twin.reset(request())
    step = twin.worlds.step
    monkeypatch.setattr(twin.worlds, "step", lambda action: actions.append(action) or step(action))
    fields = twin.family.spec.action
    half = np.concatenate([np.full(f.size, f.offset + 0.5 * f.scale) for f in fields])
    twin.follow(Command(1, 0, Mode.TRACK, half.astype(np.float32)))
    np.testing.assert_allclose(actions[0], np.full((1, len(half)), 0.5), rtol=1e-5)
    twin.worlds.close()


def test_an_episode_that_success_does_not_end_goes_on_to_its_horizon() -> None:
    client, twin = FakeClient(size=2), Twin("point-sparse", "")
    outcome = perform(client, twin, request(), None)  # type: ignore[arg-type]
    assert outcome is not None
    assert (outcome.steps, outcome.reason) == (20, "time is up")


def test_without_groups_tasks_are_what_training_never_meets() -> None:
    assert default_groups(SPACE) == {"held_out": 20, "unseen_choice": 20}
    assert default_groups(family("cheetah-vel").space) == {"held_out": 20}
    assert default_groups(family("cheetah-dir").space) == {"train": 20}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_wait_for_a_bridge(tmp_path: Path, number: int, code: int) -> None:
    words = (f"endpoint=ipc://{tmp_path}/none", "wait=600", "body=wrist")
    twin = subprocess.Popen(
        [sys.executable, "-c", WAITING, *words], stderr=subprocess.PIPE, text=True
    )
    assert twin.stderr is not None
    try:
        assert twin.stderr.readline() == "connecting\n"
        twin.send_signal(number)
        _, said = twin.communicate(timeout=60)
    finally:
        twin.kill()
    assert twin.returncode == code
    assert "Traceback" not in said


WAITING = """
import sys
from acclimate import main
from robot_bridge.transport.client_socket import ClientSocket
tell = ClientSocket.tell
def told(*words):
    sent = tell(*words)
    print("connecting", file=sys.stderr, flush=True)
    return sent
ClientSocket.tell = told
sys.exit(main(["twin", *sys.argv[1:]]))
"""
"""Says when the twin's handshake has been sent."""


def test_takes_of_a_family_without_pictures_are_refused_at_the_start() -> None:
    with pytest.raises(AcclimateError, match="no pictures"):
        main(["family=tests.support.toy_worlds:FAMILY", "takes=takes"])

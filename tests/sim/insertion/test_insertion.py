"""The laws of the insertion task."""

from collections.abc import Callable
from itertools import pairwise

import mujoco
import numpy as np
import pytest

from sim.core.task_space import Task
from sim.core.worlds import Step
from sim.insertion.plugs import FAMILIES as PLUGS
from sim.insertion.scripted import Privileged, SpiralSearch
from sim.insertion.space import FACTORS, SPACE, task_factors
from sim.insertion.spec import (
    ACTION_SCALE,
    FORCE_LIMIT,
    HORIZON,
    REFERENCE_CLIP,
    SPEC,
    SUBSTEPS,
    WORKSPACE_HIGH,
    WORKSPACE_LOW,
)
from sim.insertion.worlds import (
    BREAKING_COST,
    FORCE_NOISE,
    SEATED_FRACTION,
    SEATED_PERIODS,
    SEATED_WITHIN,
    SUCCESS_REWARD,
    TORQUE_NOISE,
    InsertionWorlds,
)
from sim.insertion.wrist import (
    SPRING_START,
    STIFFNESS,
    TIMESTEP,
    retention_force,
    seat_pose,
    task_plug,
    wrist_model,
)

WORLDS = 3


@pytest.fixture
def made():
    """Makes worlds that are closed when the test ends."""
    opened = []

    def make(n=WORLDS, tasks=None):
        worlds = InsertionWorlds(n, 0)
        opened.append(worlds)
        worlds.assign(tasks or SPACE.sample(n, np.random.default_rng(7), "all"))
        return worlds

    yield make
    for worlds in opened:
        worlds.close()


def everyone(worlds) -> np.ndarray:
    return np.ones(worlds.worlds, bool)


def trace(worlds, periods=6) -> tuple[np.ndarray, list[Step]]:
    """First observation, and the steps under even random actions of a fixed seed."""
    rng = np.random.default_rng(11)
    first = worlds.reset(everyone(worlds))
    shape = (worlds.worlds, worlds.spec.action_size)
    return first, [worlds.step(rng.uniform(-1, 1, shape)) for _ in range(periods)]


def test_a_reset_moves_the_rigs_that_it_names_alone(made):
    worlds = made()
    trace(worlds)
    elapsed = worlds.elapsed.copy()
    poses = worlds.sim.qpos.copy()
    worlds.reset(np.array([False, True, False]))
    assert worlds.elapsed.tolist() == [elapsed[0], 0, elapsed[2]]
    assert (worlds.sim.qpos[[0, 2]] == poses[[0, 2]]).all()
    assert (worlds.sim.qpos[1] != poses[1]).any()


def test_an_episode_begins_at_rest_with_the_reference_at_the_pose(made):
    worlds = made()
    for _ in range(2):
        trace(worlds)
        worlds.reset(everyone(worlds))
        assert (worlds.reference == worlds.sim.qpos).all() and (worlds.sim.qvel == 0).all()
        assert (worlds.peak_force == 0).all() and (worlds.depth < 0).all()


def per_family(n=1) -> list[Task]:
    rng = np.random.default_rng(5)
    tasks = []
    for family in PLUGS:
        for task in SPACE.sample(n, rng, "all"):
            values = task.values.copy()
            values[SPACE.index("family")] = list(PLUGS).index(family)
            tasks.append(Task(SPACE, values))
    return tasks


def play(worlds: InsertionWorlds, act: Callable[[InsertionWorlds], np.ndarray]) -> list[Step]:
    """One episode's steps; worlds that are done earlier go on until the last one is."""
    worlds.reset(everyone(worlds))
    steps, done = [], np.zeros(worlds.worlds, bool)
    while not done.all():
        steps.append(worlds.step(act(worlds)))
        done |= steps[-1].done
    return steps


def first_ends(steps: list[Step], field: str) -> np.ndarray:
    """The field (B,) at each world's first step that ended its episode."""
    index = np.argmax([s.done for s in steps], axis=0)
    return np.array([getattr(s, field) for s in steps])[index, np.arange(len(index))]


def within_bounds(observation: np.ndarray) -> bool:
    low = np.concatenate([np.full(f.size, f.low) for f in SPEC.observation])
    high = np.concatenate([np.full(f.size, f.high) for f in SPEC.observation])
    return bool((observation >= low).all() and (observation <= high).all())


def test_the_privileged_controller_succeeds_in_every_family(made):
    tasks = per_family(2)
    worlds = made(len(tasks), tasks=tasks)
    steps = play(worlds, Privileged().act)
    won = first_ends(steps, "success")
    assert won.all(), [tasks[i].choice("family") for i in np.flatnonzero(~won)]
    assert all(within_bounds(s.observation) for s in steps)
    assert (first_ends(steps, "discount") == 0).all()
    assert (first_ends(steps, "reward") > SUCCESS_REWARD - 1).all()
    assert (first_ends(steps, "measured_reward") > 1.4).all()
    # Never worth more to stay short of home than to be there.
    before = np.array([s.reward[~s.success] for s in steps if (~s.success).any()], dtype=object)
    assert max(r.max() for r in before) <= 0


def test_depth_is_measured_from_the_nominal_face_and_success_judged_by_the_true_one(made):
    """A robot knows the face to half a millimetre, and must not be told it by its reward."""
    worlds = made(2, tasks=[SPACE.task(socket_z=z) for z in (-5e-4, 5e-4)])
    steps = play(worlds, Privileged().act)
    full = worlds.constants.depth
    for before, step in pairwise(steps):
        told = np.clip(-step.observation[:, 2] / full, 0.0, 1.0)
        went = ~before.done
        np.testing.assert_allclose(
            step.measured_reward[went], (0.5 * told + step.success)[went], atol=1e-6
        )
    assert first_ends(steps, "success").all()
    # The shallow one is home before the robot would say so.
    assert first_ends(steps, "measured_reward")[1] < 1.5


def test_doing_nothing_does_not_insert(made):
    tasks = per_family()
    worlds = made(len(tasks), tasks=tasks)
    steps = play(worlds, lambda w: np.zeros((w.worlds, 4)))
    assert len(steps) == HORIZON
    assert not any(s.success.any() for s in steps) and steps[-1].truncated.all()
    assert (steps[-1].discount == 1).all()
    assert (worlds.depth < 0).all()


def test_observations_stay_within_their_bounds_under_any_action(made):
    tasks = per_family()
    worlds, rng = made(len(tasks), tasks=tasks), np.random.default_rng(0)
    acts = [
        lambda w: rng.uniform(-1, 1, (w.worlds, 4)),
        lambda w: np.tile([1.0, -1.0, -1.0, 1.0], (w.worlds, 1)),
        SpiralSearch().act,
    ]
    for act in acts:
        worlds.reset(everyone(worlds))
        for _ in range(30):
            assert within_bounds(worlds.step(act(worlds)).observation)


def test_the_reference_moves_by_the_action_and_stays_near_the_pose_and_in_the_workspace(made):
    worlds = made()
    worlds.reset(everyone(worlds))
    before = worlds.reference[:, :4].copy()
    action = np.array([0.5, -0.25, 1.0, -0.5])
    worlds.step(np.tile(action, (WORLDS, 1)))
    assert np.allclose(worlds.reference[:, :4] - before, action * ACTION_SCALE)
    for _ in range(40):
        measured = worlds.sim.qpos[:, :4].copy()
        worlds.step(np.ones((WORLDS, 4)))
        lead = worlds.reference[:, :4] - measured
        assert (lead <= REFERENCE_CLIP + 1e-12).all()
        assert (worlds.reference[:, :4] <= WORKSPACE_HIGH + 1e-12).all()
        assert (worlds.reference[:, :4] >= WORKSPACE_LOW - 1e-12).all()
    assert np.allclose(worlds.reference[:, :4], WORKSPACE_HIGH)


def test_breaking_the_force_limit_ends_the_episode_as_a_failure(made):
    task = SPACE.task(family="peg_round")
    worlds = made(2, tasks=[task, task])
    worlds.reset(everyone(worlds))
    # Beside the hole and down at 1 m/s: the second world only.
    worlds.sim.qpos[1, :3] = [7e-3, 7e-3, 0.3e-3]
    worlds.sim.qvel[1, 2] = -1.0
    step = worlds.step(np.zeros((2, 4)))
    assert worlds.peak_force[1] > FORCE_LIMIT > worlds.peak_force[0]
    assert step.discount.tolist() == [1, 0] and step.done.tolist() == [False, True]
    assert not step.success.any() and not step.truncated.any() and not step.diverged.any()
    assert step.reward[1] < -BREAKING_COST < -5 < step.reward[0]


def test_a_seated_plug_that_broke_the_limit_is_no_success(made):
    task = SPACE.task(family="peg_round", retention=0.0)
    worlds = made(2, tasks=[task, task])
    worlds.reset(everyone(worlds))
    pose = np.zeros((2, 6))
    pose[:, 2] = 0.2e-3 - task_plug(task).depth
    worlds.reference[:] = pose
    for period in range(SEATED_PERIODS):
        worlds.sim.place(everyone(worlds), pose)
        # At last the second one strikes the side of its hole.
        worlds.sim.qvel[1, 0] = 1.0 if period == SEATED_PERIODS - 1 else 0.0
        step = worlds.step(np.zeros((2, 4)))
    assert worlds.peak_force[1] > FORCE_LIMIT > worlds.peak_force[0]
    assert (worlds._seated == SEATED_PERIODS).all()
    assert step.success.tolist() == [True, False] and step.discount.tolist() == [0, 0]


def test_success_needs_the_plug_seated_for_consecutive_periods(made):
    task = SPACE.task(family="nema_5_15", retention=0.0)
    worlds = made(1, tasks=[task])
    worlds.reset(everyone(worlds))
    full = task_plug(task).depth
    needed = min(full - SEATED_WITHIN, SEATED_FRACTION * full)

    def at(depth):
        worlds.sim.place(everyone(worlds), np.array([[0, 0, -depth, 0, 0, 0]]))
        worlds.reference[0] = [0, 0, -depth, 0, 0, 0]
        return bool(worlds.step(np.zeros((1, 4))).success[0])

    assert not any(at(needed - 0.5e-3) for _ in range(4))
    seated = [at(full - 0.2e-3) for _ in range(SEATED_PERIODS)]
    assert seated == [False] * (SEATED_PERIODS - 1) + [True]
    # A bounce starts the count anew.
    assert not at(needed - 0.5e-3) and not at(full - 0.2e-3)


def test_a_diverged_world_is_reported_and_is_neither_success_nor_failure(made):
    worlds = made(2)
    worlds.reset(everyone(worlds))
    worlds.sim.qvel[1, 0] = 1e9
    step = worlds.step(np.zeros((2, 4)))
    assert step.diverged.tolist() == [False, True] and step.done.tolist() == [False, True]
    assert not step.success.any() and step.discount[1] == 1
    assert np.isfinite(step.reward).all() and np.isfinite(step.measured_reward).all()
    observation = worlds.reset(step.done)
    assert within_bounds(observation)
    assert not worlds.step(np.zeros((2, 4))).diverged.any()


def test_the_springs_hold_the_plug_with_the_stated_force():
    task = SPACE.task(family="cee_7_16", retention=9.0, socket_z=0.3e-3, clearance=0.25e-3)
    model, plug, face = wrist_model(task), task_plug(task), seat_pose(task).z
    for depth in (2e-3, SPRING_START + 1e-3, 0.5 * plug.depth, plug.depth - 0.1e-3):
        # The reference goes below the depth by as much as the springs should push it back.
        expected, stiffness = retention_force(task, depth, plug), STIFFNESS[2] * task["stiffness"]
        data = mujoco.MjData(model)
        data.qpos[2] = face - depth
        data.ctrl[2] = face - depth - expected / stiffness
        for _ in range(round(1.0 / TIMESTEP)):
            mujoco.mj_step(model, data)
        assert abs(data.qvel).max() < 1e-6
        measured = stiffness * (data.qpos[2] - data.ctrl[2])
        found = retention_force(task, face - data.qpos[2], plug)
        assert measured == pytest.approx(found, rel=0.02, abs=1e-3)
        assert face - data.qpos[2] == pytest.approx(depth, abs=0.05e-3)


def test_retention_is_nothing_outside_and_the_tasks_own_when_seated():
    task = SPACE.task(family="nema_1_15", retention=9.0)
    plug = task_plug(task)
    assert retention_force(task, -1e-3, plug) == retention_force(task, SPRING_START, plug) == 0
    assert retention_force(task, plug.depth, plug) == pytest.approx(9.0)
    assert retention_force(task, plug.depth + 1e-3, plug) == pytest.approx(9.0)


def test_the_wrench_at_rest_is_its_bias_and_in_the_socket_the_springs_as_well(made):
    bias = dict(force_bias_x=1.0, force_bias_y=-0.5, force_bias_z=0.7, torque_bias_z=0.02)
    task = SPACE.task(family="cee_7_16", retention=9.0, clearance=0.25e-3, **bias)
    expected = np.array([1.0, -0.5, 0.7, 0, 0, 0.02])
    worlds, plug = made(2, tasks=[task, task]), task_plug(task)
    worlds.reset(everyone(worlds))
    depth = 0.8 * plug.depth
    pressed = retention_force(task, depth, plug)
    pose = np.zeros((2, 6))
    pose[:, 2] = [8e-3, -depth]
    worlds.sim.place(everyone(worlds), pose)
    worlds.reference[:] = pose
    worlds.reference[1, 2] -= pressed / STIFFNESS[2]
    steps = [worlds.step(np.zeros((2, 4))) for _ in range(60)][20:]
    wrench = np.mean([s.observation[:, 12:18] for s in steps], axis=0)
    error = np.array([FORCE_NOISE] * 3 + [TORQUE_NOISE] * 3) / np.sqrt(len(steps))
    assert (abs(wrench[0] - expected) < 4 * error).all()
    assert abs(wrench[1, 2] - expected[2] + pressed) < 4 * error[2] + 0.1


def test_delay_postpones_what_is_felt(made):
    tasks = [SPACE.task(family="peg_round", wrench_delay=d) for d in (0.0, 0.02)]
    worlds = made(2, tasks=tasks)
    worlds.reset(everyone(worlds))
    # A force that grows by 10 N at every substep: its mean tells which substeps were averaged.
    ramp = np.zeros((2, SUBSTEPS, 6))
    ramp[:, :, 2] = 10.0 * np.arange(SUBSTEPS)
    peak = worlds._sense(ramp)
    newest = np.arange(SUBSTEPS)[-(SUBSTEPS // 2) :].mean()
    expected = 10 * (newest - np.array([0.0, 0.02]) / TIMESTEP)
    assert np.allclose(worlds._wrench[:, 2], expected, atol=5 * FORCE_NOISE)
    # The force limit, which guards the part, is not delayed.
    assert (peak == 10 * (SUBSTEPS - 1)).all()


def test_factors_are_the_tasks_own_in_their_units():
    task = SPACE.task(socket_x=1e-3, grasp_x=0.2e-3, socket_yaw=0.05, grasp_yaw=-0.01)
    physical = task_factors(task) * [f.scale for f in FACTORS] + [f.offset for f in FACTORS]
    named = dict(zip([f.name for f in FACTORS], physical, strict=True))
    assert named["seat_x"] == pytest.approx(1e-3 - 0.2e-3 * np.cos(0.06))
    assert named["seat_y"] == pytest.approx(-0.2e-3 * np.sin(0.06))
    assert named["seat_yaw"] == pytest.approx(0.06)
    assert np.exp(named["clearance"]) == pytest.approx(task["clearance"])
    assert np.exp(named["friction"]) == pytest.approx(task["friction"])
    assert named["stiffness"] == pytest.approx(1) and named["retention"] == pytest.approx(6)

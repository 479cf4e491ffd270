"""The locomotion worlds: a body at rest stands, and each factor acts as its name says."""

import mujoco
import numpy as np
import pytest

from sim.locomotion import worlds as module
from sim.locomotion.model import ground, nominal_model, task_model
from sim.locomotion.spec import CONTROL_PERIOD, N_ACTION, SPEC
from sim.locomotion.task import FACTORS, SPACE, strengths, task_factors
from sim.locomotion.worlds import LocomotionWorlds
from sim.robots import go2


@pytest.fixture
def make():
    made = []

    def build(*tasks, seed=0):
        worlds = LocomotionWorlds(len(tasks), seed, 1)
        worlds.commands_drawn = False
        worlds.assign(tasks)
        worlds.reset(np.ones(len(tasks), bool))
        made.append(worlds)
        return worlds

    yield build
    for worlds in made:
        worlds.close()


def rest(worlds, periods):
    steps = [worlds.step(np.zeros((worlds.worlds, N_ACTION), np.float32)) for _ in range(periods)]
    return steps[-1]


def test_the_body_weighs_and_measures_what_its_maker_says():
    model = nominal_model()
    assert mujoco.mj_getTotalmass(model) == pytest.approx(15.2, abs=0.05)
    assert [model.actuator(i).name for i in range(model.nu)] == list(go2.JOINTS)
    assert [model.joint(1 + i).name for i in range(12)] == list(go2.JOINTS)
    assert np.array_equal(model.actuator_forcerange[:, 1], go2.TORQUE_LIMITS)
    low, high = go2.joint_ranges()
    assert model.jnt_range[1:] == pytest.approx(np.stack([low, high], axis=1))
    assert ((low < go2.STANCE) & (go2.STANCE < high)).all()


def test_told_to_stand_it_stands(make):
    worlds = make(SPACE.task(), SPACE.task(payload=9.0), SPACE.task(slope=0.2))
    step = rest(worlds, 150)
    assert (step.discount == 1.0).all()
    assert (worlds.sim.qpos[:, 2] > 0.22).all()
    assert np.abs(worlds.sim.qvel[:, :3]).max() < 0.05
    assert (step.measured_reward > 2.0).all()


def test_a_limp_robot_falls_and_its_episode_ends(make):
    worlds = make(SPACE.task())
    worlds.sim.qpos[0, 3:7] = np.cos(0.8), np.sin(0.8), 0, 0
    for _ in range(50):
        step = worlds.step(np.zeros((1, N_ACTION), np.float32))
        if step.discount[0] == 0.0:
            break
    assert step.done[0]
    assert not step.success[0]
    assert step.measured_reward[0] == 0.0


def test_a_robot_that_walks_over_the_edge_goes_on_at_the_other_side(make):
    worlds = make(SPACE.task())
    worlds.sim.qpos[0, 0], worlds.sim.qvel[0, 0] = 3.999, 0.5
    rest(worlds, 3)
    assert -4.0 <= worlds.sim.qpos[0, 0] < -3.9
    assert worlds.sim.qpos[0, 2] > 0.2


def test_gravity_is_observed_in_the_bodys_frame(make):
    worlds = make(SPACE.task(slope=0.3))
    worlds.rng = np.random.default_rng(0)
    for yaw in (0.0, 1.2, -2.5):
        worlds.sim.qpos[0, 3:7] = np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)
        seen = worlds._observe()[0, :3]
        down = np.array([-np.sin(0.3) * np.cos(yaw), np.sin(0.3) * np.sin(yaw), -np.cos(0.3)])
        assert seen == pytest.approx(down, abs=5 * module.GRAVITY_NOISE)


def test_a_delay_holds_targets_back_to_the_substep(make):
    tasks = [SPACE.task(delay=d) for d in (0.0, 0.005, 0.02, 0.03, 0.04)]
    worlds = make(*tasks)
    worlds._targets = np.tile(np.array([2.0, 1.0, 0.0])[:, None], (5, 1, 12))
    sent = worlds._delayed()[..., 0]
    expected = [[2, 2, 2, 2], [1, 2, 2, 2], [1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]]
    assert np.array_equal(sent, expected)


def test_a_weak_joint_is_weak_and_no_other(make):
    task = SPACE.task(weak_joint="RL_calf", strength=0.3)
    model, whole = task_model(task, ground(task)), nominal_model()
    ratio = model.actuator_gainprm[:, 0] / whole.actuator_gainprm[:, 0]
    assert ratio[go2.JOINTS.index("RL_calf")] == pytest.approx(0.3)
    assert np.sum(ratio == 1.0) == 11
    assert np.array_equal(ratio, strengths(task))
    assert np.array_equal(model.actuator_forcerange[:, 1], ratio * go2.TORQUE_LIMITS)


def test_a_load_moves_the_centre_of_mass_to_where_it_lies():
    task = SPACE.task(payload=8.0, payload_x=0.1, payload_y=-0.05)
    bare, loaded = (task_model(t, ground(t)) for t in (SPACE.task(), task))
    centres = []
    for model in (bare, loaded):
        data = mujoco.MjData(model)
        data.qpos[:] = [0, 0, 0.32, 1, 0, 0, 0, *go2.STANCE]
        mujoco.mj_forward(model, data)
        centres.append(data.subtree_com[1])
    mass = mujoco.mj_getTotalmass(bare)
    assert mujoco.mj_getTotalmass(loaded) == pytest.approx(mass + 8.0, abs=0.01)
    moved = (mass + 8.0) * centres[1][:2] - mass * centres[0][:2]
    assert moved == pytest.approx([0.8, -0.4], abs=1e-3)


def test_feet_on_ice_have_its_friction(make):
    worlds = make(SPACE.task(ice=0.6, seed=1), SPACE.task())
    worlds._icy[0] = True
    rest(worlds, 1)
    feet = worlds._feet
    assert worlds.sim.model(0).geom_friction[feet, 0] == pytest.approx(0.1)
    assert worlds.sim.model(1).geom_friction[feet, 0] == pytest.approx(0.8)


def test_a_body_may_change_within_an_episode(make):
    worlds = make(SPACE.task(), SPACE.task())
    rest(worlds, 100)
    before = worlds.sim.qpos[:, 2].copy()
    worlds.change(np.array([True, False]), [SPACE.task(payload=9.0)])
    rest(worlds, 100)
    sunk = before - worlds.sim.qpos[:, 2]
    assert sunk[0] > 0.005
    assert abs(sunk[1]) < 0.5 * sunk[0]
    assert worlds.factors()[0, 3] == pytest.approx(task_factors(SPACE.task(payload=9.0))[3])


def test_factors_are_standard_over_the_space():
    tasks = SPACE.sample(4000, np.random.default_rng(0), "all")
    found = np.array([task_factors(t) for t in tasks])
    assert found.shape == (4000, len(FACTORS))
    assert found.mean(0) == pytest.approx(0.0, abs=0.1)
    assert found.std(0) == pytest.approx(1.0, abs=0.12)


def test_what_is_observed_fits_the_spec_and_repeats_under_a_seed(make):
    tasks = SPACE.sample(3, np.random.default_rng(1), "train")
    one, same = make(*tasks, seed=4), make(*tasks, seed=4)
    rng = np.random.default_rng(2)
    low = np.concatenate([np.full(f.size, f.low) for f in SPEC.observation])
    high = np.concatenate([np.full(f.size, f.high) for f in SPEC.observation])
    for _ in range(20):
        action = rng.uniform(-1, 1, (3, N_ACTION)).astype(np.float32)
        a, b = one.step(action), same.step(action)
        assert (a.observation == b.observation).all()
        assert a.observation.shape == (3, SPEC.observation_size)
        assert ((low <= a.observation) & (a.observation <= high)).all()
    assert CONTROL_PERIOD == pytest.approx(0.02)


def test_under_damping_alone_it_sinks_to_the_ground_without_a_blow(make):
    worlds = make(SPACE.task())
    rest(worlds, 50)
    heights, speeds = [], []
    for _ in range(60):
        worlds.damp()
        rest(worlds, 1)
        heights.append(worlds.sim.qpos[0, 2])
        speeds.append(abs(worlds.sim.qvel[0, 2]))
    assert heights[-1] < 0.15
    assert max(speeds) < 2.0
    rest(worlds, 1)
    model = worlds.sim.model(0)
    assert np.array_equal(model.actuator_gainprm[:, 0], np.full(12, go2.KP))


def test_a_held_robot_stands_after_any_command(make):
    worlds = make(SPACE.task())
    worlds.command[:] = 1.0, 0.0, 0.0
    rest(worlds, 50)
    worlds.stand()
    rest(worlds, 100)
    assert np.abs(worlds.sim.qvel[0, :3]).max() < 0.05


def test_an_episodes_account(make):
    worlds = make(SPACE.task())
    worlds.command[:] = 0.5, 0.0, 0.0
    rest(worlds, 20)
    assert worlds.mean_error[0] == pytest.approx(0.5, abs=0.4)
    assert worlds.energy[0] > 0.0
    assert 0.0 < worlds.distance[0] < 1.0
    worlds.reset(np.ones(1, bool))
    assert worlds.distance[0] == worlds.energy[0] == worlds.mean_error[0] == 0.0

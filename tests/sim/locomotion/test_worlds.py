"""The locomotion worlds: a body at rest stands, and each factor acts as its name says."""

import mujoco
import numpy as np
import pytest

from sim.locomotion import worlds as module
from sim.locomotion.family import FLAT
from sim.locomotion.geometry import ground_normal
from sim.locomotion.model import ground, nominal_model, task_model
from sim.locomotion.spec import CONTROL_PERIOD, N_ACTION, SPEC
from sim.locomotion.task import CASES, FACTORS, ICE_FRICTION, SPACE, actual, strengths, task_factors
from sim.locomotion.worlds import LocomotionWorlds
from sim.robots import go2

COARSE = {"substeps": 2, "anywhere": True}


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
    assert worlds.sim.model(0).geom_friction[feet, 0] == pytest.approx(ICE_FRICTION)
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
    for _ in range(100):
        worlds.stand()
        rest(worlds, 1)
    assert np.abs(worlds.sim.qvel[0, :3]).max() < 0.05


def test_an_episodes_account(make):
    worlds = make(SPACE.task())
    worlds.command[:] = 0.5, 0.0, 0.0
    rest(worlds, 20)
    account = worlds.account
    assert account.error[0] == pytest.approx(0.5, abs=0.4)
    assert account.energy[0] > 0.0
    assert 0.0 < account.distance[0] < 1.0
    assert account.asked[0] == pytest.approx(20 * CONTROL_PERIOD * 0.5)
    assert abs(account.progress[0]) <= account.distance[0]
    worlds.reset(np.ones(1, bool))
    assert account.distance[0] == account.energy[0] == account.error[0] == 0.0


def test_a_case_leaves_the_rest_of_the_robot_whole():
    given = {"friction": 0.2, "ice": 0.5, "payload": 8.0, "strength": 0.1, "weak_joint": 5}
    for number, (case, names) in enumerate(CASES.items()):
        task = SPACE.task(case=number, slope=0.3, **given)
        acts = actual(task)
        for name in ("friction", "ice", "payload", "strength"):
            assert acts[name] == (given[name] if name in names else SPACE[name].nominal), case
        assert (strengths(task).min() < 1.0) == ("strength" in names)


def test_no_slope_is_too_steep_for_its_ground():
    assert actual(SPACE.task(slope=0.3, friction=0.8))["slope"] == pytest.approx(0.3)
    for slippery in ({"friction": 0.15}, {"friction": 0.8, "ice": 0.3}):
        acts = actual(SPACE.task(slope=0.35, **slippery))
        grip = min(acts["friction"], ICE_FRICTION) if acts["ice"] else acts["friction"]
        assert 0.0 < np.tan(acts["slope"]) < grip


def test_a_body_on_a_slope_of_the_ground_is_level_there(make):
    worlds = make(SPACE.task())
    x = (np.arange(160) - 80)[:, None] * 0.05
    worlds._heights[0] = 0.2 * np.abs(x) * np.ones((160, 160))
    for yaw in (0.0, 0.7, 2.0):
        heights = worlds._heights
        worlds.sim.qpos[0, :7] = 2.0, 0.0, 0.7, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)
        corners = module.terrain.height_at(heights, worlds._corners())
        normal = ground_normal(corners, np.array([yaw]))[0]
        assert normal == pytest.approx(np.array([-0.2, 0.0, 1.0]) / np.hypot(1, 0.2), abs=0.03)


def test_training_is_the_same_robot_in_coarser_steps(make):
    tasks = [SPACE.task(), SPACE.task(payload=6.0)]
    fine, coarse = make(*tasks), LocomotionWorlds(2, 0, 1, **COARSE)
    coarse.commands_drawn = False
    coarse.assign(tasks)
    coarse.reset(np.ones(2, bool))
    for worlds in (fine, coarse):
        rest(worlds, 100)
    assert coarse.sim.qpos[:, 2] == pytest.approx(fine.sim.qpos[:, 2], abs=0.01)
    coarse.close()
    flat = FLAT.space.sample(20, np.random.default_rng(0), "train")
    assert {t.choice("terrain") for t in flat} == {"flat"}
    assert {t.choice("case") for t in flat} == {"nominal"}


def test_episodes_start_on_the_ground_wherever_they_start():
    worlds = LocomotionWorlds(12, 3, 1, **COARSE)
    worlds.assign([SPACE.task(terrain=2, difficulty=0.6)] * 12)
    worlds.reset(np.ones(12, bool))
    assert np.abs(worlds.sim.qpos[:, :2]).max() > 2.0
    motion = worlds._motion(np.zeros((12, worlds.sim.model(0).nsensordata)))
    assert (motion.height > 0.2).all()
    worlds.close()


def test_a_standing_robots_feet_stand_and_do_not_slip(make):
    worlds = make(SPACE.task())
    rest(worlds, 50)
    worlds.account.reset(np.ones(1, bool))
    worlds.command[:] = 0.06, 0.0, 0.0
    rest(worlds, 1)
    worlds.command[:] = 0.0
    rest(worlds, 30)
    gait = worlds.account.gait()
    assert gait["duty"][0] > 0.9
    assert gait["slip"][0] < 0.05
    assert gait["action_rate"][0] == 0.0
    assert gait["torque"][0] > 1.0

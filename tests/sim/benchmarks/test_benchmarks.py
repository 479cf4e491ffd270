"""The published running families: rewards, endings and tasks as the papers define them."""

import warnings
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest

from sim.benchmarks import ant, cheetah, walker
from sim.benchmarks.running import HORIZON
from sim.core.batch import MAX_SPEED
from sim.core.parameter import TaskSpaceError
from sim.core.registry import family

COUNTS = {
    "cheetah-vel": (100, 30),
    "cheetah-dir": (2, 0),
    "ant-goal": (150, 30),
    "ant-dir": (2, 0),
    "walker-params": (40, 10),
    "point-sparse": (80, 20),
}
RUNNERS = sorted(set(COUNTS) - {"point-sparse"})


@pytest.fixture
def made():
    """Worlds on the given tasks, reset, closed when the test ends."""
    opened = []

    def make(name, tasks, seed=0):
        worlds = family(name).make(len(tasks), seed, 2)
        opened.append(worlds)
        worlds.assign(tasks)
        worlds.reset(np.ones(len(tasks), bool))
        return worlds

    yield make
    for worlds in opened:
        worlds.close()


def moved(worlds, action):
    """The step, and how far each world's root went in it (B, n_q)."""
    before = worlds.sim.qpos.copy()
    step = worlds.step(action)
    return step, worlds.sim.qpos - before


# ------------------------------------------------------------------ tasks


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_the_sets_have_the_papers_sizes_and_are_always_the_same(name):
    space = family(name).space
    for split, n in zip(("train", "held_out"), COUNTS[name], strict=True):
        if not n:
            with pytest.raises(TaskSpaceError, match="holds no task out"):
                space.sample(1, np.random.default_rng(0), split)
            assert not space.holds_out(split)
            continue
        rows = [
            {tuple(t.values) for t in space.sample(n, np.random.default_rng(seed), split)}
            for seed in (0, 1)
        ]
        assert rows[0] == rows[1] and len(rows[0]) == n
    assert family(name).judged_by == "return"


def test_velocities_are_uniform_from_0_to_3():
    tasks = cheetah.VEL_SPACE.sample(3000, np.random.default_rng(0), "all")
    counts, _ = np.histogram([t["velocity"] for t in tasks], 6, (0.0, 3.0))
    assert counts.sum() == 3000 and abs(counts - 500).max() < 5 * np.sqrt(500)


def test_goals_of_the_ant_are_uniform_over_a_disc_of_3_metres():
    goals = np.array(
        [ant.goal(t) for t in ant.GOAL_SPACE.sample(4000, np.random.default_rng(0), "all")]
    )
    distance = np.linalg.norm(goals, axis=1)
    assert distance.max() <= 3.0
    for radius in (1.0, 2.0):
        assert abs((distance < radius).mean() - (radius / 3) ** 2) < 0.03
    assert abs((goals > 0).mean(axis=0) - 0.5).max() < 0.04


def test_both_directions_are_in_the_training_set():
    for space in (cheetah.DIR_SPACE, ant.DIR_SPACE):
        drawn = {t.choice("direction") for t in space.sample(2, np.random.default_rng(0))}
        assert drawn == {"forward", "backward"}


# ------------------------------------------------------------------ physics


@pytest.mark.parametrize(
    ("name", "reference"), [("cheetah-dir", "HalfCheetah-v5"), ("ant-dir", "Ant-v5")]
)
def test_the_body_moves_as_gymnasiums_own(made, name, reference):
    worlds = made(name, [family(name).space.task(direction="forward")])
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its model has an attribute that MuJoCo deprecates
        env: Any = gymnasium.make(reference).unwrapped
    env.reset(seed=0)
    env.set_state(worlds.sim.qpos[0].copy(), worlds.sim.qvel[0].copy())
    assert env.dt == worlds.spec.control_period
    for _ in range(10):
        action = rng.uniform(-1, 1, (1, worlds.spec.action_size))
        step = worlds.step(action)
        *_, info = env.step(action[0])
        assert worlds.sim.qpos[0] == pytest.approx(env.data.qpos, abs=1e-6)
        assert worlds.sim.qvel[0] == pytest.approx(env.data.qvel, abs=1e-4)
        if name == "cheetah-dir":
            expected = info["x_velocity"] - 0.05 * (action**2).sum()
            assert step.reward[0] == pytest.approx(expected, abs=1e-5)
    env.close()


@pytest.mark.parametrize("name", RUNNERS)
def test_a_failed_world_is_no_fall_and_has_a_finite_reward(made, name):
    worlds = made(name, [family(name).space.task()] * 2)
    worlds.sim.qvel[1] = 1e3 * MAX_SPEED
    step = worlds.step(np.zeros((2, worlds.spec.action_size)))
    assert step.diverged.tolist() == [False, True] and step.discount.tolist() == [1, 1]
    assert np.isfinite(step.reward).all() and not step.success.any()
    worlds.reset(step.done)
    assert not worlds.step(np.zeros((2, worlds.spec.action_size))).diverged.any()


@pytest.mark.parametrize("name", [n for n in RUNNERS if n != "ant-goal"])
def test_the_context_gets_the_reward_itself(made, name):
    worlds = made(name, [family(name).space.task()] * 2)
    step = worlds.step(np.full((2, worlds.spec.action_size), 0.3))
    assert (step.reward == step.measured_reward).all() and worlds.spec.horizon == HORIZON


# ------------------------------------------------------------------ half-cheetah


def test_the_cheetah_is_paid_for_the_tasks_velocity_and_pays_for_torque(made):
    targets = np.array([0.0, 1.0, 3.0])
    worlds = made("cheetah-vel", [cheetah.VEL_SPACE.task(velocity=v) for v in targets])
    for push in (0.0, 4.0):
        worlds.sim.qvel[:, 0] = push
        action = np.tile([0.5, -1.0, 0.0, 0.0, 0.2, 0.0], (3, 1))
        step, gone = moved(worlds, action)
        velocity = gone[:, 0] / 0.05
        expected = -np.abs(velocity - targets) - 0.05 * (0.25 + 1.0 + 0.04)
        assert step.reward == pytest.approx(expected, abs=1e-5)
    assert velocity.min() > 1.0


def test_the_two_directions_of_the_cheetah_are_paid_opposite_velocities(made):
    tasks = [cheetah.DIR_SPACE.task(direction=d) for d in ("forward", "backward")]
    worlds = made("cheetah-dir", tasks)
    worlds.sim.state[1] = worlds.sim.state[0]
    worlds.sim.qvel[:, 0] = 2.0
    step, gone = moved(worlds, np.full((2, 6), 0.5))
    cost = 0.05 * 6 * 0.25
    assert step.reward.sum() == pytest.approx(-2 * cost, abs=1e-5)
    assert step.reward[0] == pytest.approx(gone[0, 0] / 0.05 - cost, abs=1e-5)
    assert worlds.factors().tolist() == [[1.0], [-1.0]]


# ------------------------------------------------------------------ ant


def test_the_ant_is_judged_by_nearness_to_its_goal_in_the_sum_of_axes(made):
    tasks = [ant.GOAL_SPACE.task(distance=2.0, angle=a) for a in (0.0, np.pi / 2)]
    worlds = made("ant-goal", tasks)
    worlds.sim.state[1] = worlds.sim.state[0]
    step = worlds.step(np.full((2, 8), 0.5))
    x, y = worlds.sim.qpos[0, :2]
    cost = 0.1 * 8 * 0.25
    assert step.measured_reward[0] == pytest.approx(-abs(x - 2) - abs(y) - cost, abs=1e-5)
    assert step.measured_reward[1] == pytest.approx(-abs(x) - abs(y - 2) - cost, abs=1e-5)
    assert step.observation[0, :2] == pytest.approx([x, y])


def test_critics_of_the_ant_get_the_same_return_but_for_where_it_starts_and_ends(made):
    """What makes shaping harmless: discounted rewards telescope to a difference of potentials."""
    worlds, gamma = made("ant-goal", [ant.GOAL_SPACE.task()]), ant.SHAPING_DISCOUNT
    rng = np.random.default_rng(0)
    potential = [-worlds._distance()[0] / (1 - gamma)]
    shaped, judged = [], []
    for _ in range(40):
        step = worlds.step(rng.uniform(-1, 1, (1, 8)))
        shaped.append(float(step.reward[0]))
        judged.append(float(step.measured_reward[0]))
        potential.append(-worlds._distance()[0] / (1 - gamma))
    weights = gamma ** np.arange(40)
    expected = weights @ judged + gamma**40 * potential[-1] - potential[0]
    assert weights @ shaped == pytest.approx(expected, abs=1e-3)
    # A step is paid for what it gains; the distance itself has gone.
    control = np.array(judged) - np.array(potential[1:]) * (1 - gamma)
    assert np.array(shaped) - control == pytest.approx(np.diff(potential), abs=1e-3)


def test_the_ant_is_paid_for_its_velocity_and_for_standing(made):
    tasks = [ant.DIR_SPACE.task(direction=d) for d in ("forward", "backward")]
    worlds = made("ant-dir", tasks)
    worlds.sim.state[1] = worlds.sim.state[0]
    worlds.sim.qvel[:, 0] = 1.5
    step, gone = moved(worlds, np.full((2, 8), 0.5))
    assert step.reward.sum() == pytest.approx(2 * (1 - 0.5 * 8 * 0.25), abs=1e-5)
    assert step.reward[0] - step.reward[1] == pytest.approx(2 * gone[0, 0] / 0.05, abs=1e-4)
    assert (step.discount == 1).all()


def test_an_ant_too_low_or_too_high_has_ended_its_episode(made):
    worlds = made("ant-dir", [ant.DIR_SPACE.task()] * 4)
    worlds.sim.qpos[:, 2] = [0.19, 0.21, 0.99, 1.01]
    assert worlds._fallen().tolist() == [True, False, False, True]
    worlds.sim.qpos[:, 2] = [0.75, 0.75, 0.75, 2.0]
    step = worlds.step(np.zeros((4, 8)))
    assert step.discount.tolist() == [1, 1, 1, 0] and not step.truncated.any()
    goal = made("ant-goal", [ant.GOAL_SPACE.task()])
    goal.sim.qpos[0, 2] = 2.0
    assert not goal.step(np.zeros((1, 8))).done.any()


def test_the_ants_orientation_starts_as_a_rotation(made):
    worlds = made("ant-goal", [ant.GOAL_SPACE.task()] * 8)
    assert np.linalg.norm(worlds.sim.qpos[:, 3:7], axis=1) == pytest.approx(np.ones(8))


# ------------------------------------------------------------------ walker


def test_the_walkers_parameters_are_the_nominal_ones_multiplied():
    nominal, task = walker.nominal_model(), walker.SPACE.task()
    same = walker.walker_model(task)
    for field in ("body_mass", "body_inertia", "dof_damping", "geom_friction"):
        assert (getattr(same, field) == getattr(nominal, field)).all(), field
    task = walker.SPACE.task(
        mass_leg=2.0, inertia_torso=3.0, damping_foot=0.5, friction_floor=1.5, friction_foot=0.5
    )
    model = walker.walker_model(task)
    assert model.body_mass / nominal.body_mass.clip(1e-9) == pytest.approx([0, 1, 1, 2, 1, 1, 1, 1])
    ratio = model.body_inertia[1:] / nominal.body_inertia[1:]
    assert ratio[0] == pytest.approx([3.0] * 3) and ratio[1:] == pytest.approx(np.ones((6, 3)))
    joint = model.joint("foot_joint").dofadr
    assert model.dof_damping[joint] == 0.5 * nominal.dof_damping[joint]
    friction = model.geom_friction[:, 0]
    assert friction[model.geom("floor").id] == pytest.approx(1.5 * 0.7)
    assert friction[model.geom("foot_geom").id] == pytest.approx(0.5 * 0.9)
    # The nominal model is shared: no task may have touched it.
    assert (walker.nominal_model().body_mass == same.body_mass).all()


def test_multipliers_reach_from_a_base_to_the_third_power_to_its_inverse():
    for p in walker.SPACE.parameters:
        base = 1.3 if p.name.startswith("damping") else 1.5
        assert p.high == pytest.approx(base**3) and p.low == pytest.approx(base**-3)
    assert len(walker.SPACE.parameters) == 7 + 7 + 6 + 8


def test_a_lighter_walker_moves_otherwise_than_a_heavy_one(made):
    tasks = [walker.SPACE.task(**{f"mass_{b}": m for b in walker.BODIES}) for m in (0.4, 3.0)]
    worlds = made("walker-params", tasks)
    worlds.sim.state[1] = worlds.sim.state[0]
    worlds.step(np.full((2, 6), 0.5))
    assert abs(worlds.sim.qvel[0] - worlds.sim.qvel[1]).max() > 0.5


def test_the_walker_is_paid_for_its_velocity_and_falls_by_height_or_angle(made):
    worlds = made("walker-params", [walker.SPACE.task()] * 4)
    worlds.sim.qvel[:, 0] = 1.0
    worlds.sim.qpos[1, 2] = 1.2
    worlds.sim.qpos[2, 1] = 0.6
    worlds.sim.qpos[3, 1] = 2.5
    action = np.full((4, 6), 0.5)
    step, gone = moved(worlds, action)
    assert step.discount.tolist() == [1, 0, 0, 0]
    expected = gone[:, 0] / 0.016 + 1 - 1e-3 * 6 * 0.25
    assert step.reward == pytest.approx(expected, abs=1e-4)


def test_the_walkers_speeds_are_observed_up_to_ten(made):
    worlds = made("walker-params", [walker.SPACE.task()])
    worlds.sim.qvel[0, 3] = 60.0
    step = worlds.step(np.zeros((1, 6)))
    assert abs(worlds.sim.qvel).max() > 10 and abs(step.observation[0, 8:]).max() == 10


def test_no_body_carries_its_textures():
    for model in (cheetah.cheetah_model(), ant.ant_model(), walker.nominal_model()):
        assert model.ntexdata == 0
    assert mujoco.mj_getTotalmass(cheetah.cheetah_model()) == pytest.approx(14.0)

"""What arms differ in, as task parameters of the spaces that have them."""

import mujoco
import numpy as np
import pytest

from sim.core.task_space import Task
from sim.insertion.arm import ArmBody, arm_model
from sim.insertion.body import WristBody
from sim.insertion.parts.described import plug_file
from sim.insertion.parts.spaces import BROAD, CONDITIONS, VARIATION, plug_space
from sim.insertion.space import SPACE
from sim.insertion.worlds import FORCE_NOISE, InsertionWorlds
from sim.insertion.wrist import wrist_model

ONE = np.ones(1, bool)
START = np.array([[0, 0, 0.006, 0, 0, 0.0]])


def broad(**values: float) -> Task:
    return BROAD.task(family="peg", **values)


def test_the_first_space_has_none_of_them_and_nominal_values_change_nothing():
    assert not {p.name for p in VARIATION} & set(SPACE.names)
    wide = {p.name: SPACE[p.name].nominal for p in SPACE.parameters if p.scale != "choice"}
    wide["clearance"] = 0.15e-3
    ours, theirs = arm_model(broad(**wide)), arm_model(SPACE.task(family="peg_round"))
    np.testing.assert_array_equal(ours.dof_frictionloss, theirs.dof_frictionloss)
    tool = mujoco.mj_name2id(ours, mujoco.mjtObj.mjOBJ_BODY, "tool")
    np.testing.assert_array_equal(ours.body_mass[tool], theirs.body_mass[tool])
    ours, theirs = wrist_model(broad(**wide)), wrist_model(SPACE.task(family="peg_round"))
    np.testing.assert_array_equal(ours.actuator_biasprm, theirs.actuator_biasprm)
    assert (ours.dof_frictionloss == 0).all()


def test_a_late_reference_is_followed_when_it_takes_effect():
    reference = START + np.array([[0.002, 0, 0, 0, 0, 0]])
    for make in (WristBody, ArmBody):
        poses = []
        for delay, substeps in ((0.04, 25), (0.0, 5)):
            body = make(1)
            body.assign([broad(command_delay=delay)])
            body.place(ONE, START)
            if delay == 0.0:
                body.step(START, 20)
            body.step(reference, substeps)
            poses.append(body.qpos[0].copy())
            # From the next step on it is as late again.
            body.step(reference, 25)
            body.close()
        np.testing.assert_allclose(poses[0], poses[1], atol=1e-9)
        assert poses[0][0] > 0.05e-3


def test_damping_friction_and_payload_reach_the_compiled_models():
    nominal, other = wrist_model(broad()), wrist_model(broad(damping=1.3, tip_friction=1.2))
    ratio = other.actuator_biasprm[:, 2] / nominal.actuator_biasprm[:, 2]
    np.testing.assert_allclose(ratio, 1.3)
    np.testing.assert_allclose(other.dof_frictionloss, [1.2] * 3 + [0] * 3)
    nominal, other = arm_model(broad()), arm_model(broad(joint_friction=1.5, payload=0.4))
    np.testing.assert_allclose(other.dof_frictionloss, 1.5 * nominal.dof_frictionloss)
    tool = mujoco.mj_name2id(other, mujoco.mjtObj.mjOBJ_BODY, "tool")
    assert other.body_mass[tool] - nominal.body_mass[tool] == pytest.approx(0.4)


def test_the_arms_damping_follows_the_task():
    found = []
    for damping in (1.0, 0.6):
        body = ArmBody()
        body.assign([broad(damping=damping)])
        body.place(ONE, START)
        found.append(body._control.damping.copy())
    np.testing.assert_allclose(found[1], 0.6 * found[0])


def test_doubled_noise_is_twice_as_wide():
    tasks = [plug_space(plug_file("eu_ac"), c).task() for c in ("", "noise doubled")]
    worlds = InsertionWorlds(2, 0)
    worlds.assign(tasks)
    worlds.reset(np.ones(2, bool))
    force = [worlds.step(np.zeros((2, 4))).observation[:, 12:15] for _ in range(60)]
    worlds.close()
    spread = np.std(force, axis=0).mean(axis=1)
    assert spread[0] == pytest.approx(FORCE_NOISE, rel=0.25)
    assert spread[1] == pytest.approx(2 * FORCE_NOISE, rel=0.25)


def test_every_condition_is_drawn():
    rng = np.random.default_rng(0)
    for condition, changed in CONDITIONS.items():
        space = plug_space(plug_file("eu_ac"), condition)
        for task in space.sample(5, rng, "held_out"):
            assert all(p.low <= task[p.name] <= p.high for p in changed)
    wide = plug_space(plug_file("eu_ac"), "offsets × 1.5")
    found = [abs(t["socket_x"]) for t in wide.sample(60, rng, "held_out")]
    assert max(found) > SPACE["socket_x"].high

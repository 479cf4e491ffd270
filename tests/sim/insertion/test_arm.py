"""The arm: its kinematics, its impedance, and that a plug can be brought home with it."""

from __future__ import annotations

import math

import mujoco
import numpy as np
import pytest

from adapt.errors import AcclimateError
from sim.insertion.arm import ArmBody, arm_model
from sim.insertion.plugs import FAMILIES
from sim.insertion.scripted import Privileged
from sim.insertion.space import SPACE
from sim.insertion.worlds import InsertionWorlds
from sim.insertion.wrist import STIFFNESS, TIMESTEP, retention_force, task_plug
from sim.robots.impedance import Impedance, angle_rates, angles, rotation
from sim.robots.ur5e import BASE, HOME, JOINTS, LINKS, TOOL_LENGTH, TORQUE_LIMITS

ONE = np.ones(1, bool)


def denavit_hartenberg(q: np.ndarray) -> np.ndarray:
    """Base to flange (4, 4), from the published table alone."""
    t = np.eye(4)
    for angle, link in zip(q, LINKS, strict=True):
        c, s = math.cos(angle), math.sin(angle)
        ca, sa = math.cos(link.alpha), math.sin(link.alpha)
        t = t @ np.array(
            [
                [c, -s * ca, s * sa, link.a * c],
                [s, c * ca, -c * sa, link.a * s],
                [0, sa, ca, link.d],
                [0, 0, 0, 1],
            ]
        )
    return t


def test_kinematics_are_the_published_table() -> None:
    rng = np.random.default_rng(0)
    control = Impedance(TIMESTEP)
    for _ in range(20):
        q = rng.uniform(-3, 3, 6)
        control.look(q, np.zeros(6))
        flange = denavit_hartenberg(q)
        tip = flange[:3, 3] + TOOL_LENGTH * flange[:3, 2] + BASE
        np.testing.assert_allclose(control.position, tip, atol=1e-9)
        np.testing.assert_allclose(
            control.orientation, flange[:3, :3] @ np.diag([1, -1, -1]), atol=1e-9
        )


def test_compiled_model_has_the_published_masses_and_limits() -> None:
    model = arm_model(SPACE.task())
    for i, (name, link) in enumerate(zip(JOINTS, LINKS, strict=True)):
        body = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name)
        assert model.body_mass[body] == pytest.approx(link.mass * (1 + link.error))
        assert abs(link.error) <= 0.03
        assert model.actuator_ctrlrange[i].tolist() == [-link.torque, link.torque]
    assert TORQUE_LIMITS.tolist() == [150, 150, 150, 28, 28, 28]


def test_every_family_compiles_and_hangs_in_the_gripper() -> None:
    for family in FAMILIES:
        model = arm_model(SPACE.task(family=family))
        assert model.nq == 6
        data = mujoco.MjData(model)
        data.qpos[:] = Impedance(TIMESTEP).inverse(np.array([0, 0, 0.03, 0, 0, 0]))
        mujoco.mj_forward(model, data)
        assert data.ncon == 0


def test_rotation_and_angles_are_inverse() -> None:
    for given in np.random.default_rng(1).uniform(-1.2, 1.2, (20, 3)):
        np.testing.assert_allclose(angles(rotation(given)), given, atol=1e-12)


def test_angle_rates_are_derivatives() -> None:
    rng = np.random.default_rng(2)
    for given in rng.uniform(-1, 1, (10, 3)):
        rate, h = rng.normal(size=3), 1e-6
        turn = (rotation(given + h * rate) - rotation(given - h * rate)) / (2 * h)
        spin = turn @ rotation(given).T
        omega = np.array([spin[2, 1], spin[0, 2], spin[1, 0]])
        np.testing.assert_allclose(angle_rates(given, omega), rate, atol=1e-6)


def test_rates_are_derivatives_of_the_pose() -> None:
    rng, control, h = np.random.default_rng(3), Impedance(TIMESTEP), 1e-6
    q, v = HOME + rng.uniform(-0.1, 0.1, 6), rng.normal(size=6)
    poses = []
    for sign in (-1, 1):
        control.look(q + sign * h * v, v)
        poses.append(control.pose)
    control.look(q, v)
    np.testing.assert_allclose(control.rates(v), (poses[1] - poses[0]) / (2 * h), atol=1e-6)


def test_inverse_reaches_the_workspace_and_says_where_it_ends() -> None:
    rng, control = np.random.default_rng(4), Impedance(TIMESTEP)
    for _ in range(10):
        pose = rng.uniform(-1, 1, 6) * [0.008, 0.008, 0.04, 0.3, 0.05, 0.05]
        control.look(control.inverse(pose), np.zeros(6))
        np.testing.assert_allclose(control.pose, pose, atol=1e-8)
        assert np.linalg.cond(control.jacobian) < 20
    with pytest.raises(ValueError, match="does not reach"):
        control.inverse(np.array([2.0, 0, 0, 0, 0, 0]))


def test_torque_stays_within_the_joints_limits() -> None:
    control = Impedance(TIMESTEP)
    control.look(HOME, np.zeros(6))
    control.tune(np.full(6, 1e5))
    torque = control.torque(np.zeros(6), np.array([3.0, 3.0, 3.0]), np.eye(3), np.zeros(6))
    assert (np.abs(torque) <= TORQUE_LIMITS).all()
    assert (np.abs(torque) == TORQUE_LIMITS).any()


def test_force_on_the_socket_follows_the_stiffness() -> None:
    """Pressed against the plate, the arm exerts stiffness × lead, less what friction holds."""
    for stiffness in (0.7, 1.3):
        task = SPACE.task(family="peg_round", socket_x=0.003, stiffness=stiffness)
        body = ArmBody()
        body.assign([task])
        # Beside the hole, on the solid plate.
        body.place(ONE, np.array([[-0.005, 0, 0.002, 0, 0, 0]]))
        reference = np.array([[-0.005, 0, -0.006, 0, 0, 0]])
        for _ in range(15):
            body.step(reference, 25)
        motion = body.step(reference, 25)
        lead = body.qpos[0, 2] - reference[0, 2]
        force = -motion.wrench[0, -1, 2]
        assert lead > 0.004
        assert force == pytest.approx(STIFFNESS[2] * stiffness * lead, rel=0.2)


def test_springs_press_on_a_plug_that_is_inside() -> None:
    task = SPACE.task(family="peg_round", clearance=0.25e-3, friction=0.15, retention=12)
    body = ArmBody()
    body.assign([task])
    body.place(ONE, np.array([[0, 0, 0.003, 0, 0, 0.0]]))
    for z in np.linspace(0.003, -0.011, 20):
        body.step(np.array([[0, 0, z, 0, 0, 0]]), 25)
    motion = body.step(np.array([[0, 0, -0.011, 0, 0, 0]]), 25)
    depth = -float(body.qpos[0, 2])
    assert depth > 0.008
    expected = retention_force(task, depth, task_plug(task))
    assert expected > 3
    assert -motion.wrench[0, :, 2].mean() == pytest.approx(expected, abs=1.0)


def test_wrench_is_zeroed_in_the_air() -> None:
    body = ArmBody()
    body.assign([SPACE.task()])
    start = np.array([[0.001, -0.001, 0.006, 0, 0, 0]])
    body.place(ONE, start)
    motion = body.step(start, 25)
    assert not motion.diverged[0]
    assert np.abs(motion.wrench[..., :3]).max() < 0.05
    np.testing.assert_allclose(body.qpos, start, atol=1e-3)
    assert np.abs(body.qvel).max() < 0.01


def test_a_failed_step_is_reported_and_undone() -> None:
    body = ArmBody()
    body.assign([SPACE.task()])
    start = np.array([[0, 0, 0.006, 0, 0, 0.0]])
    body.place(ONE, start)
    before = body.configuration(0)
    motion = body.step(np.full((1, 6), np.nan), 25)
    assert motion.diverged[0]
    assert np.array_equal(body.configuration(0), before)
    assert not body.step(start, 25).diverged[0]


def test_observer_makes_up_for_friction_and_wrong_masses() -> None:
    """In the air the arm comes to its reference; friction and gravity alone would leave 0.3 mm and
    5 mrad."""
    body = ArmBody()
    body.assign([SPACE.task()])
    body.place(ONE, np.array([[0, 0, 0.01, 0, 0, 0.0]]))
    reference = np.array([[0.002, -0.002, 0.012, 0.02, 0, 0]])
    for _ in range(40):
        body.step(reference, 25)
    error = np.abs(body.qpos - reference)[0]
    assert (error[:3] < 0.03e-3).all()
    assert (error[3:] < 0.3e-3).all()


def test_one_task_at_a_time() -> None:
    with pytest.raises(AcclimateError, match="one task at a time, got 2"):
        ArmBody().assign([SPACE.task(), SPACE.task()])


@pytest.mark.parametrize("family", ["nema_5_15", "bs_1363"])
def test_who_knows_the_pose_brings_the_plug_home(family: str) -> None:
    worlds = InsertionWorlds(1, 0, 1, ArmBody)
    worlds.assign([SPACE.task(family=family, socket_x=0.002, socket_y=-0.002, socket_yaw=0.05)])
    worlds.reset(ONE)
    script = Privileged()
    while True:
        step = worlds.step(script.act(worlds))
        if step.done[0]:
            break
    assert step.success[0]
    assert worlds.peak_force[0] < 60

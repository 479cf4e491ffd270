"""BatchSim does what plain MuJoCo does, world by world, and says where it failed."""

import mujoco
import numpy as np
import pytest

from sim.core.batch import MAX_SPEED, BatchSim, SimulationError
from sim.insertion.space import SPACE
from sim.insertion.wrist import wrist_model

SUBSTEPS = 20


def slider(mass: float = 1.0, gain: float = 10.0, joints: int = 1) -> mujoco.MjModel:
    """A mass on springs, pushed by one motor, that hits a floor: n_q = joints, n_u = 1."""
    bodies = "".join(
        f'<body><joint name="j{i}" type="slide" stiffness="20" damping="0.3"/>'
        f'<geom size="0.1" mass="{mass}"/></body>'
        for i in range(joints)
    )
    return mujoco.MjModel.from_xml_string(
        f"""<mujoco><option timestep="0.002"/>
        <worldbody><geom type="plane" pos="0 0 -0.3" size="1 1 1"/>{bodies}</worldbody>
        <actuator><motor joint="j0" gear="{gain}"/></actuator>
        <sensor><jointpos joint="j0"/><jointvel joint="j0"/></sensor></mujoco>"""
    )


@pytest.fixture
def batch():
    """Batches that are closed when the test ends."""
    made = []

    def make(models, threads=2):
        made.append(BatchSim(models, threads))
        return made[-1]

    yield make
    for sim in made:
        sim.close()


def plain(model, state, control, substeps):
    """States (n, n_state) and sensors (n, n_sensor) of mj_step from a state."""
    data, kind = mujoco.MjData(model), mujoco.mjtState.mjSTATE_FULLPHYSICS
    mujoco.mj_setState(model, data, state, kind)
    states, sensors = [], []
    for _ in range(substeps):
        data.ctrl[:] = control
        mujoco.mj_step(model, data)
        states.append(np.empty(len(state)))
        mujoco.mj_getState(model, data, states[-1], kind)
        sensors.append(data.sensordata.copy())
    return np.array(states), np.array(sensors)


def rigs(n):
    """Wrist rigs with their plugs pressed against their sockets."""
    tasks = SPACE.sample(n, np.random.default_rng(0))
    return [wrist_model(t) for t in tasks]


def pressed(sim):
    rng = np.random.default_rng(1)
    sim.qpos[:] = 0
    sim.qpos[:, :2] = rng.uniform(-1e-3, 1e-3, (sim.worlds, 2))
    sim.qpos[:, 2] = 0.5e-3
    control = sim.qpos.copy()
    control[:, 2] -= 4e-3
    return control


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_world_goes_where_plain_mujoco_takes_it_to_the_last_bit(batch, threads):
    models = rigs(4)
    sim = batch(models, threads)
    control = pressed(sim)
    for _ in range(3):
        before = sim.state.copy()
        trajectory = sim.step(control, SUBSTEPS)
        assert not trajectory.diverged.any()
        for world, model in enumerate(models):
            states, sensors = plain(model, before[world], control[world], SUBSTEPS)
            assert (trajectory.state[world] == states).all()
            assert (trajectory.sensors[world] == sensors).all()
            assert (sim.state[world] == states[-1]).all()
    # It was about contact.
    assert (abs(trajectory.sensors[:, -1, 2]) > 1).all()


def test_the_same_calls_give_the_same_numbers(batch):
    models, ends = rigs(3), []
    for _ in range(2):
        sim = batch(models)
        control = pressed(sim)
        for _ in range(3):
            sim.step(control, SUBSTEPS)
        ends.append(sim.state.copy())
    assert (ends[0] == ends[1]).all()


def test_a_worlds_parameters_and_state_touch_no_other_world(batch):
    ends = []
    for changed in (False, True):
        sim = batch([slider(), slider(), slider()])
        sim.qpos[:] = 0.1
        if changed:
            sim.set_model(1, slider(mass=7.0))
            sim.qpos[1], sim.qvel[1] = 0.3, -2.0
        control = np.array([[0.1], [0.9 if changed else 0.1], [0.1]])
        for _ in range(5):
            sim.step(control, SUBSTEPS)
        ends.append(sim.state.copy())
    assert (ends[0][[0, 2]] == ends[1][[0, 2]]).all()
    assert (ends[0][1] != ends[1][1]).any()
    assert (ends[0][0] == ends[0][2]).all()


def test_parameters_decide_the_motion(batch):
    masses = np.array([1.0, 2.0, 4.0])
    sim = batch([slider(mass=m, gain=1.0) for m in masses])
    sim.step(np.ones((3, 1)), 1)
    # One step from rest, damping taken implicitly: v = h (F + m g) / (m + h c).
    h, g, c = sim.timestep, -9.81, 0.3
    assert np.allclose(sim.qvel[:, 0], h * (1 + masses * g) / (masses + h * c), rtol=1e-9)


def test_a_diverging_world_is_reported_keeps_its_state_and_leaves_the_others_alone(batch):
    sim, alone = batch([slider(gain=1e9), slider(gain=10.0)]), batch([slider(gain=10.0)])
    sim.qpos[:], alone.qpos[:] = 0.1, 0.1
    before = sim.state.copy()
    trajectory = sim.step(np.ones((2, 1)), SUBSTEPS)
    alone.step(np.ones((1, 1)), SUBSTEPS)
    assert trajectory.diverged.tolist() == [True, False]
    assert (sim.state[0] == before[0]).all()
    assert (sim.state[1] == alone.state[0]).all()
    # It goes on from there once nothing drives it apart, as if nothing had happened.
    healthy = sim.step(np.zeros((2, 1)), SUBSTEPS)
    assert not healthy.diverged.any()
    states, _ = plain(sim.model(0), before[0], [0.0], SUBSTEPS)
    assert (sim.state[0] == states[-1]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 2 * MAX_SPEED, 1e30])
def test_a_world_that_starts_badly_is_reported(batch, bad):
    sim = batch([slider(), slider()])
    sim.qvel[1] = bad
    trajectory = sim.step(np.zeros((2, 1)), 2)
    assert trajectory.diverged.tolist() == [False, True]


def test_a_world_that_diverges_half_way_is_reported_though_mujoco_reset_it(batch):
    # MuJoCo resets such a world and carries on; its last state looks healthy.
    sim = batch([slider(gain=1e14)])
    trajectory = sim.step(np.ones((1, 1)), 50)
    assert trajectory.diverged.all()


def test_time_advances_by_the_substeps(batch):
    sim = batch([slider()])
    sim.step(np.zeros((1, 1)), 7)
    sim.step(np.zeros((1, 1)), 3)
    assert sim.state[0, 0] == pytest.approx(10 * sim.timestep)


def test_positions_and_velocities_are_views_of_the_state(batch):
    sim = batch([slider(joints=2)] * 2)
    sim.qpos[1], sim.qvel[0] = [3, 4], [5, 6]
    assert (sim.state == [[0, 0, 0, 5, 6], [0, 3, 4, 0, 0]]).all()


def test_what_a_step_returned_is_not_overwritten_by_the_next(batch):
    sim = batch([slider()])
    first = sim.step(np.ones((1, 1)), 3)
    kept = first.state.copy(), first.sensors.copy()
    second = sim.step(np.zeros((1, 1)), 3)
    assert (first.state == kept[0]).all() and (first.sensors == kept[1]).all()
    assert not np.shares_memory(first.state, second.state)
    assert not np.shares_memory(sim.state, second.state)


def test_models_of_other_sizes_are_refused(batch):
    message = r"world 1: its model's sizes differ from world 0's \(n_q 2, n_v 2, geoms 3\)"
    with pytest.raises(SimulationError, match=message):
        BatchSim([slider(), slider(joints=2)], 2)
    sim = batch([slider(), slider()])
    with pytest.raises(SimulationError, match=message):
        sim.set_model(1, slider(joints=2))
    assert sim.model(1).nq == 1


@pytest.mark.parametrize("shape", [(2,), (1, 1), (2, 2), (2, 7, 1)])
def test_a_control_of_the_wrong_shape_is_refused(batch, shape):
    sim = batch([slider(), slider()])
    with pytest.raises(SimulationError, match=r"expected \(2, 1\)"):
        sim.step(np.zeros(shape), 1)


def test_no_world_no_thread_and_no_step_are_refused(batch):
    with pytest.raises(SimulationError, match="at least one world"):
        BatchSim([], 1)
    with pytest.raises(SimulationError, match="threads must be at least 1, got 0"):
        BatchSim([slider()], 0)

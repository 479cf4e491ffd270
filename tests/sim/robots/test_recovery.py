"""Standing up again: from its belly always, from its side never tried."""

from __future__ import annotations

import copy

import mujoco
import numpy as np
import pytest

from robot_bridge.drivers.recovery import FOLD, StandUp, can_stand_up
from sim.locomotion.model import nominal_body
from sim.robots.go2 import STANCE, joint_ranges


def lying(quaternion: list[float], seed: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """A robot that fell limp onto level ground, and lies still."""
    model = copy.copy(nominal_body().model)
    model.hfield_data[:] = -model.geom("ground").pos[2] / model.hfield_size[0, 2]
    data = mujoco.MjData(model)
    data.qpos[2], data.qpos[3:7] = 0.35, np.array(quaternion) / np.linalg.norm(quaternion)
    data.qpos[7:] = STANCE + np.random.default_rng(seed).uniform(-0.4, 0.4, 12)
    gain, bias = model.actuator_gainprm.copy(), model.actuator_biasprm.copy()
    model.actuator_gainprm[:, 0] = model.actuator_biasprm[:, 1] = 0.0
    mujoco.mj_step(model, data, 400)
    model.actuator_gainprm[:], model.actuator_biasprm[:] = gain, bias
    return model, data


def gravity(data: mujoco.MjData) -> np.ndarray:
    return data.body("base").xmat.reshape(3, 3).T @ [0.0, 0.0, -1.0]


@pytest.mark.parametrize("seed", range(4))
def test_from_its_belly_it_stands_up_without_a_jump(seed: int) -> None:
    model, data = lying([1.0, 0.0, 0.1, 0.3], seed)
    assert data.qpos[2] < 0.2
    if not can_stand_up(gravity(data)):
        pytest.skip("it fell onto its side")
    script, speeds = StandUp(data.qpos[7:], STANCE), []
    for time in np.arange(0.0, script.duration + 1.0, 0.02):
        data.ctrl[:] = script.targets(time)
        mujoco.mj_step(model, data, 4)
        if time > FOLD:
            speeds.append(np.abs(data.qvel[:3]).max())
    assert data.qpos[2] > 0.24
    assert gravity(data)[2] < -0.99
    assert max(speeds) < 1.0


def test_a_side_or_a_back_is_no_start() -> None:
    for quaternion in ([0.76, 0.64, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]):
        assert not can_stand_up(gravity(lying(quaternion, 0)[1]))
    assert can_stand_up(np.array([0.3, 0.0, -0.95]))


def test_targets_are_smooth_within_the_joints_and_end_in_the_stance() -> None:
    low, high = joint_ranges()
    script = StandUp(np.clip(STANCE + 0.5, low, high), STANCE)
    path = np.stack([script.targets(t) for t in np.arange(0.0, script.duration + 0.02, 0.02)])
    assert path[0] == pytest.approx(np.clip(STANCE + 0.5, low, high))
    assert path[-1] == pytest.approx(STANCE)
    assert ((low <= path) & (path <= high)).all()
    assert np.abs(np.diff(path, axis=0)).max() / 0.02 < 5.0

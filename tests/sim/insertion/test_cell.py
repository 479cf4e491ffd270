"""An arm that brings itself back: out of the socket, out of a jam, to the start."""

import numpy as np
import pytest

import sim.insertion.arm as arm
from adapt.errors import AcclimateError
from sim.insertion.cell import BACKING_OUT, JAM, CellBody
from sim.insertion.plugs import MM
from sim.insertion.scripted import Privileged
from sim.insertion.space import SPACE
from sim.insertion.spec import FORCE_LIMIT
from sim.insertion.worlds import START_HEIGHT, START_NOISE, InsertionWorlds

ONE = np.ones(1, bool)


@pytest.fixture
def seated():
    """A cell whose plug has just been inserted."""
    worlds = InsertionWorlds(1, 0, 1, CellBody)
    worlds.assign([SPACE.task(family="peg_round", socket_x=0.002, socket_yaw=0.03)])
    worlds.reset(ONE)
    while not (step := worlds.step(Privileged().act(worlds))).done[0]:
        pass
    assert step.success[0] and worlds.depth[0] > 14 * MM
    return worlds


def test_an_attempt_begins_at_the_start_at_rest_and_zeroed_wherever_the_last_one_ended(seated):
    for _ in range(2):
        seated.reset(ONE)
        pose = seated.sim.qpos[0]
        assert abs(pose[:2]).max() < START_NOISE + 0.1 * MM
        assert abs(pose[2] - START_HEIGHT) < START_NOISE + 0.1 * MM
        assert np.abs(seated.sim.qvel).max() < 0.01
        motion = seated.sim.step(seated.reference, 25)
        assert np.abs(motion.wrench[..., :3]).max() < 0.1
        # An attempt that never enters: the plug stays on the face.
        for _ in range(20):
            seated.step(np.array([[1.0, 1.0, -1.0, 0.0]]))
    assert seated.sim.jams == 0


def held_with(force: float):
    """A socket that holds the plug back below 2 mm."""
    return lambda task, depth, plug: -force if depth > 2 * MM else 0.0


def test_the_arm_backs_out_of_a_jam_with_less_than_the_force_limit(seated, monkeypatch):
    monkeypatch.setattr(arm, "retention_force", held_with(32.0))
    peak = []
    run = seated.sim._run

    def noted(reference, steps):
        wrench, diverged = run(reference, steps)
        peak.append(np.linalg.norm(wrench[:, :3] - seated.sim._zero[:3], axis=1).max(initial=0))
        return wrench, diverged

    monkeypatch.setattr(seated.sim, "_run", noted)
    seated.reset(ONE)
    assert seated.sim.jams >= 1 and 30 < max(peak) < FORCE_LIMIT
    assert abs(seated.sim.qpos[0, 2] - START_HEIGHT) < START_NOISE + 0.1 * MM


def test_a_plug_that_cannot_be_freed_is_told_and_another_task_starts_anew(seated, monkeypatch):
    monkeypatch.setattr(arm, "retention_force", held_with(300.0))
    before = seated.sim._data.time
    with pytest.raises(AcclimateError, match=r"stuck 1\d\.\d mm below the face .* free it by hand"):
        seated.reset(ONE)
    waited = round((seated.sim._data.time - before) / 0.05)
    assert JAM + BACKING_OUT <= waited <= JAM + BACKING_OUT + 5
    monkeypatch.undo()
    seated.assign([SPACE.task(family="peg_round")])
    seated.reset(ONE)
    assert seated.depth[0] < 0

"""A user's own quadruped moves as ours does, with other names, order, signs and zeros."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import pytest

from adapt.errors import AcclimateError
from sim.core.registry import family
from sim.locomotion.spec import N_ACTION
from sim.locomotion.task import SPACE
from sim.locomotion.worlds import LocomotionWorlds
from sim.robots import go2
from tests.support.other_quadruped import JOINTS, SWAPPED, mjcf, write

ALL = np.ones(1, bool)


@pytest.fixture
def make(tmp_path):
    made = []

    def build(**changes: Any) -> LocomotionWorlds:
        worlds = LocomotionWorlds(1, 0, 1, robot=write(tmp_path, **changes))
        worlds.commands_drawn = False
        worlds.assign([SPACE.task()])
        worlds.reset(ALL)
        made.append(worlds)
        return worlds

    yield build
    for worlds in made:
        worlds.close()


def test_its_model_speaks_our_language_and_keeps_its_own_body(make):
    model = make()._body.model
    assert [model.joint(1 + i).name for i in range(12)] == list(go2.JOINTS)
    assert [model.actuator(i).name for i in range(model.nu)] == list(go2.JOINTS)
    assert mujoco.mj_getTotalmass(model) == pytest.approx(6 + 4 * 1.95, abs=0.01)
    assert model.nsensordata == 36
    assert model.opt.timestep == 0.005
    assert model.jnt_range[1:4] == pytest.approx(np.array([[-1, 1], [-1.5, 3.4], [-2.7, -0.8]]))
    assert [model.geom(f"{name}_foot").size[0] for name in go2.LEGS] == [0.02] * 4
    # Feet where ours are: the same angles pose both bodies alike.
    data = mujoco.MjData(model)
    data.qpos[:] = [0, 0, 0, 1, 0, 0, 0, *np.tile([0.2, 0.85, -1.65], 4)]
    mujoco.mj_fwdPosition(model, data)
    y = [data.site(f"{name}_foot").xpos[1] for name in go2.LEGS]
    assert y[0] > 0.14 > 0.0 > y[1] > -0.14
    assert data.site("FL_foot").xpos[0] == pytest.approx(0.19 - 0.2 * (0.751 - 0.717), abs=0.01)


def test_it_stands_walks_its_reference_and_shows_only_our_angles(make):
    worlds = make()
    for _ in range(100):
        step = worlds.step(np.zeros((1, N_ACTION), np.float32))
    assert step.discount[0] == 1.0
    assert np.abs(worlds.sim.qvel[0, :3]).max() < 0.05
    joints = step.observation[0, worlds.spec.columns("joint_position")]
    assert np.abs(joints).max() < 0.4
    worlds.command[:] = 0.4, 0.0, 0.0
    for _ in range(150):
        step = worlds.step(np.zeros((1, N_ACTION), np.float32))
    assert step.discount[0] == 1.0
    assert worlds.account.progress[0] > 0.3


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"joints": JOINTS[:-1]}, r"joints: 11 names; expected 12"),
        ({"joints": [*JOINTS[:-1], "fl.a"]}, r"joints: fl.a named twice"),
        ({"joints": [*JOINTS[:-1], "tail"]}, r"no joint 'tail' .*our RR_calf; it has .*rr.c"),
        ({"joints": SWAPPED}, r"'fl_pad', for our FL, does not hang from 'fr.c'"),
        (
            {"joints": SWAPPED, "feet": ["fr_pad", "fl_pad", "rl_pad", "rr_pad"]},
            r"foot of FL is not at the left",
        ),
        ({"joints": ["fl.b", "fl.a", *JOINTS[2:]]}, r"'fl.a' does not hang from the joint before"),
        ({"feet": ["fl_pad", "fr_pad", "rl_pad", "torso"]}, r"'torso', for our RR, has 0 spheres"),
        ({"feet": ["fl_pad", "fr_pad", "rl_pad", "rr"]}, r"no geom and no body 'rr'"),
        ({"base": "trunk"}, r"base: no body 'trunk' .* it has torso"),
        ({"base": "fl_1"}, r"body 'fl_1' has 1 joints; expected a free joint"),
        ({"signs": 1}, r"signs: FL_hip turns about the body's -x"),
        ({"signs": 2}, r"signs: 2.0; expected 1 or -1"),
        ({"zeros": [0.1, -0.4, 0.0]}, r"zeros: with FL_calf at 0 its link leans by -?0.70 rad"),
        ({"zeros": [0, 0]}, r"zeros: 2 numbers; expected one, three"),
        ({"stance": [0, 0.85, -3.0]}, r"stance: FL_calf at -3 rad is outside its range"),
        ({"kp": 0}, r"kp: 0.*; expected positive"),
        ({"kp": [35, 35, 5]}, r"kp: FL_calf would yield by .* expected at least \d+ N·m/rad"),
        ({"torque": [25, 25, 4]}, r"torque: FL_calf needs .* its limit is 4.0"),
        ({"kd": -1}, r"kd: -1.*; expected positive"),
        ({"model": "none.xml"}, r"model: no file .*none.xml"),
        ({"gains": 3}, r"unknown field `gains`"),
    ],
)
def test_what_does_not_fit_is_told_with_its_name(tmp_path, changes, told):
    path = write(tmp_path, **changes)
    with pytest.raises(AcclimateError, match=rf"robot=.*map.yaml: .*{told}"):
        family(f"locomotion@{path}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<html/>", "is no MJCF that compiles: .*html"),
        ("not a model", "is no MJCF that compiles"),
        (mjcf(mesh="shell.stl"), "shell.stl"),
        (mjcf(free=""), "has 0 joints; expected a free joint"),
        (mjcf().replace('name="fl.a"', 'name="fl.a" type="slide"'), "'fl.a'.* is a slide"),
        (
            mjcf(extra='<body name="arm"><joint name="arm"/><geom size="0.1"/></body>'),
            "has arm besides the twelve",
        ),
        (mjcf().replace('actuatorfrcrange="-25 25" ', ""), "sets no limit for fl.a"),
        (mjcf().replace('type="sphere" size="0.02"', 'type="box" size=".02 .02 .02"'), "0 spheres"),
        (
            mjcf(extra='<geom type="box" size=".1 .1 .1" pos="0.9 0 0.3" mass="9"/>'),
            "the body cannot stand",
        ),
    ],
)
def test_a_model_that_cannot_serve_is_told_before_anything_moves(tmp_path, text, told):
    with pytest.raises(AcclimateError, match=rf"(?s)robot=.*map.yaml: .*{told}"):
        family(f"locomotion@{write(tmp_path, text)}")


def test_files_that_are_no_joint_map_and_families_without_robots_are_told(tmp_path):
    (tmp_path / "a.xml").write_text(mjcf())
    for name, told in (("none.yaml", "No such file"), ("a.xml", "expected a mapping with model")):
        with pytest.raises(AcclimateError, match=told):
            family(f"locomotion@{tmp_path / name}")
    with pytest.raises(AcclimateError, match="'point-sparse' takes no robot of your own"):
        family(f"point-sparse@{tmp_path / 'a.xml'}")


def test_a_robot_of_another_stance_says_so_in_its_fields(tmp_path):
    path = write(tmp_path, stance=[0, 0.9, -1.8])
    fields = {f.name: f for f in family(f"locomotion@{path}").spec.observation}
    assert "less the stance (0, 0.9, -1.8" in fields["joint_position"].description

"""The simulated robot on its ground, as one MuJoCo model for each task."""

from __future__ import annotations

import copy
import math
from functools import cache, lru_cache
from pathlib import Path

import mujoco
import numpy as np
from dm_control import mjcf

from sim.core.task_space import Task
from sim.locomotion import terrain
from sim.locomotion.spec import TIMESTEP
from sim.locomotion.task import actual, strengths
from sim.robots import go2
from sim.robots.quadruped import Quadruped, go2_class
from sim.robots.user_robot import load_robot

GRAVITY = 9.81
LOAD_BOX = (0.10, 0.08, 0.05)
"""Half sizes of the payload [m]; it lies on the trunk."""
LOAD_HEIGHT = go2.BODY_BOX[2] + LOAD_BOX[2]
FIRM, SOFT = 0.02, 0.04
"""Time constant of the ground's contacts [s], from firm to softest: at 0.1 the robot would sink in
by 5 cm and no foot would leave the ground."""


def build() -> mjcf.RootElement:
    """The robot over flat ground, with a payload of nothing."""
    root = _ground()
    base = go2.add_quadruped(root)
    load = base.add("body", name="payload", pos=(0, 0, LOAD_HEIGHT))
    load.add("inertial", pos=(0, 0, 0), mass=1e-3, diaginertia=(1e-6, 1e-6, 1e-6))
    load.add(
        "geom", name="payload", type="box", size=LOAD_BOX, rgba=(0.75, 0.45, 0.2, 1), **go2.LOOK
    )
    return root


def _ground() -> mjcf.RootElement:
    """Flat ground, and how its contacts are solved."""
    root = mjcf.RootElement(model="locomotion")
    root.compiler.angle = "radian"
    root.option.timestep = TIMESTEP
    # Enough for these contacts at this step, by measurement: elliptic cones cost a third more.
    root.option.integrator = "implicitfast"
    root.option.cone = "pyramidal"
    root.option.solver = "Newton"
    root.option.iterations, root.option.ls_iterations = 4, 8
    half = terrain.TILE / 2 + terrain.PAD
    root.asset.add(
        "hfield", name="ground", nrow=terrain.POINTS, ncol=terrain.POINTS,
        size=(half, half, terrain.CEILING - terrain.FLOOR, 0.1),
    )  # fmt: skip
    # Squares of half a metre, so that a film shows motion; they fit the periodic tile.
    root.asset.add(
        "texture", name="squares", type="2d", builtin="checker", width=64, height=64,
        rgb1=(1, 1, 1), rgb2=(0.8, 0.8, 0.8),
    )  # fmt: skip
    root.asset.add("material", name="squares", texture="squares", texrepeat=(1, 1), texuniform=True)
    root.worldbody.add(
        "geom", name="ground", type="hfield", hfield="ground", pos=(0, 0, terrain.FLOOR),
        contype=1, conaffinity=0, rgba=(0.55, 0.56, 0.52, 1), material="squares",
    )  # fmt: skip
    return root


@cache
def nominal_body() -> Quadruped:
    """Our own robot before any task."""
    root = build()
    return go2_class(mujoco.MjModel.from_xml_string(root.to_xml_string(), root.get_assets()))


@cache
def user_body(path: Path) -> Quadruped:
    """The robot of a joint map (see `sim.robots.joint_map`). Raises RobotError."""
    world = mujoco.MjSpec.from_string(_ground().to_xml_string())
    return load_robot(path, world, LOAD_HEIGHT, LOAD_BOX)


def nominal_model() -> mujoco.MjModel:
    """Our own robot's compiled model before any task."""
    return nominal_body().model


@lru_cache(256)
def _tile(kind: str, difficulty: float, seed: int) -> np.ndarray:
    heights = terrain.tile(kind, difficulty, seed)
    heights.setflags(write=False)
    return heights


def ground(task: Task) -> np.ndarray:
    """The task's tile of heights [m], read-only; see `terrain.tile`."""
    return _tile(task.choice("terrain"), task["difficulty"], int(task["seed"]))


def task_model(
    task: Task, heights: np.ndarray, timestep: float = TIMESTEP, body: Quadruped | None = None
) -> mujoco.MjModel:
    """A model of its own for the task; see `set_task`."""
    body = body or nominal_body()
    model = copy.copy(body.model)
    model.opt.timestep = timestep
    set_task(model, task, heights, body)
    return model


def set_task(model: mujoco.MjModel, task: Task, heights: np.ndarray, body: Quadruped) -> None:
    """Turn a model of this body into the task's robot on a tile of heights (CELLS, CELLS) [m].

    A slope leans gravity towards −x, so that +x is uphill.
    """
    nominal, acts, strength = body.model, actual(task), strengths(task)
    model.hfield_data[:] = terrain.field_data(heights).ravel()
    slope = acts["slope"]
    model.opt.gravity[:] = -GRAVITY * math.sin(slope), 0.0, -GRAVITY * math.cos(slope)
    load, mass = model.body("payload").id, max(acts["payload"], 1e-3)
    model.body_pos[load] = acts["payload_x"], acts["payload_y"], LOAD_HEIGHT
    model.body_mass[load] = mass
    a, b, c = (2 * side for side in LOAD_BOX)
    model.body_inertia[load] = mass / 12 * np.array([b * b + c * c, a * a + c * c, a * a + b * b])
    gain = acts["gain"] * strength
    model.actuator_gainprm[:, 0] = gain * nominal.actuator_gainprm[:, 0]
    model.actuator_biasprm[:, 1:3] = gain[:, None] * nominal.actuator_biasprm[:, 1:3]
    # A weak joint has less torque as well as less gain.
    model.actuator_forcerange[:] = strength[:, None] * nominal.actuator_forcerange
    joints = [model.joint(joint).dofadr[0] for joint in go2.JOINTS]
    model.dof_damping[joints] = acts["damping"] * nominal.dof_damping[joints]
    feet = [model.geom(f"{leg}_foot").id for leg in go2.LEGS]
    model.geom_friction[feet, 0] = acts["friction"]
    model.geom_solref[feet, 0] = FIRM * (SOFT / FIRM) ** acts["softness"]
    mujoco.mj_setConst(model, body.scratch)

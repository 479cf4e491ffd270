"""The arm as a body of the insertion task: a whole robot with dynamics of its own.

The training rig is a virtual mass on ideal springs. The arm has links, rotors, friction, and a
controller whose model of them is imperfect. The socket's springs, which the rig has at its joint,
push on the plug itself here.
"""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from adapt.errors import AcclimateError
from sim.core.batch import MAX_SPEED
from sim.core.scene import View
from sim.core.task_space import Task
from sim.insertion.body import Motion
from sim.insertion.scene import WHOLE
from sim.insertion.shapes import Box, plug_shapes
from sim.insertion.wrist import (
    STIFFNESS,
    TIMESTEP,
    base_model,
    build_plug,
    build_socket,
    delay_steps,
    retention_force,
    seat_pose,
    task_plug,
)
from sim.robots.impedance import Impedance, rotation
from sim.robots.ur5e import BASE, add_arm, add_fingers

GRAVITY = 9.81
SOLREF = (0.02, 1.0)
"""A plug between a gripper's fingers yields by about 20 N/mm. MuJoCo scales a contact's stiffness
with the mass behind it: 8 kg at this tip, 8 kg / (0.02 s)² = 20 N/mm. The rig has 60 N/mm."""
SETTLING = 100
"""Physics steps that the arm holds the start pose before an episode: 0.2 s, until the errors of
gravity and friction have settled. Then the wrench is zeroed, as a robot's driver does."""
ZEROING = 25
FAILURES = (
    mujoco.mjtWarning.mjWARN_BADCTRL,
    mujoco.mjtWarning.mjWARN_BADQPOS,
    mujoco.mjtWarning.mjWARN_BADQVEL,
    mujoco.mjtWarning.mjWARN_BADQACC,
)


def arm_model(task: Task) -> mujoco.MjModel:
    """Compile the arm, the plug in its gripper and the socket before it, for one task."""
    root = base_model("arm")
    root.default.geom.solref = SOLREF
    root.option.gravity = (0, 0, -GRAVITY)
    plug = task_plug(task)
    build_socket(root, task, plug)
    tool = add_arm(root, true_masses=True)
    for joint in root.find_all("joint"):
        joint.frictionloss = joint.frictionloss * task.get("joint_friction", 1.0)
    tool.inertial.mass = tool.inertial.mass + task.get("payload", 0.0)
    housing = plug_shapes(plug)[-1]
    if isinstance(housing, Box):
        add_fingers(tool, housing.half[0], plug.depth)
    build_plug(tool, task, plug)
    look = {"type": "box", "contype": 0, "conaffinity": 0, "group": 1}
    root.worldbody.add(
        "geom", name="table", pos=(0, 0.2, BASE[2] - 0.02), size=(0.6, 0.6, 0.02),
        rgba=(0.80, 0.78, 0.75, 1), **look,
    )  # fmt: skip
    root.worldbody.add(
        "geom", name="pedestal", pos=(0, 0, (BASE[2] - 0.03) / 2), rgba=(0.55, 0.57, 0.60, 1),
        size=(0.045, 0.045, -(BASE[2] + 0.03) / 2), **look,
    )  # fmt: skip
    root.sensor.add("force", name="force", site="wrist_sensor")
    root.sensor.add("torque", name="torque", site="wrist_sensor")
    return mujoco.MjModel.from_xml_string(root.to_xml_string(), root.get_assets())


class ArmBody:
    """One arm over one socket. See `sim.insertion.body.Body`; B is 1.

    threads: ignored, as one arm takes one.
    """

    overview: View | None = WHOLE

    def __init__(self, threads: int = 1) -> None:
        self._control = Impedance(TIMESTEP)
        self._model: mujoco.MjModel | None = None

    @property
    def qpos(self) -> np.ndarray:
        return self._control.pose[None]

    @property
    def qvel(self) -> np.ndarray:
        return self._control.rates(self._data.qvel)[None]

    def assign(self, tasks: Sequence[Task]) -> None:
        if len(tasks) != 1:
            raise AcclimateError(f"the arm takes one task at a time, got {len(tasks)}")
        self._task = tasks[0]
        self._model = arm_model(self._task)
        self._data = mujoco.MjData(self._model)
        self._plug = task_plug(self._task)
        self._face = seat_pose(self._task).z
        self._delay = delay_steps(self._task)
        self._plug_body = mujoco.mj_name2id(self._model, mujoco.mjtObj.mjOBJ_BODY, "plug")
        self._zero = np.zeros(6)

    def place(self, which: np.ndarray, pose: np.ndarray) -> None:
        if not which.any():
            return
        model = self.model(0)
        mujoco.mj_resetData(model, self._data)
        self._data.qpos[:] = self._control.inverse(pose[0])
        self._control.tune(np.array(STIFFNESS) * self._task["stiffness"])
        self._control.damping *= self._task.get("damping", 1.0)
        self._zero, self._before = np.zeros(6), pose[0]
        wrench, diverged = self._run(pose[0], SETTLING)
        if diverged:
            raise AcclimateError("the arm does not hold its start pose: its physics failed")
        self._zero = wrench[-ZEROING:].mean(axis=0)

    def step(self, reference: np.ndarray, substeps: int) -> Motion:
        before = self._data.qpos.copy(), self._data.time
        late = min(self._delay, substeps)
        first, diverged = self._run(self._before, late)
        wrench, failed = self._run(reference[0], substeps - late)
        wrench, diverged = np.concatenate([first, wrench]), diverged or failed
        self._before = reference[0].copy()
        if diverged:
            mujoco.mj_resetData(self.model(0), self._data)
            self._data.qpos[:], self._data.time = before
            self._control.look(self._data.qpos, self._data.qvel)
            self._control.forget()
        return Motion((wrench - self._zero)[None], np.array([diverged]))

    def model(self, world: int) -> mujoco.MjModel:
        if self._model is None:
            raise RuntimeError("assign a task to the arm first")
        return self._model

    def configuration(self, world: int) -> np.ndarray:
        return self._data.qpos.copy()

    def close(self) -> None:
        """Nothing to stop."""

    def _run(self, reference: np.ndarray, steps: int) -> tuple[np.ndarray, bool]:
        """Physics and controller, step by step; wrench (n, 6), and whether the physics failed."""
        model, data, control = self.model(0), self._data, self._control
        target, target_rotation = reference[:3], rotation(reference[3:])
        wrench = np.zeros((steps, 6))
        end = data.time + steps * model.opt.timestep
        control.look(data.qpos, data.qvel)
        for i in range(steps):
            # The sensor reports what the wrist exerts on the plug; the contact exerts the opposite.
            contact = self._zero - data.sensordata
            data.ctrl[:] = control.torque(data.qvel, target, target_rotation, contact)
            depth = self._face - control.position[2]
            # The springs act along the socket's axis, which is vertical to within its tilt.
            data.xfrc_applied[self._plug_body, 2] = retention_force(self._task, depth, self._plug)
            mujoco.mj_step(model, data)
            wrench[i] = data.sensordata
            control.look(data.qpos, data.qvel)
        failed = any(data.warning[kind].number for kind in FAILURES)
        # MuJoCo resets a bad state by itself, which shows in its clock.
        failed |= abs(data.time - end) > 0.5 * model.opt.timestep
        failed |= not np.isfinite(wrench).all() or np.abs(data.qvel).max() > MAX_SPEED
        return wrench, bool(failed)

"""The quadruped whose legs are calibrated: ours, or the user's own by a joint map."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import mujoco
import numpy as np
from dm_control import mjcf

from calibration.joints.robot import Excitation, Layout, Limits
from calibration.recording import CalibrationError
from sim.robots import go2
from sim.robots.joint_map import RobotError
from sim.robots.quadruped import Quadruped, go2_class
from sim.robots.user_robot import load_robot

LEGS = len(go2.LEGS)
PAYLOAD_HEIGHT, PAYLOAD_BOX = 0.1, (0.05, 0.05, 0.05)
"""Of the payload's body above the trunk's origin, and its half sizes, until it is found [m]."""
ABOVE = 0.005
"""Of a user's robot over the ground where it is put on its feet [m]."""


@dataclass(frozen=True, eq=False)
class LegsBody:
    """spec: the robot over level ground, in the names and the order of `sim.robots.quadruped`, its
    payload of next to nothing. quadruped: the same, compiled."""

    spec: mujoco.MjSpec
    quadruped: Quadruped

    @cached_property
    def layout(self) -> Layout:
        """What is known of the robot, its joints in the order of `go2.JOINTS`."""
        return Layout(
            joints=go2.JOINTS,
            torque_limits=self.quadruped.model.actuator_forcerange[:, 1].copy(),
            noise=np.repeat([2e-4, 0.2], len(go2.JOINTS)),
            ready=self.quadruped.stance,
            chains=tuple((3 * leg, 3 * leg + 1, 3 * leg + 2) for leg in range(LEGS)),
            limits=Limits(speed=8.0, acceleration=120.0),
            excitation=Excitation(1.5, (0.4, 5.0), 0.4, np.tile([0.35, 0.5, 0.45], LEGS)),
            max_delay=0.05,
            worst=40.0,
        )

    @cached_property
    def nominal(self) -> dict[str, list[float]]:
        """Of each joint (12,), by the keys of `calibration.joints.robot.joint_priors`. Where a
        model says nothing of a motor it is taken to be a Go2-class one."""
        model = self.quadruped.model
        dofs = [model.joint(joint).dofadr[0] for joint in go2.JOINTS]
        found = {
            "armature": model.dof_armature[dofs],
            "damping": model.dof_damping[dofs],
            "friction": model.dof_frictionloss[dofs],
            "position_gain": model.actuator_gainprm[:, 0],
            "velocity_gain": -model.actuator_biasprm[:, 2],
        }
        kinds = [go2.TYPES[part] for _ in go2.LEGS for part in go2.PARTS]
        for key in ("armature", "damping", "friction"):
            ours = np.array([getattr(kind, key) for kind in kinds])
            found[key] = np.where(found[key] > 0, found[key], ours)
        return {key: values.tolist() for key, values in found.items()}

    def hanging(self) -> mujoco.MjModel:
        """Held by its trunk, off the ground, with sensors of the joints alone."""
        spec = self._measured()
        base = spec.body("base")
        spec.delete(base.joints[0])
        spec.delete(spec.geom("ground"))
        spec.delete(spec.body("payload"))
        return spec.compile()

    def standing(self) -> mujoco.MjModel:
        """On level ground, with sensors of the joints alone."""
        return self._measured().compile()

    def _measured(self) -> mujoco.MjSpec:
        spec = self.spec.copy()
        for sensor in list(spec.sensors):
            spec.delete(sensor)
        kinds = mujoco.mjtSensor
        for kind in (kinds.mjSENS_JOINTPOS, kinds.mjSENS_JOINTVEL, kinds.mjSENS_JOINTACTFRC):
            for joint in go2.JOINTS:
                spec.add_sensor(
                    name=f"{kind.name}_{joint}", type=kind, objtype=mujoco.mjtObj.mjOBJ_JOINT,
                    objname=joint,
                )  # fmt: skip
        return spec


@cache
def go2_body() -> LegsBody:
    """Our own."""
    root = mjcf.RootElement(model="legs")
    root.compiler.angle = "radian"
    root.worldbody.add(
        "geom", name="ground", type="plane", size=(5, 5, 0.1), contype=1, conaffinity=0
    )
    base = go2.add_quadruped(root)
    load = base.add("body", name="payload")
    load.add("inertial", pos=(0, 0, 0), mass=1e-9, diaginertia=(1e-12,) * 3)
    spec = mujoco.MjSpec.from_string(root.to_xml_string(), root.get_assets())
    return LegsBody(spec, go2_class(spec.compile()))


@cache
def user_body(path: Path) -> LegsBody:
    """That of a joint map (see `sim.robots.joint_map`). Raises CalibrationError."""
    world = mujoco.MjSpec()
    world.worldbody.add_geom(
        name="ground", type=mujoco.mjtGeom.mjGEOM_PLANE, size=(5, 5, 0.1), contype=1, conaffinity=0
    )
    try:
        found = load_robot(path, world, PAYLOAD_HEIGHT, PAYLOAD_BOX)
    except RobotError as error:
        raise CalibrationError(str(error).replace("robot=", "body=", 1)) from error
    world.body("base").pos = (0.0, 0.0, found.height + ABOVE)
    return LegsBody(world, found)

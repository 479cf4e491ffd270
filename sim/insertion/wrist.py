"""The compliant-wrist rig: a plug on six impedance-controlled axes over a socket.

The rig represents any arm under Cartesian impedance control, as seen from its tool: springs and
dampers about the plug's tip hold a virtual mass to a reference pose, and a six-axis force-torque
sensor sits between wrist and plug. The arm compensates gravity. The mass and inertia that an arm
presents at its tip depend on the arm and its pose, so they belong to the task.

All tasks of a space have models of the same sizes (unused shapes are parked out of reach), so that
one batched call steps them all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import mujoco
import numpy as np
from dm_control import mjcf

from sim.core.task_space import Task
from sim.insertion.parts import outline
from sim.insertion.parts.catalogue import catalogue_plug
from sim.insertion.plugs import FAMILIES, GeometryError, Plug, make_plug
from sim.insertion.shapes import Box, Capsule, plug_shapes, socket_shapes

TIMESTEP = 0.002
"""Physics step [s]: half the contact time constant below."""
PLUG_MASS = 0.05
"""[kg]"""
STIFFNESS = (1200.0, 1200.0, 2500.0, 20.0, 20.0, 20.0)
"""Nominal impedance: x, y, z [N/m], rotations about x, y, z [N·m/rad]. Critically damped."""
SHAPE = tuple(f"shape_{i}" for i in range(1, 7))
"""Parameters that procedural plugs are made from; others ignore them."""
AXES = ("x", "y", "z", "yaw", "pitch", "roll")
SOLREF = (0.004, 1.0)
SOLIMP = (0.95, 0.99, 0.0005, 0.5, 2.0)

PLUG_BOXES, PLUG_CAPSULES = 4, 12
SOCKET_BOXES = 46
"""Shapes of a model of the first families; those of others are `sim.insertion.parts.outline`'s."""
SPRING_START = 0.005
"""Depth at which a socket's springs begin to press [m]."""
PLUG_COLOUR, SOCKET_COLOUR = (0.85, 0.55, 0.20, 1.0), (0.35, 0.45, 0.60, 1.0)
PARKED = (0.0, 0.0, -1.0)
PARKED_HALF = (0.001, 0.001, 0.001)


@dataclass(frozen=True)
class SeatPose:
    """The tool pose at which the plug is aligned with its socket's mouth.

    x, y, z [m] and yaw [rad] of the wrist frame, whose origin is the nominal plug tip, in the
    nominal socket frame (origin on the nominal face, z up).
    """

    x: float
    y: float
    z: float
    yaw: float


def seat_pose(task: Task) -> SeatPose:
    """The aligned pose at the socket's face, from the task's socket and grasp errors."""
    yaw = task["socket_yaw"] - task["grasp_yaw"]
    c, s = math.cos(yaw), math.sin(yaw)
    gx, gy = task["grasp_x"], task["grasp_y"]
    return SeatPose(
        task["socket_x"] - c * gx + s * gy,
        task["socket_y"] - s * gx - c * gy,
        task["socket_z"],
        yaw,
    )


def task_plug(task: Task) -> Plug:
    a, b, c, d, e, f = (task[name] for name in SHAPE)
    family, shape = task.choice("family"), (a, b, c, d, e, f)
    if family in FAMILIES:
        return make_plug(family, task["size"], shape)
    return catalogue_plug(family, task["size"], shape)


@dataclass(frozen=True)
class Budget:
    """How many shapes a model has, parked ones included."""

    plug_boxes: int
    plug_capsules: int
    socket_boxes: int


def budget(plug: Plug) -> Budget:
    if plug.family in FAMILIES:
        return Budget(PLUG_BOXES, PLUG_CAPSULES, SOCKET_BOXES)
    return Budget(outline.PLUG_BOXES, outline.PLUG_CAPSULES, outline.SOCKET_BOXES)


def build_socket(root: mjcf.RootElement, task: Task, plug: Plug) -> None:
    """Add the task's socket to a model whose origin is the nominal socket's face."""
    boxes, room = socket_shapes(plug, task["clearance"]), budget(plug).socket_boxes
    if len(boxes) > room:
        raise GeometryError(f"socket {plug.family}: {len(boxes)} boxes, room for {room}")
    tilt = (task["socket_tilt_x"], task["socket_tilt_y"], task["socket_yaw"])
    socket = root.worldbody.add(
        "body",
        name="socket",
        pos=(task["socket_x"], task["socket_y"], task["socket_z"]),
        euler=tilt,
    )
    friction = (task["friction"], 0.002, 0.0001)
    for i in range(room):
        box = boxes[i] if i < len(boxes) else Box(PARKED, PARKED_HALF)
        socket.add(
            "geom",
            name=f"socket_{i}",
            type="box",
            pos=box.centre,
            size=box.half,
            euler=(0, 0, box.yaw),
            friction=friction,
            rgba=SOCKET_COLOUR,
            contype=1,
            conaffinity=2,
        )


def build_plug(parent: mjcf.Element, task: Task, plug: Plug) -> None:
    """Hang the task's plug on a body whose frame is the nominal tip, with the grasp's error."""
    body = parent.add(
        "body",
        name="plug",
        pos=(task["grasp_x"], task["grasp_y"], 0),
        euler=(0, 0, task["grasp_yaw"]),
    )
    body.add("inertial", pos=(0, 0, 0.02), mass=PLUG_MASS, diaginertia=(2e-5, 2e-5, 2e-5))
    shapes = plug_shapes(plug)
    boxes = [s for s in shapes if isinstance(s, Box)]
    capsules = [s for s in shapes if isinstance(s, Capsule)]
    room = budget(plug)
    if len(boxes) > room.plug_boxes or len(capsules) > room.plug_capsules:
        raise GeometryError(f"plug {plug.family}: {len(boxes)} boxes, {len(capsules)} capsules")
    friction = (task["friction"], 0.002, 0.0001)
    common = {"friction": friction, "contype": 2, "conaffinity": 1, "mass": 0}
    for i in range(room.plug_boxes):
        box = boxes[i] if i < len(boxes) else Box((0, 0, 0.5), PARKED_HALF)
        body.add(
            "geom", name=f"plug_box_{i}", type="box", pos=box.centre, size=box.half,
            rgba=PLUG_COLOUR, **common,
        )  # fmt: skip
    for i in range(room.plug_capsules):
        shape = capsules[i] if i < len(capsules) else Capsule((0, 0, 0.5), (0, 0, 0.501), 0.001)
        body.add(
            "geom", name=f"plug_capsule_{i}", type="capsule", fromto=shape.start + shape.end,
            size=(shape.radius,), rgba=(0.75, 0.75, 0.78, 1), **common,
        )  # fmt: skip
    # At the nominal tip, where the impedance has its centre, so the torque is about that point.
    body.add("site", name="wrist_sensor", pos=(0, 0, 0), size=(0.0005,))


def tool_mass(task: Task) -> float:
    """What the rig's sliding joints move [kg]."""
    return task["virtual_mass"] + PLUG_MASS


def delay_steps(task: Task) -> int:
    """Physics steps until a new reference takes effect, at most those of a control period."""
    return round(task.get("command_delay", 0.0) / TIMESTEP)


def retention_force(task: Task, depth: float, plug: Plug) -> float:
    """Axial force [N] of the socket's springs on a plug `depth` [m] below the face.

    The springs are taken as elastic: from nothing at `SPRING_START` to the task's retention when
    seated.
    """
    travel = plug.depth - SPRING_START
    return task["retention"] * min(max(depth - SPRING_START, 0.0), travel) / travel


def add_retention(joint: mjcf.Element, task: Task, plug: Plug) -> None:
    """`retention_force` as a soft limit of the rig's vertical joint.

    MuJoCo's constraint with impedance d gives a mass m under an applied force f the motion
    m a = (1 − d) f − d m (b v + k r), k = stiffness / d. It is a spring of m stiffness / (1 − d) on
    a mass 1 / (1 − d) times heavier; d = 0.1 keeps that mass within a tenth.
    """
    d = 0.1
    stiffness = task["retention"] / (plug.depth - SPRING_START) / tool_mass(task) * (1 - d)
    joint.limited = True
    joint.range = (task["socket_z"] - SPRING_START, 1.0)
    joint.solreflimit = (-max(stiffness, 1e-6), -max(2 * d * math.sqrt(stiffness), 1e-3))
    joint.solimplimit = (d, d, 0.001, 0.5, 2)


def base_model(name: str) -> mjcf.RootElement:
    """An empty PyMJCF model with the contact settings that every insertion model shares."""
    root = mjcf.RootElement(model=name)
    root.compiler.angle = "radian"
    root.compiler.eulerseq = "XYZ"
    root.option.timestep = TIMESTEP
    root.option.integrator = "implicitfast"
    root.option.cone = "elliptic"
    root.option.impratio = 10
    root.option.gravity = (0, 0, 0)
    root.default.geom.condim = 4
    root.default.geom.solref = SOLREF
    root.default.geom.solimp = SOLIMP
    root.visual.map.znear = 0.002
    root.visual.quality.offsamples = 4
    getattr(root.visual, "global").offwidth = 1280
    getattr(root.visual, "global").offheight = 960
    root.worldbody.add("light", pos=(0.1, -0.2, 0.4), dir=(-0.2, 0.4, -1), diffuse=(0.8,) * 3)
    root.worldbody.add("camera", name="side", pos=(0, -0.16, 0.05), xyaxes=(1, 0, 0, 0, 0.25, 1))
    return root


def wrist_model(task: Task) -> mujoco.MjModel:
    """Compile the rig for one task."""
    root = base_model("wrist")
    plug = task_plug(task)
    build_socket(root, task, plug)
    wrist = root.worldbody.add("body", name="wrist")
    wrist.add(
        "inertial",
        pos=(0, 0, 0),
        mass=task["virtual_mass"],
        diaginertia=(task["virtual_inertia"],) * 3,
    )  # fmt: skip
    directions = np.eye(3)
    stiffness = task["stiffness"]
    for i, name in enumerate(AXES):
        linear = i < 3
        # Joint order x, y, z, yaw, pitch, roll: yaw first of the rotations, as the reference is.
        axis = directions[i] if linear else directions[5 - i]
        joint = wrist.add("joint", name=name, type="slide" if linear else "hinge", axis=axis)
        if name == "z":
            add_retention(joint, task, plug)
        if linear and (friction := task.get("tip_friction", 0.0)):
            joint.frictionloss = friction
        k = STIFFNESS[i] * stiffness
        inertia = tool_mass(task) if linear else task["virtual_inertia"]
        damping = 2 * math.sqrt(k * inertia) * task.get("damping", 1.0)
        root.actuator.add("position", name=name, joint=joint, kp=k, kv=damping)
    build_plug(wrist, task, plug)
    root.sensor.add("force", name="force", site="wrist_sensor")
    root.sensor.add("torque", name="torque", site="wrist_sensor")
    return mujoco.MjModel.from_xml_string(root.to_xml_string(), root.get_assets())

"""A UR5e-class arm built of primitives: six torque-driven joints and a gripper.

Kinematics, masses, centres of mass and inertias are the maker's: Universal Robots, "DH parameters
for calculations of kinematics and dynamics" (article 45257), inertias as in its ROS description
`ur5e/physical_parameters.yaml`; joint torque limits from its "Max. joint torques". The reflected
rotor inertia of the large joints is MuJoCo Menagerie's 0.1 kg·m²; the small joints', a fifth of it
as their torque limit is, the friction that the drives' own compensation leaves and the errors of
the masses are our choice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from dm_control import mjcf

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow", "wrist_1", "wrist_2", "wrist_3")


@dataclass(frozen=True)
class Link:
    """One joint and the link that it turns, in Denavit-Hartenberg terms.

    d, a [m], alpha [rad]: from the joint's frame to the link's, Rz(q) Tz(d) Tx(a) Rx(alpha).
    mass [kg]; centre [m] and inertia [kg·m²] (xx, yy, zz, xy, xz, yz), in the link's frame.
    torque: the joint's limit [N·m]. friction [N·m], damping [N·m·s/rad] that remain.
    error: how far the true mass deviates from the one that the controller believes [1].
    """

    d: float
    a: float
    alpha: float
    mass: float
    centre: tuple[float, float, float]
    inertia: tuple[float, float, float, float, float, float]
    torque: float
    friction: float
    damping: float
    error: float


# The inertias' off-diagonal terms, a hundredth of the diagonal and less but for the first and third
# link, are left out.
LINKS = (
    Link(0.1625, 0.0, math.pi / 2, 3.761, (0, -0.02561, 0.00193),
         (0.00700, 0.00657, 0.00648, 0, 0, 0), 150, 0.4, 0.5, 0.02),
    Link(0.0, -0.425, 0.0, 8.058, (0.2125, 0, 0.11336),
         (0.01506, 0.33388, 0.33247, 0, 0, 0), 150, 0.4, 0.5, -0.02),
    Link(0.0, -0.3922, 0.0, 2.846, (0.15, 0, 0.0265),
         (0.00400, 0.07879, 0.07849, 0, 0, 0), 150, 0.4, 0.5, 0.03),
    Link(0.1333, 0.0, math.pi / 2, 1.37, (0, -0.0018, 0.01634),
         (0.00165, 0.00126, 0.00136, 0, 0, 0), 28, 0.12, 0.1, -0.03),
    Link(0.0997, 0.0, -math.pi / 2, 1.3, (0, 0.0018, 0.01634),
         (0.00136, 0.00097, 0.00128, 0, 0, 0), 28, 0.12, 0.1, 0.02),
    Link(0.0996, 0.0, 0.0, 0.365, (0, 0, -0.001159),
         (0.00019, 0.00019, 0.00026, 0, 0, 0), 28, 0.12, 0.1, 0.0),
)  # fmt: skip
ARMATURE = (0.1, 0.1, 0.1, 0.02, 0.02, 0.02)
"""Reflected rotor inertia of each joint [kg·m²]."""
TORQUE_LIMITS = np.array([link.torque for link in LINKS])

GRIPPER_MASS = 0.95
"""A two-finger gripper and its flange [kg]."""
TOOL_LENGTH = 0.17
"""From the flange to the nominal plug tip [m]."""
BASE = (-0.13, 0.52, -0.12)
"""The arm's foot in the nominal socket frame [m]: the socket stands before it on a table."""
HOME = np.array([1.56, -1.39, 1.90, -2.08, -1.57, 3.14])
"""Joint positions [rad] near which the tool points down at the socket, elbow up."""

GREY, DARK, ACCENT = (0.82, 0.83, 0.85, 1), (0.22, 0.23, 0.25, 1), (0.20, 0.45, 0.60, 1)

LOOK = {"contype": 0, "conaffinity": 0, "group": 1, "mass": 0}
"""Of shapes that are there to be seen."""


def add_arm(root: mjcf.RootElement, true_masses: bool) -> mjcf.Element:
    """Add the arm to a model whose origin is the nominal socket's face.

    true_masses: with the masses as they are, rather than as the controller believes them.
    Returns the tool body, whose frame is the nominal plug tip, z up the tool. The arm collides with
    nothing: its reference never leaves the socket's surroundings, where only the plug can touch.
    """
    body = root.worldbody.add("body", name="foot", pos=BASE)
    body.add("geom", type="cylinder", size=(0.075, 0.03), pos=(0, 0, 0.03), rgba=DARK, **LOOK)
    body.add("geom", type="cylinder", size=(0.062, 0.02), pos=(0, 0, 0.08), rgba=GREY, **LOOK)
    frame: dict[str, tuple[float, ...]] = {"pos": (0, 0, 0)}
    for name, link, armature, shapes in zip(JOINTS, LINKS, ARMATURE, _looks(), strict=True):
        body = body.add("body", name=name, **frame)
        joint = body.add(
            "joint", name=name, type="hinge", axis=(0, 0, 1), armature=armature,
            frictionloss=link.friction, damping=link.damping,
        )  # fmt: skip
        limit = (-link.torque, link.torque)
        root.actuator.add(
            "motor", name=name, joint=joint, ctrllimited=True, ctrlrange=limit
        )  # fmt: skip
        turn = (math.cos(link.alpha / 2), math.sin(link.alpha / 2), 0.0, 0.0)
        frame = {"pos": (link.a, 0.0, link.d), "quat": turn}
        body.add(
            "inertial",
            pos=_moved(link),
            quat=turn,
            mass=link.mass * (1 + link.error if true_masses else 1),
            diaginertia=link.inertia[:3],
        )
        for start, end, radius, colour in shapes:
            body.add(
                "geom", type="cylinder", fromto=start + end, size=(radius,), rgba=colour, **LOOK
            )
    down = (0.0, 1.0, 0.0, 0.0)
    tool = body.add("body", name="tool", pos=(0, 0, LINKS[-1].d + TOOL_LENGTH), quat=down)
    tool.add(
        "inertial", pos=(0, 0, 0.11), mass=GRIPPER_MASS, diaginertia=(0.002, 0.002, 0.001)
    )  # fmt: skip
    tool.add("site", name="tip", pos=(0, 0, 0), size=(0.0005,))
    for low, high, radius, colour in ((0.145, 0.17, 0.036, DARK), (0.138, 0.145, 0.034, ACCENT)):
        tool.add(
            "geom", type="cylinder", fromto=(0, 0, low, 0, 0, high), size=(radius,), rgba=colour,
            **LOOK,
        )  # fmt: skip
    return tool


def add_fingers(tool: mjcf.Element, half_width: float, height: float) -> None:
    """Two fingers about a plug's housing.

    half_width: of the housing [m]. height: of its lower face above the plug's tip [m].
    """
    top, thick = 0.1, 0.003
    tool.add(
        "geom", type="box", pos=(0, 0, (top + 0.138) / 2), rgba=DARK,
        size=(max(half_width + 2 * thick, 0.03), 0.026, (0.138 - top) / 2), **LOOK,
    )  # fmt: skip
    for side in (-1, 1):
        low = height + 0.002
        tool.add(
            "geom", type="box", pos=(side * (half_width + thick), 0, (low + top) / 2),
            size=(thick, 0.007, (top - low) / 2), rgba=DARK, **LOOK,
        )  # fmt: skip


def _moved(link: Link) -> tuple[float, float, float]:
    """The link's centre of mass in the joint's turning frame [m]."""
    x, y, z = link.centre
    c, s = math.cos(link.alpha), math.sin(link.alpha)
    return (link.a + x, c * y - s * z, link.d + s * y + c * z)


Point = tuple[float, float, float]


def _looks() -> tuple[tuple[tuple[Point, Point, float, Point | tuple[float, ...]], ...], ...]:
    """Each link's cylinders: start, end [m] in the joint's turning frame, radius [m], colour."""
    shoulder, elbow = 0.138, 0.007  # how far the two long links lie beside their joints' plane
    a2, a3 = LINKS[1].a, LINKS[2].a
    d1, d4, d5, d6 = (LINKS[i].d for i in (0, 3, 4, 5))
    return (
        (
            ((0, 0, 0.1), (0, 0, d1 + 0.05), 0.06, GREY),
            ((0, 0, d1 + 0.05), (0, 0, d1 + 0.06), 0.058, ACCENT),
            ((0, -0.075, d1), (0, 0.02, d1), 0.058, GREY),
        ),
        (
            ((0, 0, 0.075), (0, 0, shoulder + 0.055), 0.058, GREY),
            ((0, 0, shoulder + 0.055), (0, 0, shoulder + 0.065), 0.056, ACCENT),
            ((0, 0, shoulder), (a2, 0, shoulder), 0.047, GREY),
            ((a2, 0, 0.07), (a2, 0, shoulder + 0.05), 0.054, GREY),
            ((a2, 0, shoulder + 0.05), (a2, 0, shoulder + 0.06), 0.052, ACCENT),
        ),
        (
            ((0, 0, -0.05), (0, 0, 0.068), 0.052, DARK),
            ((0, 0, -0.06), (0, 0, -0.05), 0.05, ACCENT),
            ((0, 0, elbow), (a3, 0, elbow), 0.038, GREY),
            ((a3, 0, -0.045), (a3, 0, 0.065), 0.042, GREY),
        ),
        (
            ((0, 0, 0.067), (0, 0, d4 + 0.042), 0.04, GREY),
            ((0, 0, d4 + 0.042), (0, 0, d4 + 0.05), 0.038, ACCENT),
            ((0, -0.05, d4), (0, 0.01, d4), 0.04, GREY),
        ),
        (
            ((0, 0, 0.05), (0, 0, d5 + 0.042), 0.04, GREY),
            ((0, 0, d5 + 0.042), (0, 0, d5 + 0.05), 0.038, ACCENT),
            ((0, 0.01, d5), (0, 0.055, d5), 0.04, GREY),
        ),
        (((0, 0, d6 - 0.042), (0, 0, d6), 0.0375, DARK),),
    )

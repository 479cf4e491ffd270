"""What an insertion robot measures, is commanded, and must not exceed.

Frames: the nominal socket frame has its origin on the nominal socket face, z up out of it. The
tool's pose is that of the nominal plug tip. Everything measured is in the nominal socket frame.
"""

from __future__ import annotations

import numpy as np

from adapt.bundle.fields import ActionField, Field, Limit, Quantity
from sim.core.worlds import WorldSpec
from sim.insertion.plugs import MM
from sim.insertion.space import FACTOR_TERMS, FACTORS
from sim.insertion.wrist import TIMESTEP

CONTROL_PERIOD = 0.05
"""[s]: 20 Hz, usual for Cartesian impedance skills on real arms."""
SUBSTEPS = round(CONTROL_PERIOD / TIMESTEP)
HORIZON = 50
"""Control periods in an episode: 2.5 s, three times what a plug takes whose socket is known."""

ACTION_SCALE = np.array([1.5 * MM, 1.5 * MM, 2 * MM, 0.02])
"""Largest change of the reference per control period: x, y, z [m], yaw [rad]."""
REFERENCE_CLIP = np.array([5 * MM, 5 * MM, 10 * MM, 0.06])
"""Largest difference of the reference from the measured pose. With the nominal stiffness it bounds
the arm's force to 6 N sideways, 25 N along the axis and 1.2 N·m about it."""
WORKSPACE_LOW = np.array([-8 * MM, -8 * MM, -40 * MM, -0.3])
WORKSPACE_HIGH = np.array([8 * MM, 8 * MM, 15 * MM, 0.3])

FORCE_LIMIT = 80.0
"""Contact force [N] that ends the episode as a failure."""

SOCKET_FRAME = (
    "nominal socket: origin on the socket's face, in its middle, where it is believed to be; z out "
    "of the face, toward the tool; x along the row of the two main pins; right-handed"
)
TOOL_FRAME = (
    "tool: origin at the end of the longest pin, on the plug's axis, for a nominal grasp; z up the "
    "tool, away from the socket; parallel to the nominal socket at rotation 0"
)
ROTATION = (
    "R = Rz(yaw) Ry(pitch) Rx(roll) takes coordinates in the tool to coordinates in the socket"
)


def _increment(name: str, unit: str, scale: float) -> ActionField:
    return ActionField(
        name,
        (),
        unit,
        -scale,
        scale,
        scale,
        description=f"added to the {name} of the impedance controller's reference pose in this "
        "control period; the reference is then clipped to the measured pose ± (5 mm, 5 mm, 10 mm, "
        "0.06 rad) and to the workspace",
        frame=SOCKET_FRAME,
    )


ACTION = (
    _increment("x", "m", 1.5 * MM),
    _increment("y", "m", 1.5 * MM),
    _increment("z", "m", 2 * MM),
    _increment("yaw", "rad", 0.02),
)


def _limits() -> tuple[Limit, ...]:
    """Margins at least twice as wide as policies need on the rig and on the arm, except those of
    commands, which may reverse within a period."""
    low = np.round(WORKSPACE_LOW - REFERENCE_CLIP, 6).tolist()
    high = np.round(WORKSPACE_HIGH + REFERENCE_CLIP, 6).tolist()
    reach = "as far as the reference goes in training, and leads"
    slip = "twice as fast as a plug slips home"
    # The longest plug is 25 mm.
    torque = FORCE_LIMIT * 0.025
    # Nothing to most of the force limit within a period.
    jump = 0.6 * FORCE_LIMIT / CONTROL_PERIOD
    reversal = "a full reversal within a period, as training allows it"

    def either(
        quantity: Quantity, field: str, most: float, unit: str, reason: str, *at: int
    ) -> Limit:
        return Limit(quantity, field, -most, most, unit, reason, list(at))

    return (
        either("workspace", "tip_position", high[0], "m", reach, 0, 1),
        Limit("workspace", "tip_position", low[2], high[2], "m", reach, [2]),
        either("position", "tip_rotation", high[3], "rad", reach, 0),
        either("position", "tip_rotation", 0.1, "rad", "ten times a socket's tilt: jammed", 1, 2),
        either("velocity", "tip_velocity", 0.25, "m/s", "reduced speed of ISO 10218-1", 0, 1, 2),
        either("velocity", "tip_velocity", 1.0, "rad/s", slip, 3, 4, 5),
        either("force", "wrench", FORCE_LIMIT, "N", "in training the part breaks", 0, 1, 2),
        either("force", "wrench", torque, "N·m", "that force on a plug's length", 3, 4, 5),
        either("rate", "wrench", jump, "N/s", "an impact, or a sensor that jumps", 0, 1, 2),
        *(
            either("rate", f.name, 2 * f.scale / CONTROL_PERIOD, f"{f.unit}/s", reversal)
            for f in ACTION
        ),
    )


SPEC = WorldSpec(
    name="insertion",
    observation=(
        Field(
            "tip_position",
            (3,),
            "m",
            -0.1,
            0.1,
            description="measured position of the tool's origin",
            frame=SOCKET_FRAME,
            elements=("x", "y", "z"),
        ),
        Field(
            "tip_rotation",
            (3,),
            "rad",
            -0.6,
            0.6,
            description="measured orientation of the tool",
            frame=SOCKET_FRAME,
            convention=ROTATION,
            elements=("yaw", "pitch", "roll"),
        ),
        Field(
            "tip_velocity",
            (6,),
            "m/s, rad/s",
            -20.0,
            20.0,
            description="time derivatives of tip_position and tip_rotation",
            frame=SOCKET_FRAME,
            convention="the last three are rates of the angles, not a vector of angular velocity",
            elements=("x", "y", "z", "yaw", "pitch", "roll"),
        ),
        Field(
            "wrench",
            (6,),
            "N, N·m",
            -1000.0,
            1000.0,
            description="force and torque between wrist and plug, mean of the last 25 ms, without "
            "gravity, zeroed at the start pose of each episode",
            frame=TOOL_FRAME,
            convention="what the wrist exerts on the plug, the torque about the tool's origin: "
            "pressing down on the socket gives a negative z",
            elements=("force_x", "force_y", "force_z", "torque_x", "torque_y", "torque_z"),
        ),
        Field(
            "reference_lead",
            (4,),
            "m, rad",
            -0.1,
            0.1,
            description="reference pose of the impedance controller less the measured pose",
            frame=SOCKET_FRAME,
            elements=("x", "y", "z", "yaw"),
        ),
        Field(
            "depth_left",
            (1,),
            "m",
            -0.02,
            0.1,
            description="z of tip_position plus the length of the longest pin: what is left to the "
            "nominal seat",
            elements=("depth_left",),
        ),
    ),
    action=ACTION,
    factors=FACTORS,
    factor_terms=FACTOR_TERMS,
    control_period=CONTROL_PERIOD,
    horizon=HORIZON,
    limits=_limits(),
    reward="0.5 clip(-z / longest pin, 0, 1), z of tip_position, plus 1 in the period in which the "
    "episode succeeds: in two periods in a row -z is at least min(longest pin - 1 mm, 0.95 longest "
    "pin), and no contact force has exceeded 80 N. (In training the true face judges success.) "
    "An episode ends so, or with more than 80 N, both terminal; else after 50 periods. At a reset "
    "the tip goes to (0, 0, 6 mm) at rotation 0, rests, the wrench is zeroed, and the reference is "
    "set to the measured pose.",
)

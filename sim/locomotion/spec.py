"""A locomotion robot's contract: what it measures, what it may be asked, and how often."""

from __future__ import annotations

import numpy as np

from adapt.bundle.fields import ActionField, Field, Limit
from robot_bridge.drivers.gait import FREQUENCY, LEGS, LIFT, Modulation
from sim.core.worlds import WorldSpec
from sim.locomotion.task import FACTORS
from sim.robots.go2 import JOINTS

SUBSTEPS, TIMESTEP = 4, 0.005
"""Physics steps in a control period, and their length [s]."""
CONTROL_PERIOD = SUBSTEPS * TIMESTEP
HORIZON = 1000
"""Control periods in an episode: 20 s."""

RESIDUAL = np.tile([0.3, 0.4, 0.4], LEGS)
"""Largest change of a joint's reference by the policy: hip, thigh, calf [rad]."""
FREQUENCY_RANGE, LIFT_RANGE, OFFSET_RANGE = 0.9, 0.25, 0.25
"""How far a policy may move the gait's frequency [Hz], lift [rad] and offsets [cycles]."""
SPEED_BOUND, GYRO_BOUND = 60.0, 40.0
"""Beyond what joints [rad/s] and a body that walks or falls [rad/s] reach."""

N_JOINTS = len(JOINTS)
N_ACTION = N_JOINTS + 2 + LEGS


def _gait(
    name: str, shape: tuple[int, ...], unit: str, middle: float, reach: float, text: str
) -> ActionField:
    low, high = middle - reach, middle + reach
    return ActionField(
        name, shape, unit, low, high, reach, offset=middle, description=f"gait: {text}"
    )


SPEC = WorldSpec(
    name="locomotion",
    observation=(
        Field(
            "gravity",
            (3,),
            "1",
            -1.5,
            1.5,
            frame="body: x forward, y left, z up",
            description="unit vector of gravity, from the inertial sensor's attitude",
        ),
        Field(
            "gyro",
            (3,),
            "rad/s",
            -GYRO_BOUND,
            GYRO_BOUND,
            frame="body: x forward, y left, z up",
            description="turning rate",
        ),
        Field(
            "joint_position",
            (N_JOINTS,),
            "rad",
            -7.0,
            7.0,
            elements=JOINTS,
            description="joint angles less the stance (hip 0, thigh 0.85, calf -1.65)",
            convention="hips turn about the body's x, thighs and calves about its y",
        ),
        Field(
            "joint_velocity",
            (N_JOINTS,),
            "rad/s",
            -SPEED_BOUND,
            SPEED_BOUND,
            elements=JOINTS,
            description="joint speeds",
        ),
        Field(
            "last_action",
            (N_ACTION,),
            "1",
            -1.0,
            1.0,
            description="the last command, normalised: (command - offset) / scale; 0 at first",
        ),
        Field(
            "command",
            (3,),
            "m/s, m/s, rad/s",
            -3.0,
            3.0,
            frame="heading: x forward, y left",
            elements=("forward", "left", "turn"),
            description="velocity that an operator asks for",
        ),
        Field(
            "phase",
            (2 * LEGS,),
            "1",
            -1.0,
            1.0,
            description="sine, then cosine, of each leg's phase: GaitClock.observe()",
        ),
    ),
    action=(
        *(
            ActionField(name, (), "rad", -scale, scale, scale, description="added to the reference")
            for name, scale in zip(JOINTS, RESIDUAL.tolist(), strict=True)
        ),
        _gait("frequency", (), "Hz", FREQUENCY, FREQUENCY_RANGE, "steps of a leg per second"),
        _gait("lift", (), "rad", LIFT, LIFT_RANGE, "by which a swinging leg folds"),
        _gait("phase_offset", (LEGS,), "cycles", 0.0, OFFSET_RANGE, "of each leg from the trot"),
    ),
    factors=FACTORS,
    control_period=CONTROL_PERIOD,
    horizon=HORIZON,
    reward="1.5 exp(-e² / 0.15) + 0.75 exp(-w² / 0.25), e the base's horizontal velocity less the "
    "command [m/s], w its turning rate less the command [rad/s]; 0 in the period of a fall, which "
    "ends the episode, terminal",
    limits=(
        Limit("velocity", "joint_velocity", -45.0, 45.0, "rad/s", "half above the motors"),
        Limit("velocity", "gyro", -20.0, 20.0, "rad/s", "twice what walking reaches: it tumbles"),
        *(
            Limit("rate", name, -speed, speed, "rad/s", "no motor follows a faster target")
            for name in JOINTS
            for part, speed in (("thigh", 30.0), ("calf", 20.0))
            if name.endswith(part)
        ),
    ),
)


def modulate(action: np.ndarray) -> Modulation:
    """What a normalised action (B, n_a) asks of the gait."""
    return Modulation(
        residual=RESIDUAL * action[:, :N_JOINTS],
        frequency=FREQUENCY + FREQUENCY_RANGE * action[:, N_JOINTS],
        lift=LIFT + LIFT_RANGE * action[:, N_JOINTS + 1],
        offset=OFFSET_RANGE * action[:, N_JOINTS + 2 :],
    )

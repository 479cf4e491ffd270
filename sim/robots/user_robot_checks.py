"""Whether a user's quadruped is one that our gait can move, before it moves."""

from __future__ import annotations

import mujoco
import numpy as np

from sim.robots.go2 import JOINTS, LEGS

SLANT = 0.35
"""How far a joint's axis, or a leg at zero, may lean from where ours is [rad]."""
SAG = 0.5
"""Largest deflection of a joint under the weight of a trot, on two legs [rad]."""
LOWEST, HIGHEST = 0.2, 0.45
"""Heights of the base for which the gait's references are made [m]; ours stands at 0.31."""
REACH = 0.6
"""A foot's largest distance from the base's centre [m]: the level ground of an episode's start."""
SECOND, LEAN = 1.0, 0.3
"""For how long a body must stand [s], and how far it may lean or sink then [rad, share]."""
GRAVITY = 9.81


def foot_heights(model: mujoco.MjModel, stance: np.ndarray) -> np.ndarray:
    """(4,) of the feet's centres above the base's origin in the stance [m]."""
    return _places(_posed(model, stance))[:, 2]


def check_body(
    model: mujoco.MjModel, stance: np.ndarray, torque: np.ndarray, kp: np.ndarray, height: float
) -> None:
    """Raise ValueError, saying what does not fit and what would.

    stance: (12,) [rad]. torque: (12,) limits [N·m]. kp: (12,) [N·m/rad]. height: of the base above
    the ground in the stance [m].
    """
    _check_axes(model)
    _check_zeros(model)
    low, high = model.jnt_range[1:].T
    for name, angle, least, most, limited in zip(
        JOINTS, stance, low, high, model.jnt_limited[1:], strict=True
    ):
        if limited and not least < angle < most:
            raise ValueError(
                f"stance: {name} at {angle:g} rad is outside its range, {least:g} to {most:g} rad "
                "with the map's sign and zero"
            )
    _check_places(model, stance, height)
    _check_gains(model, stance, torque, kp)
    _check_standing(model, stance, height)


def _posed(model: mujoco.MjModel, angles: np.ndarray) -> mujoco.MjData:
    """The base at the origin, the joints at angles (12,)."""
    data = mujoco.MjData(model)
    data.qpos[:] = 0.0
    data.qpos[3] = 1.0
    data.qpos[7:] = angles
    mujoco.mj_fwdPosition(model, data)
    return data


def _places(data: mujoco.MjData) -> np.ndarray:
    """(4, 3) of the feet [m]."""
    return np.array([data.site(f"{leg}_foot").xpos for leg in LEGS])


def _check_axes(model: mujoco.MjModel) -> None:
    data = _posed(model, np.zeros(len(JOINTS)))
    for name in JOINTS:
        axis = data.joint(name).xaxis
        along, letter = (0, "x") if name.endswith("hip") else (1, "y")
        if axis[along] < -np.cos(SLANT):
            raise ValueError(
                f"signs: {name} turns about the body's -{letter}; expected the other sign"
            )
        if axis[along] < np.cos(SLANT):
            turn = ", ".join(f"{value:.2f}" for value in axis)
            raise ValueError(
                f"joints: {name} turns about ({turn}) in the body's frame; expected its {letter}: "
                "joints are listed hip, thigh, calf, and the base's frame is x forward, y left"
            )


def _check_zeros(model: mujoco.MjModel) -> None:
    data = _posed(model, np.zeros(len(JOINTS)))
    for leg, foot in zip(LEGS, _places(data), strict=True):
        knee, hip = data.joint(f"{leg}_calf").xanchor, data.joint(f"{leg}_thigh").xanchor
        for name, upper, lower in ((f"{leg}_thigh", hip, knee), (f"{leg}_calf", knee, foot)):
            forward, down = lower[0] - upper[0], upper[2] - lower[2]
            lean = np.arctan2(-forward, down)
            if abs(lean) > SLANT:
                raise ValueError(
                    f"zeros: with {name} at 0 its link leans by {lean:.2f} rad; expected it to "
                    "hang straight down"
                )


def _check_places(model: mujoco.MjModel, stance: np.ndarray, height: float) -> None:
    places = _places(_posed(model, stance))
    for leg, place in zip(LEGS, places, strict=True):
        wrong = [
            word
            for word, value in (
                ("front" if leg[0] == "F" else "rear", place[0] * (1 if leg[0] == "F" else -1)),
                ("left" if leg[1] == "L" else "right", place[1] * (1 if leg[1] == "L" else -1)),
            )
            if value <= 0.0
        ]
        if wrong:
            raise ValueError(
                f"joints: the foot of {leg} is not at the {' and '.join(wrong)} of the base in the "
                f"stance, but at x {place[0]:.2f}, y {place[1]:.2f} m; legs are listed front left, "
                "front right, rear left, rear right"
            )
    if not LOWEST <= height <= HIGHEST:
        raise ValueError(
            f"stance: the base stands {height:.2f} m above the ground; the gait is made for "
            f"{LOWEST:g} to {HIGHEST:g} m"
        )
    if (reach := float(np.linalg.norm(places[:, :2], axis=1).max())) > REACH:
        raise ValueError(
            f"stance: a foot is {reach:.2f} m from the base's centre; terrains are level within "
            f"{REACH:g} m of where an episode starts, so the body could not stand on them"
        )


def _check_gains(
    model: mujoco.MjModel, stance: np.ndarray, torque: np.ndarray, kp: np.ndarray
) -> None:
    """A trot carries the body on two legs; position control must hold it there."""
    data = _posed(model, stance)
    mass = float(model.body_mass.sum())
    load = np.zeros(len(JOINTS))
    for leg in LEGS:
        jacobian = np.zeros((3, model.nv))
        mujoco.mj_jacSite(model, data, jacobian, None, model.site(f"{leg}_foot").id)
        load += np.abs(jacobian[2, 6:]) * mass * GRAVITY / 2
    for name, needed, limit, gain in zip(JOINTS, load, torque, kp, strict=True):
        if needed > limit:
            raise ValueError(
                f"torque: {name} needs {needed:.1f} N·m to carry {mass:.1f} kg on two legs in the "
                f"stance; its limit is {limit:.1f} N·m"
            )
        if needed > SAG * gain:
            raise ValueError(
                f"kp: {name} would yield by {needed / gain:.2f} rad under {mass:.1f} kg on two "
                f"legs; expected at least {needed / SAG:.0f} N·m/rad"
            )


def _check_standing(model: mujoco.MjModel, stance: np.ndarray, height: float) -> None:
    data = _posed(model, stance)
    data.qpos[2] = height
    data.ctrl[:] = stance
    ground = model.hfield_data.copy()
    if model.nhfield:
        # Level, at the height 0 of the field's frame.
        model.hfield_data[:] = -model.geom("ground").pos[2] / model.hfield_size[0, 2]
    mujoco.mj_step(model, data, round(SECOND / model.opt.timestep))
    model.hfield_data[:] = ground
    upright = 1 - 2 * (data.qpos[4] ** 2 + data.qpos[5] ** 2)
    sunk = 1 - data.qpos[2] / height
    if not (np.isfinite(data.qpos).all() and upright > np.cos(LEAN) and abs(sunk) < LEAN):
        raise ValueError(
            f"the body cannot stand: after {SECOND:g} s in its stance on level ground the base is "
            f"{data.qpos[2]:.2f} m high instead of {height:.2f} m and leans by "
            f"{np.arccos(np.clip(upright, -1, 1)):.2f} rad; are kp, kd and stance right?"
        )

"""Motions that tell the most about an arm, within its limits and checked before it moves.

A motion visits a few postures; at each the joints follow chirps. Which postures and chirps is
chosen greedily from random candidates, by how much information each adds on the unknown quantities
in the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import numpy as np

from calibration.arm.identification import NOISE, jacobian
from calibration.arm.model import TIMESTEP, ArmModel
from calibration.arm.prediction import Predictor
from calibration.recording import CalibrationError, JointRecording
from sim.robots.ur5e import HOME, JOINTS, TORQUE_LIMITS

READY = HOME + np.array([0.0, -0.35, -0.1, 0.45, 0.0, 0.0])
"""Joint positions [rad] where every motion begins and ends: `HOME`, lifted off the table."""
REST = 0.4
"""At the beginning and the end of a motion [s]."""
SEGMENT = 1.5
"""Duration of the chirps at one posture [s]."""
FREQUENCIES = (0.3, 3.0)
"""Ends of every chirp [Hz]."""
SPREAD = np.array([0.9, 0.35, 0.5, 0.8, 0.7, 1.2])
"""How far a posture may lie from `READY`, joint by joint [rad]."""
AMPLITUDE = 0.35
"""Of the slowest part of a chirp [rad]."""
MODEL_ERROR = 10.0
"""Standard deviations of the sensors' noise that the model is taken to be wrong by, when the
information of a motion is judged."""
CHECKED = 6
"""Arms drawn from the prior in which a motion is checked, beside the nominal one."""


@dataclass(frozen=True)
class Limits:
    """What a motion keeps to. speed [rad/s], acceleration [rad/s²]: of every target. torque: share
    of each joint's limit. height: of the tool and every link above the arm's foot [m]. clearance:
    of the tool from the axis of the first joint [m]."""

    speed: float = 2.0
    acceleration: float = 12.0
    torque: float = 0.8
    height: float = 0.1
    clearance: float = 0.2


@dataclass(frozen=True)
class Segment:
    """Chirps (T, 6) [rad] about a posture (6,) [rad]; they begin and end at 0."""

    posture: np.ndarray
    chirps: np.ndarray


def design(
    arm: ArmModel,
    predictor: Predictor,
    seed: int,
    segments: int = 6,
    candidates: int = 24,
    limits: Limits | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> np.ndarray:
    """Target positions (T, 6) [rad], one every `TIMESTEP`, that begin and end at rest in `READY`.

    Raises CalibrationError if no candidate keeps the limits.
    """
    limits, rng = limits or Limits(), np.random.default_rng(seed)
    kept: list[Segment] = []
    information: list[np.ndarray] = []
    for _ in range(candidates):
        segment = _candidate(rng, limits)
        if violation(arm, predictor, motion([segment], limits), limits):
            continue
        recording = still(segment.posture + segment.chirps)
        rows = jacobian(predictor, np.zeros(len(arm.priors)), [recording], NOISE * MODEL_ERROR)
        kept.append(segment)
        information.append(rows.T @ rows)
        progress(f"candidate {len(kept)} keeps the limits")
    if len(kept) < segments:
        raise CalibrationError(
            f"{len(kept)} of {candidates} candidate motions keep the limits {limits}; expected "
            f"at least {segments}: widen the limits or give more candidates"
        )
    total = np.eye(len(arm.priors))
    chosen: list[Segment] = []
    for _ in range(segments):
        gains = [np.linalg.slogdet(total + added)[1] for added in information]
        for i in np.argsort(gains)[::-1]:
            # A way from one posture to another may break what each alone keeps.
            if not violation(arm, predictor, motion([*chosen, kept[i]], limits), limits):
                break
        else:
            raise CalibrationError(
                f"after {len(chosen)} of {segments} postures no candidate can be reached within "
                f"{limits}; give more candidates"
            )
        chosen.append(kept.pop(i))
        total = total + information.pop(i)
        progress(f"posture {len(chosen)} of {segments}")
    return motion(chosen, limits)


def motion(segments: list[Segment], limits: Limits) -> np.ndarray:
    """Targets (T, 6): rest in `READY`, each posture in turn with its chirps, back to rest."""
    rest = round(REST / TIMESTEP)
    parts, at = [np.tile(READY, (rest, 1))], READY
    for segment in segments:
        parts += [_move(at, segment.posture, limits), segment.posture + segment.chirps]
        at = segment.posture
    parts += [_move(at, READY, limits), np.tile(READY, (rest, 1))]
    return np.concatenate(parts)


def static_poses(arm: ArmModel, seed: int, count: int, limits: Limits | None = None) -> np.ndarray:
    """Joint positions (count, 6) [rad] within the limits that turn the tool to all sides."""
    limits, rng = limits or Limits(), np.random.default_rng(seed)
    spread = np.array([0.9, 0.35, 0.5, 2.5, 2.5, 3.0])
    found: list[np.ndarray] = []
    while len(found) < count:
        posture = READY + rng.uniform(-1, 1, 6) * spread
        height, distance = _closest(arm, posture[None])
        if height >= limits.height and distance >= limits.clearance:
            found.append(posture)
    return np.array(found)


def violation(arm: ArmModel, predictor: Predictor, command: np.ndarray, limits: Limits) -> str:
    """What a motion (T, 6) would break, in the nominal arm or in one drawn from the prior; "" if
    nothing. It is checked in the model, before a robot moves."""
    speed = np.diff(command, axis=0) / TIMESTEP
    acceleration = np.diff(speed, axis=0) / TIMESTEP
    for name, values, limit in (
        ("speed", speed, limits.speed), ("acceleration", acceleration, limits.acceleration)
    ):  # fmt: skip
        worst = np.abs(values).max(axis=0)
        if worst.max() > limit * 1.001:
            joint = JOINTS[int(worst.argmax())]
            return f"reaches a target {name} of {worst.max():.2f} at {joint}"
    rng = np.random.default_rng(0)
    values = np.array([arm.priors.nominal, *(arm.priors.sample(rng) for _ in range(CHECKED))])
    made = predictor(values, still(command))
    share = np.abs(made.torque).max(axis=(0, 1)) / TORQUE_LIMITS
    if share.max() > limits.torque:
        return f"takes {share.max():.0%} of the torque limit at {JOINTS[int(share.argmax())]}"
    height, distance = _closest(arm, made.q[:, ::10].reshape(-1, 6))
    if height < limits.height:
        return f"comes within {height:.3f} m of the foot's height"
    if distance < limits.clearance:
        return f"brings the tool within {distance:.3f} m of the first joint's axis"
    return ""


def still(command: np.ndarray) -> JointRecording:
    """A recording to predict along `command` (T, 6): it says that the arm starts there, at rest."""
    zeros = np.zeros_like(command)
    start = np.tile(command[0], (len(command), 1))
    return JointRecording("model", np.arange(len(command)) * TIMESTEP, start, zeros, zeros, command)


def _candidate(rng: np.random.Generator, limits: Limits) -> Segment:
    """Chirps of random direction, phase and size about a random posture."""
    time = np.arange(round(SEGMENT / TIMESTEP)) * TIMESTEP
    low, high = FREQUENCIES
    rate = np.log(high / low) / SEGMENT
    up = low * np.exp(rate * time)
    chirps = np.zeros((len(time), 6))
    # The window's own slope takes some of the limits.
    window = np.sin(np.pi * np.clip(np.minimum(time, SEGMENT - time) / 0.5, 0, 1) / 2) ** 2
    for joint in range(6):
        frequency = up if rng.random() < 0.5 else up[::-1]
        omega = 2 * np.pi * frequency
        # A smooth minimum of three sizes: a kink would be a peak of acceleration.
        sizes = np.array(
            [np.full(len(time), AMPLITUDE), limits.speed / omega, limits.acceleration / omega**2]
        )
        size = (sizes**-4.0).sum(axis=0) ** -0.25
        phase = np.cumsum(omega) * TIMESTEP + rng.uniform(0, 2 * np.pi)
        chirps[:, joint] = rng.uniform(0.35, 0.6) * size * window * np.sin(phase)
    return Segment(READY + rng.uniform(-1, 1, 6) * SPREAD, chirps)


def _move(start: np.ndarray, end: np.ndarray, limits: Limits) -> np.ndarray:
    """From one posture to the other along a quintic, at 0.9 of the limits."""
    distance = np.abs(end - start).max()
    # A quintic's largest speed is 1.875 distance / duration, its acceleration 5.77 / duration².
    duration = max(
        1.875 * distance / (0.9 * limits.speed),
        np.sqrt(5.774 * distance / (0.9 * limits.acceleration)),
        TIMESTEP,
    )
    s = np.linspace(0, 1, int(np.ceil(duration / TIMESTEP)) + 1)[1:, None]
    return start + (end - start) * (10 * s**3 - 15 * s**4 + 6 * s**5)


def _closest(arm: ArmModel, postures: np.ndarray) -> tuple[float, float]:
    """The least height of elbow, wrist and tool above the foot, and the tool's least distance from
    the first joint's axis [m], over postures (n, 6)."""
    model, data = arm.model, mujoco.MjData(arm.model)
    foot = model.body("foot").pos
    bodies = [model.body(name).id for name in (*JOINTS[2:], "tool")]
    height = distance = np.inf
    for q in postures:
        data.qpos[:] = q
        mujoco.mj_kinematics(model, data)
        places = data.xpos[bodies] - foot
        height = min(height, places[:, 2].min())
        distance = min(distance, float(np.hypot(*places[-1, :2])))
    return float(height), float(distance)

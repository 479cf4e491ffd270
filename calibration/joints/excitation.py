"""Motions that tell the most about joints, within their limits and checked before it moves.

A motion visits a few postures; at each the joints follow chirps. Which postures and chirps is
chosen greedily from random candidates, by how much information each adds on the unknown quantities
in the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from calibration.joints.identification import jacobian
from calibration.joints.prediction import Predictor, still
from calibration.joints.robot import TIMESTEP, JointRobot, Limits
from calibration.recording import CalibrationError

REST = 0.4
"""At the beginning and the end of a motion [s]."""
MODEL_ERROR = 10.0
"""Standard deviations of the sensors' noise that the model is taken to be wrong by, when the
information of a motion is judged."""
CHECKED = 6
"""Robots drawn from the prior in which a motion is checked, beside the nominal one."""


@dataclass(frozen=True)
class Segment:
    """Chirps (T, n) [rad] about a posture (n,) [rad]; they begin and end at 0."""

    posture: np.ndarray
    chirps: np.ndarray


def design(
    predictor: Predictor,
    seed: int,
    segments: int = 6,
    candidates: int = 24,
    limits: Limits | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> np.ndarray:
    """Target positions (T, n) [rad], one every `TIMESTEP`, that begin and end at rest in the
    robot's posture `ready`. limits: in place of the robot's own.

    Raises CalibrationError if no candidate keeps the limits.
    """
    robot = predictor.robot
    limits, rng = limits or robot.layout.limits, np.random.default_rng(seed)
    kept: list[Segment] = []
    information: list[np.ndarray] = []
    for _ in range(candidates):
        segment = _candidate(robot, rng, limits)
        if violation(predictor, motion(robot, [segment], limits), limits):
            continue
        recording = still(segment.posture + segment.chirps)
        noise = robot.layout.noise * MODEL_ERROR
        rows = jacobian(predictor, np.zeros(len(robot.priors)), [recording], noise)
        kept.append(segment)
        information.append(rows.T @ rows)
        progress(f"candidate {len(kept)} keeps the limits")
    if len(kept) < segments:
        raise CalibrationError(
            f"{len(kept)} of {candidates} candidate motions keep the limits {limits}; expected "
            f"at least {segments}: widen the limits or give more candidates"
        )
    total = np.eye(len(robot.priors))
    chosen: list[Segment] = []
    for _ in range(segments):
        gains = [np.linalg.slogdet(total + added)[1] for added in information]
        for i in np.argsort(gains)[::-1]:
            # A way from one posture to another may break what each alone keeps.
            if not violation(predictor, motion(robot, [*chosen, kept[i]], limits), limits):
                break
        else:
            raise CalibrationError(
                f"after {len(chosen)} of {segments} postures no candidate can be reached within "
                f"{limits}; give more candidates"
            )
        chosen.append(kept.pop(i))
        total = total + information.pop(i)
        progress(f"posture {len(chosen)} of {segments}")
    return motion(robot, chosen, limits)


def motion(robot: JointRobot, segments: list[Segment], limits: Limits) -> np.ndarray:
    """Targets (T, n): rest in `ready`, each posture in turn with its chirps, back to rest."""
    rest = np.tile(robot.layout.ready, (round(REST / TIMESTEP), 1))
    parts, at = [rest], robot.layout.ready
    for segment in segments:
        parts += [_move(at, segment.posture, limits), segment.posture + segment.chirps]
        at = segment.posture
    parts += [_move(at, robot.layout.ready, limits), rest]
    return np.concatenate(parts)


def violation(predictor: Predictor, command: np.ndarray, limits: Limits) -> str:
    """What a motion (T, n) would break, in the nominal robot or in one drawn from the prior; "" if
    nothing. It is checked in the model, before a robot moves."""
    robot = predictor.robot
    speed = np.diff(command, axis=0) / TIMESTEP
    acceleration = np.diff(speed, axis=0) / TIMESTEP
    for name, values, limit in (
        ("speed", speed, limits.speed), ("acceleration", acceleration, limits.acceleration)
    ):  # fmt: skip
        worst = np.abs(values).max(axis=0)
        if worst.max() > limit * 1.001:
            joint = robot.joints[int(worst.argmax())]
            return f"reaches a target {name} of {worst.max():.2f} at {joint}"
    rng = np.random.default_rng(0)
    values = np.array([robot.priors.nominal, *(robot.priors.sample(rng) for _ in range(CHECKED))])
    made = predictor(values, still(command))
    share = np.abs(made.torque).max(axis=(0, 1)) / robot.layout.torque_limits
    if share.max() > limits.torque:
        joint = robot.joints[int(share.argmax())]
        return f"takes {share.max():.0%} of the torque limit at {joint}"
    return robot.unsafe(made.q[:, ::10].reshape(-1, len(robot.joints)))


def _candidate(robot: JointRobot, rng: np.random.Generator, limits: Limits) -> Segment:
    """Chirps of random direction, phase and size about a random posture."""
    how = robot.layout.excitation
    time = np.arange(round(how.segment / TIMESTEP)) * TIMESTEP
    low, high = how.frequencies
    rate = np.log(high / low) / how.segment
    up = low * np.exp(rate * time)
    chirps = np.zeros((len(time), len(robot.joints)))
    # The window's own slope takes some of the limits.
    window = np.sin(np.pi * np.clip(np.minimum(time, how.segment - time) / 0.5, 0, 1) / 2) ** 2
    for joint in range(len(robot.joints)):
        frequency = up if rng.random() < 0.5 else up[::-1]
        omega = 2 * np.pi * frequency
        # A smooth minimum of three sizes: a kink would be a peak of acceleration.
        sizes = [np.full(len(time), how.amplitude), limits.speed / omega]
        sizes.append(limits.acceleration / omega**2)
        size = (np.array(sizes) ** -4.0).sum(axis=0) ** -0.25
        phase = np.cumsum(omega) * TIMESTEP + rng.uniform(0, 2 * np.pi)
        chirps[:, joint] = rng.uniform(0.35, 0.6) * size * window * np.sin(phase)
    posture = robot.layout.ready + rng.uniform(-1, 1, len(robot.joints)) * how.spread
    return Segment(posture, chirps)


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

"""Finds recordings that would give a wrong calibration, and names what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration.joints.linear_fit import LinearFit
from calibration.joints.prediction import Predictor, still
from calibration.joints.robot import TIMESTEP, JointRobot
from calibration.recording import JointRecording

GAP = 1.5
"""Longest period between samples, over `TIMESTEP`."""
RATE = 0.02
"""How far the mean period may be from `TIMESTEP` [1]."""
STALE = 0.02
"""Share of samples that may repeat the one before in every reading."""
FROZEN = 0.05
"""Seconds that a reading may stand still while its target moves by `MOVED` [rad]."""
MOVED = 0.01
SATURATED = 0.01
"""Share of samples that may lie at the torque limit."""
LEAST_SPEED = 0.05
"""Root mean square of a joint's speed from which its motion tells enough [rad/s]."""
LARGEST_ANGLE = 2.2 * np.pi
"""Beyond this a reading is not in radians."""
TORQUE_RATIO = 5.0
"""Between logged torques and those that the motion needs: beyond, they are not N·m."""
FOLLOWS = 0.5
"""Correlation of a joint's motion with the nominal robot's, at least."""
CLEARLY = 0.1
"""By how much more a joint's motion is like another's where two are swapped."""
LOAD, SURENESS = 0.3, 4.0
"""An unannounced load counts from so many kg and so many standard errors."""


@dataclass(frozen=True)
class Finding:
    """Something wrong. kind: one word for machines. text: where, what was found and expected."""

    kind: str
    text: str


def check_recording(robot: JointRobot, recording: JointRecording) -> list[Finding]:
    """What is wrong with a recording by itself; empty if nothing."""
    timing = check_timing(robot, recording)
    if timing:
        return timing  # nothing else can be judged on another time base
    checks = _repeats, _units, _motion, _saturation
    return [
        Finding(kind, f"{recording.name}: {text}")
        for check in checks
        for kind, text in check(robot, recording)
    ]


def check_timing(robot: JointRobot, recording: JointRecording) -> list[Finding]:
    """Whether a recording has the robot's joints, a sample in every period."""
    count, expected = recording.q.shape[1], len(robot.joints)
    if count != expected:
        text = f"{recording.name}: {count} joints; expected the {expected} of the {robot.kind}"
        return [Finding("joints", text)]
    return _timing(recording)


def check_dynamics(robot: JointRobot, recording: JointRecording, found: LinearFit) -> list[Finding]:
    """What the torques tell that the joints' motion does not."""
    findings = []
    for j, joint in enumerate(robot.joints):
        needed, logged = found.rigid[:, j], found.logged[:, j]
        slope = float(needed @ logged / (needed @ needed))
        if np.std(recording.torque[:, j]) < 1e-6:
            text = f"torque of {joint} is {logged[0]:g} N·m throughout; its sensor is dead"
            findings.append(Finding("dead-sensor", f"{recording.name}: {text}"))
        elif not 1 / TORQUE_RATIO < slope < TORQUE_RATIO:
            guess = "is it in N·mm?" if 300 < slope < 3000 else "a current, or a wrong sign?"
            text = f"torque of {joint} is {slope:.3g} times what its motion needs; expected about 1"
            findings.append(Finding("torque-unit", f"{recording.name}: {text}: {guess}"))
    for load in found.loads if not findings else ():
        if not load.announced and load.mass > max(LOAD, SURENESS * load.error):
            text = (
                f"the {robot.kind} carries about {load.mass:.2f} ± {load.error:.2f} kg at its "
                f"{load.place} that was not announced; take the load off and record again"
            )
            text += ", or add block payload" if load.quantity else ""
            findings.append(Finding("load", f"{recording.name}: {text}"))
    return findings


def _timing(recording: JointRecording) -> list[Finding]:
    if len(recording.time) < 500:
        text = f"{len(recording.time)} samples; expected at least 500, one second"
        return [Finding("short", f"{recording.name}: {text}")]
    steps = np.diff(recording.time)
    worst = int(np.argmax(steps))
    if steps.min() <= 0:
        at = int(np.argmin(steps)) + 1
        text = f"time does not increase at sample {at}"
        return [Finding("time", f"{recording.name}: {text}")]
    period = float(np.median(steps))
    if abs(period / TIMESTEP - 1) > RATE:
        text = f"a sample every {period * 1e3:.3g} ms; expected every {TIMESTEP * 1e3:g} ms"
        return [Finding("rate", f"{recording.name}: {text}")]
    if steps[worst] > GAP * TIMESTEP:
        text = (
            f"no sample for {steps[worst] * 1e3:.3g} ms after {recording.time[worst]:.3f} s, "
            f"{np.count_nonzero(steps > GAP * TIMESTEP)} gaps in all; expected one every "
            f"{TIMESTEP * 1e3:g} ms"
        )
        return [Finding("gap", f"{recording.name}: {text}")]
    return []


def _repeats(robot: JointRobot, r: JointRecording) -> list[tuple[str, str]]:
    """Stale samples, else encoders that stand still while their target moves."""
    same = [np.all(np.diff(a, axis=0) == 0, axis=1) for a in (r.q, r.dq, r.torque)]
    share = float(np.mean(np.logical_and.reduce(same)))
    if share > STALE:
        return [("stale", f"{share:.0%} of the samples repeat the one before; expected none")]
    found = []
    length = round(FROZEN / TIMESTEP)
    for j, joint in enumerate(robot.joints):
        still = np.concatenate([[0], np.diff(r.q[:, j]) == 0, [0]]).astype(int)
        begins, ends = np.flatnonzero(np.diff(still) == 1), np.flatnonzero(np.diff(still) == -1)
        for begin, end in zip(begins, ends, strict=True):
            moved = np.ptp(r.command[begin : end + 1, j])
            if end - begin >= length and moved > MOVED:
                text = (
                    f"the encoder of {joint} stands still for {(end - begin) * TIMESTEP:.2f} s "
                    f"from {r.time[begin]:.2f} s on while its target moves by {moved:.3f} rad"
                )
                found.append(("frozen", text))
                break
    return found


def _units(robot: JointRobot, r: JointRecording) -> list[tuple[str, str]]:
    """Angles that are not in radians, joints that are mirrored or in another order."""
    found = []
    for name, values in (("reading", r.q), ("target", r.command)):
        if np.abs(values).max() > LARGEST_ANGLE:
            joint = robot.joints[int(np.abs(values).max(axis=0).argmax())]
            text = f"a {name} of {np.abs(values).max():.4g} at {joint}; is it in degrees?"
            found.append(("degrees", f"{text} Expected rad"))
    if found:
        return found
    expected = _nominal_motion(robot, r)
    motion, expected = r.q - r.q.mean(axis=0), expected - expected.mean(axis=0)
    size = np.linalg.norm(motion, axis=0)[:, None] * np.linalg.norm(expected, axis=0)
    if (size == 0).any():
        return []  # told as too little motion
    alike = motion.T @ expected / size
    # Of a joint that hardly moves friction is all that shows; it is told as too little motion.
    moving = np.sqrt((r.dq**2).mean(axis=0)) >= LEAST_SPEED
    for j, joint in enumerate(robot.joints):
        if not moving[j]:
            continue
        other = int(np.abs(alike[j]).argmax())
        slope = float(motion[:, j] @ expected[:, j] / (expected[:, j] @ expected[:, j]))
        # First: where two joints move against each other, swapped ones seem mirrored.
        if abs(alike[j, other]) > max(FOLLOWS, abs(alike[j, j]) + CLEARLY):
            text = f"the reading of {joint} follows the target of {robot.joints[other]}"
            order = ", ".join(robot.joints)
            found.append(("swapped", f"{text}; expected its own: is the order {order}?"))
        elif alike[j, j] < -FOLLOWS:
            found.append(("mirrored", f"{joint} moves against its target; expected along it"))
        elif alike[j, j] > FOLLOWS and not 1 / 3 < slope < 3:
            text = f"{joint} moves {slope:.3g} times as far as its target asks; expected about 1"
            found.append(("degrees", f"{text}: is one of them in degrees?"))
    speed = np.gradient(r.q, TIMESTEP, axis=0)
    for j, joint in enumerate(robot.joints):
        slope = float(speed[:, j] @ r.dq[:, j] / max(speed[:, j] @ speed[:, j], 1e-12))
        if moving[j] and not found and not 0.3 < slope < 3:
            text = f"the velocity of {joint} is {slope:.3g} times its reading's derivative"
            found.append(("degrees", f"{text}; expected about 1, in rad/s"))
    return found


def _nominal_motion(robot: JointRobot, r: JointRecording) -> np.ndarray:
    """Positions (T, n) [rad] of the nominal robot under a recording's targets: unlike these, it
    lags as a real one does."""
    predictor = Predictor(robot, threads=1)
    try:
        return predictor(robot.priors.nominal[None], still(r.command)).q[0]
    finally:
        predictor.close()


def _motion(robot: JointRobot, r: JointRecording) -> list[tuple[str, str]]:
    speed = np.sqrt((r.dq**2).mean(axis=0))
    return [
        ("motion", f"{joint} moves at {s:.3f} rad/s rms; expected {LEAST_SPEED:g} or more")
        for joint, s in zip(robot.joints, speed, strict=True)
        if s < LEAST_SPEED
    ]


def _saturation(robot: JointRobot, r: JointRecording) -> list[tuple[str, str]]:
    limits = robot.layout.torque_limits
    share = np.mean(np.abs(r.torque) >= 0.99 * limits, axis=0)
    # A unit that is wrong would look like saturation; the torques' size tells them apart.
    inside = np.abs(r.torque).max(axis=0) < 1.2 * limits
    return [
        ("saturation", f"{joint} is at its torque limit for {s:.0%} of the time; expected none")
        for joint, s, real in zip(robot.joints, share, inside, strict=True)
        if s > SATURATED and real
    ]

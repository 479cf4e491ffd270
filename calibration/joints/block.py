"""Identifies joints in the air: from recordings to a posterior that held-out ones confirm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from calibration.input_checks import Finding, check_dynamics, check_recording
from calibration.joints.identification import Fit, errors, fit
from calibration.joints.linear_fit import linear_fit, start
from calibration.joints.prediction import Predictor
from calibration.joints.robot import JointRobot
from calibration.parameters import WIDTH
from calibration.posterior import Posterior, effective_noise, posterior, rms
from calibration.recording import CalibrationError, JointRecording

GUESS = (5.0, 1.0)
"""What a model misses of readings and torques, in the sensors' noise, before any fit."""
ROUGH = 0.02
"""Tolerance of the first fit."""
EDGE = 3.5
"""Standard deviations of the prior beyond which an estimate says that the model is another's."""
WORST_TORQUE = 1.8
"""Held-out error of the torques over the sensors' noise, at most."""
WORST_RATIO = 0.5
"""Held-out error of the readings over the nominal model's, at most."""


@dataclass(frozen=True)
class HeldOut:
    """A recording that was not fitted, and the errors (T, 2n) of both models on it: readings
    [rad], then torques [N·m]."""

    recording: JointRecording
    nominal: np.ndarray
    calibrated: np.ndarray


@dataclass(frozen=True)
class JointsResult:
    """posterior: of every quantity. fit: the final one. noise (2n,): by channel, as
    `calibration.posterior` describes it. findings: what tells that the model is not this robot."""

    robot: JointRobot
    posterior: Posterior
    fit: Fit
    noise: np.ndarray
    recordings: Sequence[JointRecording]
    held_out: Sequence[HeldOut]
    findings: Sequence[Finding]

    @property
    def ratio(self) -> float:
        """Error of the readings on held-out recordings over the nominal model's, all joints."""
        n = len(self.robot.joints)
        nominal, calibrated = (
            np.concatenate([getattr(h, key)[:, :n] for h in self.held_out])
            for key in ("nominal", "calibrated")
        )
        return float(np.sqrt((calibrated**2).mean() / (nominal**2).mean()))


def calibrate_joints(
    robot: JointRobot,
    recordings: Sequence[JointRecording],
    held_out: Sequence[JointRecording],
    threads: int = 2,
    progress: Callable[[str], None] = lambda text: None,
) -> JointsResult:
    """Identify a robot's joints, and what it carries where its priors name a payload.

    Raises CalibrationError, with everything found, for recordings that are no good.
    """
    if not recordings or not held_out:
        raise CalibrationError(
            f"{len(recordings)} recordings to fit and {len(held_out)} held out; expected at least "
            "one of each: what is claimed is checked on motion that was not fitted"
        )
    if {r.digest for r in recordings if r.digest} & {r.digest for r in held_out}:
        raise CalibrationError("a held-out recording is among those to fit; expected another")
    progress("checking the recordings")
    found = [f for r in (*recordings, *held_out) for f in check_recording(robot, r)]
    linear = [linear_fit(robot, r) for r in (*recordings, *held_out)] if not found else []
    for recording, estimate in zip((*recordings, *held_out), linear, strict=False):
        found += check_dynamics(robot, recording, estimate)
    if found:
        raise CalibrationError("; ".join(f.text for f in found))
    predictor = Predictor(robot, threads)
    try:
        return _identify(predictor, recordings, held_out, start(robot, linear[0]), progress)
    finally:
        predictor.close()


def _identify(
    predictor: Predictor,
    recordings: Sequence[JointRecording],
    held_out: Sequence[JointRecording],
    begin: np.ndarray,
    progress: Callable[[str], None],
) -> JointsResult:
    robot = predictor.robot
    nominal, sensors = np.zeros(len(robot.priors)), robot.layout.noise
    misfits = [
        sum(float(((errors(predictor, x, r) / sensors) ** 2).sum()) for r in recordings)
        for x in (begin, nominal)
    ]
    begin = begin if misfits[0] < misfits[1] else nominal

    def outside(x: np.ndarray) -> list[np.ndarray]:
        return [errors(predictor, x, r) for r in held_out]

    # A model that is a little wrong misses more than the sensors do. The final fit weighs each
    # channel by what a rough one misses.
    guess = sensors * np.repeat(GUESS, len(robot.joints))
    first = fit(
        predictor, recordings, begin, guess, lambda text: progress(f"first fit, {text}"), ROUGH
    )
    noise = effective_noise(first.errors, outside(first.x), sensors)
    final = fit(
        predictor, recordings, first.x, noise, lambda text: progress(f"final fit, {text}"),
        earlier=first,
    )  # fmt: skip
    missed = outside(final.x)
    noise = effective_noise(final.errors, missed, sensors)
    result = posterior(robot.priors, final.x, final.jacobian, final.scale, noise)
    checked = [HeldOut(r, a, b) for r, a, b in zip(held_out, outside(nominal), missed, strict=True)]
    whole = JointsResult(robot, result, final, noise, recordings, checked, [])
    return replace(whole, findings=check_result(whole))


def check_result(result: JointsResult) -> list[Finding]:
    """Signs that the model is not this robot; a wrong one shows only after the fit."""
    findings = []
    priors, x = result.robot.priors, result.posterior.x
    for prior, value in zip(priors.items, x.tolist(), strict=True):
        edge = min(EDGE * prior.widen, 0.99 * WIDTH)
        if abs(value) > edge:
            text = f"{prior.name} is {abs(value):.1f} standard deviations of its prior from nominal"
            findings.append(Finding("edge", f"{text}; expected within {edge:g}"))
    readings = slice(len(result.robot.joints))
    missed = rms([h.calibrated for h in result.held_out]) / result.robot.layout.noise
    noise, torque = missed[readings], missed[len(result.robot.joints) :]
    if result.ratio > WORST_RATIO and noise.max() > 3:
        text = (
            f"held-out readings are predicted {result.ratio:.0%} as badly as by the nominal model"
        )
        findings.append(Finding("prediction", f"{text}; expected at most {WORST_RATIO:.0%}"))
    worst = result.robot.layout.worst
    if noise.max() > worst:
        text = f"held-out readings are missed by {noise.max():.0f} times the sensors' noise"
        findings.append(Finding("misfit", f"{text}; expected at most {worst:g}"))
    if torque.max() > WORST_TORQUE:
        joint = result.robot.joints[int(torque.argmax())]
        text = f"held-out torques of {joint} are missed by {torque.max():.1f} times the sensors'"
        findings.append(Finding("misfit", f"{text} noise; expected at most {WORST_TORQUE:g}"))
    return findings

"""The block of the joints in the air: from recordings to a posterior that held-out ones confirm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from calibration.arm.identification import NOISE, Fit, errors, fit
from calibration.arm.linear_fit import linear_fit, start
from calibration.arm.model import ArmModel, arm_priors
from calibration.arm.prediction import Predictor
from calibration.input_checks import Finding, check_dynamics, check_recording
from calibration.posterior import (
    Posterior,
    effective_noise,
    posterior,
    rms,
)
from calibration.recording import CalibrationError, JointRecording

EDGE = 3.5
"""Standard deviations of the prior beyond which an estimate says that the model is another's."""
WORST_RATIO = 0.5
"""Held-out error of the readings over the nominal model's, at most."""
WORST_NOISE = 20.0
"""Held-out error of the readings over the sensors' noise, at most."""


@dataclass(frozen=True)
class HeldOut:
    """A recording that was not fitted, and the errors (T, 12) of both models on it: readings
    [rad], then torques [N·m]."""

    recording: JointRecording
    nominal: np.ndarray
    calibrated: np.ndarray

    @cached_property
    def ratios(self) -> np.ndarray:
        """Root mean square errors (12,), calibrated over nominal."""
        return rms([self.calibrated]) / rms([self.nominal])


@dataclass(frozen=True)
class JointsResult:
    """posterior: of every quantity. fit: the final one. noise (12,): by channel, as
    `calibration.posterior` describes it. findings: what tells that the model is not this robot."""

    arm: ArmModel
    posterior: Posterior
    fit: Fit
    noise: np.ndarray
    recordings: Sequence[JointRecording]
    held_out: Sequence[HeldOut]
    findings: Sequence[Finding]

    @property
    def ratio(self) -> float:
        """Error of the readings on held-out recordings over the nominal model's, all joints."""
        nominal, calibrated = (
            np.concatenate([getattr(h, key)[:, :6] for h in self.held_out])
            for key in ("nominal", "calibrated")
        )
        return float(np.sqrt((calibrated**2).mean() / (nominal**2).mean()))


def calibrate_joints(
    recordings: Sequence[JointRecording],
    held_out: Sequence[JointRecording],
    payload: bool,
    threads: int = 2,
    progress: Callable[[str], None] = lambda text: None,
) -> JointsResult:
    """Identify the arm. payload: it carries one, of unknown mass and centre.

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
    found = [f for r in (*recordings, *held_out) for f in check_recording(r)]
    linear = [linear_fit(r) for r in (*recordings, *held_out)] if not found else []
    for recording, estimate in zip((*recordings, *held_out), linear, strict=False):
        found += check_dynamics(recording, estimate, payload)
    if found:
        raise CalibrationError("; ".join(f.text for f in found))
    arm = ArmModel(arm_priors(payload))
    predictor = Predictor(arm, threads)
    try:
        return _identify(arm, predictor, recordings, held_out, start(arm, linear[0]), progress)
    finally:
        predictor.close()


def _identify(
    arm: ArmModel,
    predictor: Predictor,
    recordings: Sequence[JointRecording],
    held_out: Sequence[JointRecording],
    begin: np.ndarray,
    progress: Callable[[str], None],
) -> JointsResult:
    nominal = np.zeros(len(arm.priors))
    misfits = [
        sum(float(((errors(predictor, x, r) / NOISE) ** 2).sum()) for r in recordings)
        for x in (begin, nominal)
    ]
    begin = begin if misfits[0] < misfits[1] else nominal

    def outside(x: np.ndarray) -> list[np.ndarray]:
        return [errors(predictor, x, r) for r in held_out]

    first = fit(predictor, recordings, begin, NOISE, lambda text: progress(f"first fit, {text}"))
    # A model that is a little wrong misses more than the sensors do. The second fit weighs each
    # channel by what it really misses.
    noise = effective_noise(first.errors, outside(first.x), NOISE)
    final = fit(predictor, recordings, first.x, noise, lambda text: progress(f"final fit, {text}"))
    missed = outside(final.x)
    noise = effective_noise(final.errors, missed, NOISE)
    result = posterior(arm.priors, final.x, final.jacobian, final.scale, noise)
    checked = [HeldOut(r, a, b) for r, a, b in zip(held_out, outside(nominal), missed, strict=True)]
    whole = JointsResult(arm, result, final, noise, recordings, checked, [])
    return JointsResult(arm, result, final, noise, recordings, checked, check_result(whole))


def check_result(result: JointsResult) -> list[Finding]:
    """Signs that the model is not this robot; a wrong one shows only after the fit."""
    findings = []
    priors, x = result.arm.priors, result.posterior.x
    for name, value in zip(priors.names, x.tolist(), strict=True):
        if abs(value) > EDGE:
            text = f"{name} is {abs(value):.1f} standard deviations of its prior from nominal"
            findings.append(Finding("edge", f"{text}; expected within {EDGE:g}"))
    noise = rms([h.calibrated for h in result.held_out])[:6] / NOISE[:6]
    if result.ratio > WORST_RATIO and noise.max() > 3:
        text = (
            f"held-out readings are predicted {result.ratio:.0%} as badly as by the nominal model"
        )
        findings.append(Finding("prediction", f"{text}; expected at most {WORST_RATIO:.0%}"))
    if noise.max() > WORST_NOISE:
        text = f"held-out readings are missed by {noise.max():.0f} times the sensors' noise"
        findings.append(Finding("misfit", f"{text}; expected at most {WORST_NOISE:g}"))
    return findings

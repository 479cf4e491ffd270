"""Calibration against the truth: arm twins with hidden quantities that differ from the model.

    python -m benchmarks.bench_calibration [--twins 50] [--first 0]

Every twin carries an unknown load, follows the same two motions (one to fit, one to check), and
holds its wrist sensor in twelve poses. Do not use twins 1000 to 1007: they were used to choose the
factors of `calibration.posterior.INFLATION`.
"""

from __future__ import annotations

import os

os.environ.setdefault("MUJOCO_GL", "disable")

import argparse
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.support.results import FOLDER, Scalar, record
from calibration.arm.excitation import design, static_poses
from calibration.arm.identification import NOISE
from calibration.arm.joints import HeldOut, calibrate_joints
from calibration.arm.model import ArmModel, arm_priors
from calibration.arm.prediction import Predictor
from calibration.arm.twin import ArmTwin, Mismatch, WrenchTwin
from calibration.posterior import Z90, Posterior
from calibration.wrench import POSES, Poses, calibrate_wrench

NAME = "calibration"


@dataclass(frozen=True)
class Outcome:
    """One quantity of one twin. nominal, error: distance of nominal value and estimate from the
    truth, in the prior's standard deviations. held: the 90 % interval holds the truth."""

    block: str
    kind: str
    nominal: float
    error: float
    held: bool


def outcomes(found: Posterior, true: np.ndarray) -> list[Outcome]:
    """Of what was identified. true (n,): in physical units."""
    x = found.priors.to_standard(true)
    rows = []
    for i in np.flatnonzero(found.identified):
        name = found.priors.names[i]
        kind = re.sub("_[xyz]$", "", name.partition(".")[0])
        error = abs(float(found.mean[i] - x[i]))
        held = error < Z90 * float(np.sqrt(found.reported[i, i]))
        rows.append(Outcome(block(name), kind, abs(float(x[i])), error, held))
    return rows


def block(name: str) -> str:
    """The block of `acclimate calibrate` that finds a quantity."""
    if name.startswith("payload"):
        return "payload"
    return "air" if "." in name or name == "delay" else "wrench"


def prediction(held_out: HeldOut) -> dict[str, float]:
    """Error on the held-out motion over the nominal model's: of readings; of torques, after taking
    off the sensors' noise, which no model predicts."""
    noise = NOISE[6:] ** 2
    torque = [
        float(np.maximum((errors[:, 6:] ** 2).mean(axis=0) - noise, 0.0).sum())
        for errors in (held_out.calibrated, held_out.nominal)
    ]
    reading = [float((e[:, :6] ** 2).mean()) for e in (held_out.calibrated, held_out.nominal)]
    return {
        "reading": float(np.sqrt(reading[0] / reading[1])),
        "torque": float(np.sqrt(torque[0] / torque[1])),
    }


def rms(values: list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--twins", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="seed of the first twin")
    parser.add_argument("--substeps", type=int, default=1, help="of the twin's drives and physics")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    arm = ArmModel(arm_priors(payload=True))
    predictor = Predictor(arm, options.threads)
    fit, check = (design(arm, predictor, seed) for seed in (0, 1))
    predictor.close()
    where = static_poses(arm, 0, POSES)
    rows: list[Outcome] = []
    ratios: dict[str, list[float]] = defaultdict(list)
    for seed in range(options.first, options.first + options.twins):
        twin = ArmTwin(arm, seed, Mismatch(substeps=options.substeps))
        recordings = twin.run(fit, "fit"), twin.run(check, "check")
        result = calibrate_joints(recordings[:1], recordings[1:], True, options.threads)
        rows += outcomes(result.posterior, twin.values)
        for key, value in prediction(result.held_out[0]).items():
            ratios[key].append(value)
        wrist = WrenchTwin(arm, seed)
        poses = Poses("poses", arm.tool_rotations(where), wrist.run(where).wrench)
        rows += outcomes(calibrate_wrench(poses), wrist.model.values)
        told = [f"{key} {values[-1]:.2f}" for key, values in ratios.items()]
        print(f"twin {seed}: held-out {', '.join(told)}; {[f.text for f in result.findings]}")
    parameters: dict[str, Scalar] = {
        "twins": options.twins, "first": options.first, "substeps": options.substeps
    }  # fmt: skip

    def write(metric: str, value: float, unit: str, **more: Scalar) -> None:
        of = parameters | more
        record(NAME, metric, value, unit, of, options.first, folder=options.folder)

    for which in dict.fromkeys(row.block for row in rows):
        held = [row.held for row in rows if row.block == which]
        write("coverage of the 90 % intervals", float(np.mean(held)), "1", block=which)
    for kind in dict.fromkeys(row.kind for row in rows):
        of_kind = [row for row in rows if row.kind == kind]
        write("rms error, prior std", rms([row.error for row in of_kind]), "1", kind=kind)
        write(
            "rms error of nominal, prior std", rms([row.nominal for row in of_kind]), "1", kind=kind
        )
        write("coverage by kind", float(np.mean([row.held for row in of_kind])), "1", kind=kind)
    for key, values in ratios.items():
        write("held-out error over nominal, median", float(np.median(values)), "1", of=key)
        write("held-out error over nominal, worst", max(values), "1", of=key)


if __name__ == "__main__":
    main()

"""Calibration against the truth: twins with hidden quantities that differ from the model.

    python -m benchmarks.bench_calibration run arm [--twins 50] [--first 0] [--folder FOLDER]
    python -m benchmarks.bench_calibration record arm

`run` calibrates twins, each of which leaves a file; it may be stopped and started again. Every arm
carries an unknown load; legs hang by the trunk, and all follow the same two motions, one to fit and
one to check. `standing` puts legs that have run on their feet, with a load of up to 9 kg; `wrench`
calibrates a sensor in twelve poses. `record` judges the files by the intervals that the priors'
present factors `widen` give. These were chosen on arms 1004 to 1011 and on legs 1000 to 1007. The
errors of these legs' model have usual sizes; those of all other twins are drawn, up to twice as
large. The arm's model knows that friction rises towards rest; its twins follow other laws of it,
and each joint rises by a share of its own.
"""

from __future__ import annotations

import os

os.environ.setdefault("MUJOCO_GL", "disable")

import argparse
import re
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.support.results import Scalar, record
from calibration.arm.model import ArmModel, arm_priors
from calibration.arm.poses import static_poses
from calibration.arm.twin import WrenchTwin
from calibration.joints.block import HeldOut, calibrate_joints
from calibration.joints.excitation import design
from calibration.joints.prediction import Predictor
from calibration.joints.robot import JointRobot
from calibration.joints.twin import JointTwin, Mismatch
from calibration.legs.model import legs_model
from calibration.legs.stance import PAYLOAD, standing_motion, standing_twin
from calibration.legs.standing_payload import calibrate_standing, standing_priors
from calibration.posterior import Z90, Posterior
from calibration.wrench import POSES, Poses, calibrate_wrench, wrench_priors

NAME = "calibration"
TUNED = range(1000, 1008)
"""Legs on which factors were chosen."""
KINDS = ("arm", "legs", "standing", "wrench")
SCRATCH = Path("runs/bench_calibration")


@dataclass(frozen=True)
class Outcome:
    """One quantity of one twin. nominal, error: distance of nominal value and estimate from the
    truth, in the prior's standard deviations. held: the 90 % interval holds the truth."""

    block: str
    kind: str
    nominal: float
    error: float
    held: bool


def outcomes(block: str, found: Posterior, true: np.ndarray) -> list[Outcome]:
    """Of what was identified. true (p,): in physical units."""
    x = found.priors.to_standard(true)
    rows = []
    for i in np.flatnonzero(found.identified):
        name = found.priors.names[i]
        kind = re.sub("_[xyz]$", "", name.partition(".")[0])
        error = abs(float(found.mean[i] - x[i]))
        held = error < Z90 * float(np.sqrt(found.reported[i, i]))
        part = f"{block.partition(',')[0]}, payload" if name.startswith("payload") else block
        rows.append(Outcome(part, kind, abs(float(x[i])), error, held))
    return rows


def robot_of(kind: str) -> JointRobot:
    return ArmModel(arm_priors(payload=True)) if kind == "arm" else legs_model()


def mismatch(kind: str, seed: int) -> Mismatch:
    """Of a twin: see the module."""
    if kind != "arm" and seed in TUNED:
        return Mismatch(substeps=(1, 2, 4)[seed % 3])
    rng = np.random.default_rng([seed, 1])
    drawn = Mismatch.drawn(rng)
    return replace(drawn, exponent=rng.uniform(1.0, 2.0)) if kind == "arm" else drawn


def prediction(robot: JointRobot, held_out: HeldOut) -> dict[str, float]:
    """Error on the held-out motion over the nominal model's: of readings; of torques, after taking
    off the sensors' noise, which no model predicts."""
    n = len(robot.joints)
    left = [
        np.maximum((errors**2).mean(axis=0) - robot.layout.noise**2, 0.0)
        for errors in (held_out.calibrated, held_out.nominal)
    ]
    return {
        "reading": float(np.sqrt(left[0][:n].sum() / left[1][:n].sum())),
        "torque": float(np.sqrt(left[0][n:].sum() / left[1][n:].sum())),
    }


def run_joints(kind: str, seed: int, motions: list[np.ndarray]) -> dict[str, np.ndarray | float]:
    """Calibrate one twin."""
    robot = robot_of(kind)
    twin = JointTwin(robot, seed, mismatch(kind, seed))
    recordings = [twin.run(command, f"motion {k}") for k, command in enumerate(motions)]
    begin = time.process_time()
    result = calibrate_joints(robot, recordings[:1], recordings[1:], threads=1)
    cpu = time.process_time() - begin
    found = result.posterior
    errors = prediction(robot, result.held_out[0])
    print(f"{kind} {seed}: {cpu:.0f} s, {errors}, {[f.text for f in result.findings]}", flush=True)
    return {
        "true": twin.values, "x": found.x, "information": found.information, "cpu": cpu,
        **errors,
    }  # fmt: skip


def run_wrench(seed: int) -> dict[str, np.ndarray | float]:
    """Calibrate one wrist sensor."""
    arm = robot_of("arm")
    if not isinstance(arm, ArmModel):
        raise TypeError("expected an arm")
    where, wrist = static_poses(arm, 0, POSES), WrenchTwin(arm, seed)
    found = calibrate_wrench(Poses("poses", arm.tool_rotations(where), wrist.run(where).wrench))
    return {"true": wrist.model.values, "x": found.x, "information": found.information}


def run_standing(seed: int, folder: Path) -> dict[str, np.ndarray | float]:
    """The payload of legs that were calibrated in the air."""
    legs = legs_model()
    twin = standing_twin(JointTwin(legs, seed, mismatch("legs", seed)), seed)
    recording = twin.run(standing_motion(legs, 0), "standing")
    joints = kept("legs", seed, folder).posterior
    found = calibrate_standing(legs, joints, recording)
    true = found.priors.nominal.copy()
    true[: len(PAYLOAD)] = twin.values[-len(PAYLOAD) :]
    return {"true": true, "x": found.x, "information": found.information}


def motions_of(kind: str, folder: Path) -> list[np.ndarray]:
    """To fit and to check; designed once."""
    path = folder / f"{kind}-motions.npz"
    if not path.exists():
        predictor = Predictor(robot_of(kind), threads=1)
        made = [design(predictor, seed) for seed in (0, 1)]
        predictor.close()
        np.savez(path, fit=made[0], check=made[1])
    with np.load(path) as file:
        return [file["fit"], file["check"]]


def run(kind: str, seeds: range, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    motions = motions_of(kind, folder) if kind in ("arm", "legs") else []
    for seed in seeds:
        path = file_of(kind, seed, folder)
        if kind == "standing" and not file_of("legs", seed, folder).exists():
            continue
        if not path.exists():
            if kind == "wrench":
                found = run_wrench(seed)
            elif kind == "standing":
                found = run_standing(seed, folder)
            else:
                found = run_joints(kind, seed, motions)
            part = path.with_suffix(".part.npz")
            np.savez(part, **found)  # pyright: ignore[reportArgumentType]
            part.rename(path)


def file_of(kind: str, seed: int, folder: Path) -> Path:
    return folder / f"{kind}-{seed:04d}.npz"


@dataclass(frozen=True)
class Kept:
    """What a twin left: its posterior, the truth (p,), and some numbers about the run."""

    posterior: Posterior
    true: np.ndarray
    numbers: dict[str, float]


def kept(kind: str, seed: int, folder: Path) -> Kept:
    """Read a twin's file."""
    if kind == "wrench":
        priors = wrench_priors()
    elif kind == "standing":
        priors = standing_priors(kept("legs", seed, folder).posterior)
    else:
        priors = robot_of(kind).priors
    with np.load(file_of(kind, seed, folder)) as file:
        numbers = {key: float(file[key]) for key in file.files if file[key].ndim == 0}
        return Kept(Posterior(priors, file["x"], file["information"]), file["true"], numbers)


def judge(kind: str, seeds: range, folder: Path) -> None:
    """Record what the twins that have run say."""
    twins = [kept(kind, s, folder) for s in seeds if file_of(kind, s, folder).exists()]
    block = "wrench" if kind == "wrench" else f"{kind}, air"
    rows = [row for twin in twins for row in outcomes(block, twin.posterior, twin.true)]
    told: dict[str, list[float]] = defaultdict(list)
    for twin in twins:
        for key, value in twin.numbers.items():
            told[key].append(value)
    parameters: dict[str, Scalar] = {"robot": kind, "twins": len(twins)}

    def write(metric: str, value: float, unit: str, **more: Scalar) -> None:
        record(NAME, metric, value, unit, parameters | more, seeds.start)

    for part in dict.fromkeys(row.block for row in rows):
        held = [row.held for row in rows if row.block == part]
        write("coverage of the 90 % intervals", float(np.mean(held)), "1", block=part)
    for name in dict.fromkeys(row.kind for row in rows):
        of_kind = [row for row in rows if row.kind == name]
        error, nominal = (
            float(np.sqrt(np.mean([getattr(row, key) ** 2 for row in of_kind])))
            for key in ("error", "nominal")
        )
        write("rms error, prior std", error, "1", kind=name)
        write("rms error of nominal, prior std", nominal, "1", kind=name)
        write("coverage by kind", float(np.mean([row.held for row in of_kind])), "1", kind=name)
    for key in ("reading", "torque"):
        if told[key]:
            write("held-out error over nominal, median", float(np.median(told[key])), "1", of=key)
            write("held-out error over nominal, worst", max(told[key]), "1", of=key)
    if told["cpu"]:
        write("CPU time, median", float(np.median(told["cpu"])), "s")
        write("CPU time, longest", max(told["cpu"]), "s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("run", "record"))
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--twins", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="seed of the first twin")
    parser.add_argument("--folder", type=Path, default=SCRATCH, help="of the twins' files")
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.twins)
    (run if options.what == "run" else judge)(options.kind, seeds, options.folder)


if __name__ == "__main__":
    main()

"""`acclimate calibrate`: from a robot's recordings to a task space, a prior and a report."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import yaml
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from adapt.settings import Count, NonNegative, WholeNumber, compose
from calibration.arm.excitation import design, static_poses
from calibration.arm.joints import JointsResult, calibrate_joints
from calibration.arm.model import TIMESTEP, ArmModel, arm_priors
from calibration.arm.prediction import Predictor
from calibration.arm.twin import ArmTwin, WrenchTwin
from calibration.output import measured_space, prior_file, write
from calibration.posterior import Posterior
from calibration.recording import CalibrationError, PoseRecording, read_joints, read_poses
from calibration.report import Report, render
from calibration.wrench import POSES, Poses, calibrate_wrench, check_poses
from sim.robots.ur5e import JOINTS

HELP = """acclimate calibrate recordings=[FILE,...] heldout=[FILE,...] out=FOLDER [key=value ...]
acclimate calibrate robot=plan|twin out=FOLDER [key=value ...]

Finds a UR5e-class arm's armature, friction, gains, encoder bias and delay, its payload, and its
wrist sensor's bias and gain from recordings of its own motion. Writes space.yaml (a task space to
train in), prior.json and report.html. With robot=plan it writes the motions to record; with
robot=twin a simulated arm with hidden quantities is moved and recorded first.

Examples:
  acclimate calibrate robot=plan blocks=[air,wrench] out=runs/motion
  acclimate calibrate recordings=[fit.mcap] heldout=[check.mcap] out=runs/calibration
  acclimate calibrate recordings=[fit.mcap] heldout=[check.mcap] blocks=[air,payload] out=runs/arm
  acclimate calibrate blocks=[wrench] poses=poses.mcap out=runs/wrist
  acclimate calibrate robot=twin blocks=[air,payload,wrench] out=runs/twin"""

Told = Callable[[str], None]


def quiet(text: str) -> None:
    """Progress that is shown to no one."""


Block = Literal["air", "payload", "wrench"]


@dataclass(frozen=True)
class CalibrateSettings:
    """out: folder to write to; it must not hold a calibration.
    blocks: what to find out. air: the joints; payload: mass and centre of a load, with air;
        wrench: the wrist sensor and its tool.
    recordings: motions to fit.
    heldout: motions that only check what was found.
    poses: static poses, for block wrench.
    tool_mass: weighed mass of the tool [kg], for the wrench sensor's gain; 0 if it is unknown.
    robot: recordings takes the files; plan only writes the motions and poses to follow, as CSV;
        twin moves and records a simulated arm.
    seed: of the motions, the poses and the twin.
    threads: that simulate.
    name: of the robot, in what is written.
    """

    out: Path
    blocks: tuple[Block, ...] = ("air",)
    recordings: tuple[Path, ...] = ()
    heldout: tuple[Path, ...] = ()
    poses: Path | None = None
    tool_mass: NonNegative = 0.0
    robot: Literal["recordings", "plan", "twin"] = "recordings"
    seed: WholeNumber = 0
    threads: Count = 2
    name: str = "arm"


@dataclass(frozen=True)
class Files:
    """What to calibrate from."""

    recordings: tuple[Path, ...]
    heldout: tuple[Path, ...]
    poses: Path | None


def main(argv: list[str]) -> int:
    """`acclimate calibrate`; returns 0, or 1 where the model does not describe the robot."""
    settings = compose("calibrate", CalibrateSettings, argv, HELP)
    check(settings)
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        transient=True,
        disable=not sys.stdout.isatty(),  # in a file it would be an empty line
    ) as bar:
        task = bar.add_task("reading")

        def tell(text: str) -> None:
            bar.update(task, description=text)

        planned = plan(settings, tell) if settings.robot == "plan" else []
        findings = [] if planned else calibrate(settings, tell)
    if planned:
        print(f"written: {', '.join(map(str, planned))}")
        return 0
    for text in findings:
        print(f"the model is not this robot's: {text}")
    made = "report.html" if findings else "space.yaml, prior.json and report.html"
    print(f"written to {settings.out}: {made}")
    return 1 if findings else 0


def check(settings: CalibrateSettings) -> None:
    """Raises CalibrationError for settings that contradict each other, or a folder in use."""
    blocks = set(settings.blocks)
    if not blocks & {"air", "wrench"} or ("payload" in blocks and "air" not in blocks):
        raise CalibrationError(
            f"blocks {sorted(blocks)}; expected air, wrench or both, and payload only beside air"
        )
    if any((settings.out / name).exists() for name in ("space.yaml", "report.html")):
        raise CalibrationError(f"{settings.out} holds a calibration already; expected a new folder")
    files = settings.recordings, settings.heldout, settings.poses
    if settings.robot != "recordings" and any(files):
        raise CalibrationError(
            f"robot={settings.robot} needs no recordings; leave the files out, or robot="
        )
    if settings.robot == "recordings" and "wrench" in blocks and settings.poses is None:
        raise CalibrationError("block wrench needs static poses; expected poses=FILE")


def calibrate(settings: CalibrateSettings, progress: Told = quiet) -> list[str]:
    """Run the blocks and write the files. Returns what tells that the model is not this robot's;
    then the report alone is written. Raises CalibrationError for input that is no good."""
    check(settings)
    blocks = set(settings.blocks)
    given = Files(settings.recordings, settings.heldout, settings.poses)
    files = record_twin(settings, progress) if settings.robot == "twin" else given
    poses = read_poses(files.poses) if "wrench" in blocks and files.poses else None
    joints: JointsResult | None = None
    wrench: Posterior | None = None
    provenance = {
        "robot": settings.name,
        "method": "least squares on simulated recordings, with priors; docs/calibration.md",
        "timestep": f"{TIMESTEP:g} s",
    }
    if "air" in blocks:
        fitted = [read_joints(path) for path in files.recordings]
        held_out = [read_joints(path) for path in files.heldout]
        joints = calibrate_joints(fitted, held_out, "payload" in blocks, settings.threads, progress)
        provenance["model"] = joints.arm.digest
        provenance |= {f"recording {r.name}": r.digest for r in fitted}
        provenance |= {f"held out {r.name}": r.digest for r in held_out}
    if poses is not None:
        progress("wrench sensor")
        wrench = wrench_block(poses, joints, settings.tool_mass or None)
        provenance[f"poses {poses.name}"] = poses.digest
    posteriors = [p for p in (joints.posterior if joints else None, wrench) if p is not None]
    space = measured_space(settings.name, posteriors, provenance)
    prior = prior_file(space, posteriors)
    findings = [f.text for f in joints.findings] if joints else []
    progress("report")
    _make(settings.out)
    page = render(Report(settings.name, joints, posteriors, prior, findings))
    write(settings.out / "report.html", page)
    if not findings:
        text = yaml.safe_dump(space.to_dict(), sort_keys=False, allow_unicode=True)
        write(settings.out / "space.yaml", text)
        write(settings.out / "prior.json", msgspec.json.format(msgspec.json.encode(prior)).decode())
    return findings


def wrench_block(
    poses: PoseRecording, joints: JointsResult | None, known_mass: float | None
) -> Posterior:
    """The sensor and the tool, with the encoders' bias taken off where it is known."""
    arm = joints.arm if joints else ArmModel(arm_priors(payload=False))
    bias = np.zeros(6)
    if joints:
        values = joints.arm.priors.to_physical(joints.posterior.mean)
        bias = joints.arm.values(values, "encoder_bias")
    still = Poses(poses.name, arm.tool_rotations(poses.q - bias), poses.wrench)
    found = check_poses(still)
    if found:
        raise CalibrationError("; ".join(f.text for f in found))
    return calibrate_wrench(still, known_mass)


def plan(settings: CalibrateSettings, progress: Told = quiet) -> list[Path]:
    """Write the motions and poses that a robot's own driver follows and records."""
    files = []
    for key, targets in _targets(settings, progress).items():
        buffer = io.StringIO()
        np.savetxt(buffer, targets, "%.6f", ",", header=",".join(JOINTS), comments="")
        _make(settings.out)
        files.append(settings.out / f"{key}.csv")
        write(files[-1], buffer.getvalue())
    return files


def record_twin(settings: CalibrateSettings, progress: Told = quiet) -> Files:
    """Move and record a simulated arm with hidden quantities; the files are in `out`."""
    arm = ArmModel(arm_priors("payload" in settings.blocks))
    twin, wrist = ArmTwin(arm, settings.seed), WrenchTwin(arm, settings.seed)
    made: dict[str, Path] = {}
    for key, targets in _targets(settings, progress).items():
        _make(settings.out)
        made[key] = settings.out / f"{key}.mcap"
        (wrist if key == "poses" else twin).run(targets).save(made[key], settings.name)
    motions = [(made[key],) if key in made else () for key in ("fit", "heldout")]
    return Files(motions[0], motions[1], made.get("poses"))


def _targets(settings: CalibrateSettings, progress: Told) -> dict[str, np.ndarray]:
    """Joint positions [rad]: "fit" and "heldout" (T, 6), one every `TIMESTEP`, and "poses"
    (P, 6); those that the blocks need."""
    arm = ArmModel(arm_priors("payload" in settings.blocks))
    made: dict[str, np.ndarray] = {}
    if "air" in settings.blocks:
        predictor = Predictor(arm, settings.threads)
        try:
            for k, key in enumerate(("fit", "heldout")):
                made[key] = design(
                    arm,
                    predictor,
                    2 * settings.seed + k,
                    progress=lambda text: progress(f"motion, {text}"),
                )
        finally:
            predictor.close()
    if "wrench" in settings.blocks:
        made["poses"] = static_poses(arm, settings.seed, POSES)
    return made


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CalibrationError(f"{folder}: {error.strerror or error}") from error

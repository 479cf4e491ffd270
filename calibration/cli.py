"""`acclimate calibrate`: from a robot's recordings to a task space, a prior and a report."""

from __future__ import annotations

import hashlib
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
from calibration.output import measured_space, prior_file, write_together
from calibration.posterior import Posterior
from calibration.recording import CalibrationError, PoseRecording, read_joints, read_poses
from calibration.report import Report, render
from calibration.touches import (
    TOUCHES,
    Touched,
    encoded,
    measure,
    read_touches,
    touch_cell,
    touch_twin,
)
from calibration.wrench import POSES, Poses, calibrate_wrench, check_poses
from sim.robots.ur5e import JOINTS

HELP = """acclimate calibrate recordings=[FILE,...] heldout=[FILE,...] out=FOLDER [key=value ...]
acclimate calibrate robot=plan|twin|bridge out=FOLDER [key=value ...]

Finds a UR5e-class arm's armature, friction, gains, encoder bias and delay, its payload, and its
wrist sensor's bias and gain from recordings of its own motion. Writes space.yaml (a task space to
train in), prior.json and report.html. With robot=plan it writes the motions to record; with
robot=twin a simulated arm with hidden quantities is moved and recorded first.

Examples:
  acclimate calibrate robot=plan blocks=[air,wrench] out=runs/motion
  acclimate calibrate recordings=[fit.mcap] heldout=[check.mcap] out=runs/calibration
  acclimate calibrate recordings=[fit.mcap] heldout=[check.mcap] blocks=[air,payload] out=runs/arm
  acclimate calibrate blocks=[wrench] poses=poses.mcap out=runs/wrist
  acclimate calibrate robot=twin blocks=[air,payload,wrench] out=runs/twin
  acclimate calibrate robot=bridge blocks=[socket,contact] endpoint=local out=runs/cell"""

Told = Callable[[str], None]


PLANNED = ("fit", "heldout", "poses")


def quiet(text: str) -> None:
    """Progress that is shown to no one."""


Block = Literal["air", "payload", "wrench", "socket", "contact"]


@dataclass(frozen=True)
class CalibrateSettings:
    """out: folder to write to; it must not hold a calibration.
    blocks: what to find out. air: the joints; payload: mass and centre of a load, with air;
        wrench: the wrist sensor and its tool. socket: where what is held meets its socket, by
        touches; contact: friction and stiffness there.
    recordings: motions to fit.
    heldout: motions that only check what was found.
    poses: static poses, for block wrench.
    tool_mass: weighed mass of the tool [kg], for the wrench sensor's gain; 0 if it is unknown.
    touches: what a probing kept, for blocks socket and contact.
    robot: recordings takes the files; plan only writes the motions and poses to follow, as CSV;
        twin moves and records a simulated arm; bridge has a robot touch its cell, for socket and
        contact.
    endpoint: of the bridge, for robot=bridge: local, ipc:///PATH or tcp://HOST:PORT.
    keys: for tcp: folder of keys, or one certificate; null takes $ACCLIMATE_KEYS or
        ~/.config/acclimate/keys.
    at: the robot's name on that bridge; empty for the only one.
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
    touches: Path | None = None
    robot: Literal["recordings", "plan", "twin", "bridge"] = "recordings"
    endpoint: str = "local"
    keys: Path | None = None
    at: str = ""
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
    print(f"written to {settings.out}: {', '.join(written(settings.out))}")
    return 1 if findings else 0


def check(settings: CalibrateSettings) -> None:
    """Raises CalibrationError for settings that contradict each other, or a folder in use."""
    blocks = set(settings.blocks)
    cell = blocks & {"socket", "contact"}
    if not blocks - {"payload"} or ("payload" in blocks and "air" not in blocks):
        raise CalibrationError(
            f"blocks {sorted(blocks)}; expected some of air, wrench, socket and contact, and "
            "payload only beside air"
        )
    if held := written(settings.out):
        raise CalibrationError(
            f"{settings.out} holds {', '.join(held)} already; expected a new folder"
        )
    if cell and settings.robot == "plan":
        raise CalibrationError(
            "blocks socket and contact have no plan: the bridge makes their motion; expected "
            "robot=bridge, or robot=twin"
        )
    if settings.robot == "bridge" and cell != blocks:
        raise CalibrationError(
            f"robot=bridge touches for socket and contact alone; found {sorted(blocks - cell)} too"
        )
    if cell and settings.robot == "recordings" and settings.touches is None:
        raise CalibrationError(
            "blocks socket and contact need touches; expected touches=FILE, robot=bridge or "
            "robot=twin"
        )
    files = settings.recordings, settings.heldout, settings.poses, settings.touches
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
    touched = cell_blocks(settings, progress)
    if touched is not None:
        digest = hashlib.sha256(encoded(touched.report).encode()).hexdigest()
        provenance[f"touches {touched.name}"] = digest
    # Where the plug meets this socket is no quantity that tasks are drawn with.
    drawn = posteriors + (touched.posteriors[touched.seat is not None :] if touched else [])
    posteriors += touched.posteriors if touched else []
    prior = prior_file(measured_space(settings.name, posteriors, provenance), posteriors)
    findings = [f.text for f in joints.findings] if joints else []
    progress("report")
    made: dict[str, str] = {}
    if touched is not None and settings.touches is None:
        made[TOUCHES] = encoded(touched.report)
    if drawn and not findings:
        space = measured_space(settings.name, drawn, provenance)
        made["space.yaml"] = yaml.safe_dump(space.to_dict(), sort_keys=False, allow_unicode=True)
    if not findings:
        made["prior.json"] = msgspec.json.format(msgspec.json.encode(prior)).decode()
    made["report.html"] = render(
        Report(settings.name, joints, posteriors, prior, findings, touched)
    )
    _make(settings.out)
    write_together(settings.out, made)
    return findings


def cell_blocks(settings: CalibrateSettings, progress: Told) -> Touched | None:
    """Of the blocks socket and contact; None without them."""
    blocks: tuple[Literal["socket", "contact"], ...] = tuple(
        block for block in ("socket", "contact") if block in settings.blocks
    )
    if not blocks:
        return None
    name = TOUCHES
    if settings.robot == "twin":
        report = touch_twin(blocks, settings.seed, progress)
    elif settings.robot == "bridge":
        progress("touches")
        where = settings.endpoint, settings.keys, settings.at
        report = touch_cell(blocks, *where, settings.seed)
    elif settings.touches is not None:
        name, report = settings.touches.name, read_touches(settings.touches)
    else:
        raise CalibrationError("no touches; expected touches=FILE")
    return measure(name, report, blocks)


def written(folder: Path) -> list[str]:
    """Files of a calibration or of a plan that a folder holds."""
    names = ("space.yaml", "prior.json", "report.html", TOUCHES)
    return [name for name in names if (folder / name).exists()]


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
    files: dict[str, str] = {}
    for key in PLANNED:
        if (settings.out / f"{key}.csv").exists():
            raise CalibrationError(
                f"{settings.out / key}.csv is there already; expected a folder without a plan"
            )
    for key, targets in _targets(settings, progress).items():
        buffer = io.StringIO()
        np.savetxt(buffer, targets, "%.6f", ",", header=",".join(JOINTS), comments="")
        files[f"{key}.csv"] = buffer.getvalue()
    _make(settings.out)
    write_together(settings.out, files)
    return [settings.out / name for name in files]


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

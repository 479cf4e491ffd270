"""`acclimate calibrate`: from a robot's recordings to a task space, a prior and a report."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from adapt.prior import MeasuredPrior
from adapt.settings import Count, NonNegative, WholeNumber, compose
from calibration.arm.model import ArmModel, arm_priors
from calibration.joints.block import JointsResult, calibrate_joints
from calibration.joints.robot import TIMESTEP, JointRobot
from calibration.legs.body import user_body
from calibration.legs.locomotion import locomotion_prior, locomotion_quantities, locomotion_space
from calibration.legs.model import LegsModel, legs_model
from calibration.legs.standing_payload import calibrate_standing
from calibration.output import (
    make_folder,
    measured_space,
    prior_file,
    prior_text,
    space_text,
    write_together,
)
from calibration.plan import MOTIONS, Told, check_unplanned, record, save, targets
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
from calibration.wrench import Poses, calibrate_wrench, check_poses

HELP = """acclimate calibrate recordings=[FILE,...] heldout=[FILE,...] out=FOLDER [key=value ...]
acclimate calibrate robot=plan|twin|bridge out=FOLDER [key=value ...]

Finds the armature, friction, gains, encoder bias and delay of a robot's joints, its payload, and an
arm's wrist sensor's bias and gain from recordings of its own motion. Writes space.yaml (a task
space to train in), prior.json and report.html; of legs also locomotion_space.yaml and
locomotion_prior.json, in the words of the locomotion family. With robot=plan it writes the motions
to record; with robot=twin a simulated robot with hidden quantities is moved and recorded first.

Examples:
  acclimate calibrate robot=plan blocks=[air,wrench] out=runs/motion
  acclimate calibrate recordings=[fit.mcap] heldout=[check.mcap] out=runs/calibration
  acclimate calibrate recordings=[fit.mcap] heldout=[check.mcap] blocks=[air,payload] out=runs/arm
  acclimate calibrate blocks=[wrench] poses=poses.mcap out=runs/wrist
  acclimate calibrate body=legs recordings=[fit.mcap] heldout=[check.mcap] out=runs/legs
  acclimate calibrate body=my_go2.yaml robot=plan blocks=[air,payload] out=runs/motion
  acclimate calibrate body=legs robot=twin blocks=[air,payload] out=runs/legs
  acclimate calibrate robot=twin blocks=[air,payload,wrench] out=runs/twin
  acclimate calibrate robot=bridge blocks=[socket,contact] endpoint=local out=runs/cell"""


def quiet(text: str) -> None:
    """Progress that is shown to no one."""


Block = Literal["air", "payload", "wrench", "socket", "contact"]
CELL: tuple[Literal["socket", "contact"], ...] = ("socket", "contact")
BLOCKS = {"arm": {"air", "payload", "wrench", *CELL}, "legs": {"air", "payload"}}
"""That each body has."""


@dataclass(frozen=True)
class CalibrateSettings:
    """out: folder to write to; it must not hold a calibration.
    body: arm: UR5e-class; legs: of a Go2-class quadruped that hangs by its trunk; or the file of a
        joint map: the legs of a quadruped of your own (docs/quadruped.md).
    blocks: what to find out. air: the joints; payload: mass and centre of a load, with air;
        wrench: an arm's wrist sensor and its tool. socket: where what is held meets its socket, by
        touches; contact: friction and stiffness there.
    recordings: motions to fit.
    heldout: motions that only check what was found.
    standing: motion of legs that stand on level ground, for block payload.
    poses: static poses, for block wrench.
    tool_mass: weighed mass of the tool [kg], for the wrench sensor's gain; 0 if it is unknown.
    touches: what a probing kept, for blocks socket and contact.
    robot: recordings takes the files; plan only writes the motions and poses to follow, as CSV;
        twin moves and records a simulated robot; bridge has a robot touch its cell, for socket and
        contact. A robot of your own is named by body.
    endpoint: of the bridge, for robot=bridge: local, ipc:///PATH or tcp://HOST:PORT.
    keys: for tcp: folder of keys, or one certificate; null takes $ACCLIMATE_KEYS or
        ~/.config/acclimate/keys.
    at: the robot's name on that bridge; empty for the only one.
    seed: of the motions, the poses and the twin.
    threads: that simulate.
    name: of the robot, in what is written.
    """

    out: Path
    body: str = "arm"
    blocks: tuple[Block, ...] = ("air",)
    recordings: tuple[Path, ...] = ()
    heldout: tuple[Path, ...] = ()
    standing: Path | None = None
    poses: Path | None = None
    tool_mass: NonNegative = 0.0
    touches: Path | None = None
    robot: Literal["recordings", "plan", "twin", "bridge"] = "recordings"
    endpoint: str = "local"
    keys: Path | None = None
    at: str = ""
    seed: WholeNumber = 0
    threads: Count = 2
    name: str = "robot"


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

        if settings.robot == "plan":
            check_unplanned(settings.out)
            robot = model(settings)
            made = targets(robot, settings.blocks, settings.seed, settings.threads, tell)
            planned, findings = save(robot, made, settings.out), []
        else:
            planned, findings = [], calibrate(settings, tell)
    if planned:
        print(f"written: {', '.join(map(str, planned))}")
        return 0
    for text in findings:
        print(f"the model is not this robot's: {text}")
    print(f"written to {settings.out}: {', '.join(written(settings.out))}")
    return 1 if findings else 0


def check(settings: CalibrateSettings) -> None:
    """Raises CalibrationError for settings that contradict each other, or a folder in use."""
    kind = "arm" if settings.body == "arm" else "legs"
    blocks, known = set(settings.blocks), BLOCKS[kind]
    if settings.body not in BLOCKS and not Path(settings.body).is_file():
        raise CalibrationError(
            f"body={settings.body}: no such file; expected arm, legs, or the file of a joint map"
        )
    if not blocks <= known:
        raise CalibrationError(
            f"blocks {sorted(blocks)} of {kind}; expected some of {sorted(known)}"
        )
    cell = blocks & set(CELL)
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
    files = (
        settings.recordings, settings.heldout, settings.standing, settings.poses, settings.touches
    )  # fmt: skip
    if settings.robot != "recordings" and any(files):
        raise CalibrationError(
            f"robot={settings.robot} needs no recordings; leave the files out, or robot="
        )
    if settings.robot == "recordings" and "wrench" in blocks and settings.poses is None:
        raise CalibrationError("block wrench needs static poses; expected poses=FILE")
    stood = kind == "legs" and "payload" in blocks
    if settings.robot == "recordings" and stood and settings.standing is None:
        raise CalibrationError("the payload of legs shows as they stand; expected standing=FILE")


def model(settings: CalibrateSettings) -> JointRobot:
    """Of the body, with the quantities that the blocks find."""
    if settings.body == "arm":
        return ArmModel(arm_priors("payload" in settings.blocks))
    return legs_model(None if settings.body == "legs" else user_body(Path(settings.body)))


def with_recordings(settings: CalibrateSettings, progress: Told) -> CalibrateSettings:
    """The settings with the files of a twin, where one is to be recorded."""
    if settings.robot != "twin":
        return settings
    robot = model(settings)
    made = targets(robot, settings.blocks, settings.seed, settings.threads, progress)
    files = record(robot, made, settings.seed, settings.name, settings.out)
    fit, held_out = ((files[key],) if key in files else () for key in MOTIONS)
    return replace(
        settings, recordings=fit, heldout=held_out, standing=files.get("standing"),
        poses=files.get("poses"),
    )  # fmt: skip


def calibrate(settings: CalibrateSettings, progress: Told = quiet) -> list[str]:
    """Run the blocks and write the files. Returns what tells that the model is not this robot's;
    then the report alone is written. Raises CalibrationError for input that is no good."""
    check(settings)
    settings = with_recordings(settings, progress)
    robot, blocks = model(settings), set(settings.blocks)
    poses = read_poses(settings.poses) if settings.poses else None
    standing = read_joints(settings.standing) if settings.standing else None
    provenance = {
        "robot": settings.name,
        "method": "least squares on simulated recordings, with priors; docs/calibration.md",
        "timestep": f"{TIMESTEP:g} s",
    }
    joints: JointsResult | None = None
    found: dict[str, Posterior] = {}
    if "air" in blocks:
        fitted = [read_joints(path) for path in settings.recordings]
        held_out = [read_joints(path) for path in settings.heldout]
        joints = calibrate_joints(robot, fitted, held_out, settings.threads, progress)
        found["air"] = joints.posterior
        provenance["model"] = robot.digest
        provenance |= {f"recording {r.name}": r.digest for r in fitted}
        provenance |= {f"held out {r.name}": r.digest for r in held_out}
    if standing is not None and joints is not None and isinstance(robot, LegsModel):
        progress("payload")
        found["payload"] = calibrate_standing(robot, joints.posterior, standing)
        provenance[f"standing {standing.name}"] = standing.digest
    if poses is not None and isinstance(robot, ArmModel):
        progress("wrench sensor")
        found["wrench"] = wrench_block(robot, poses, joints, settings.tool_mass or None)
        provenance[f"poses {poses.name}"] = poses.digest
    posteriors = list(found.values())
    touched = cell_blocks(settings, progress)
    if touched is not None:
        digest = hashlib.sha256(encoded(touched.report).encode()).hexdigest()
        provenance[f"touches {touched.name}"] = digest
    # Tasks are drawn with the socket alone: what is held next meets it elsewhere.
    drawn = posteriors + (touched.drawn if touched else [])
    posteriors += touched.posteriors if touched else []
    prior = prior_file(measured_space(settings.name, posteriors, provenance), posteriors)
    findings = [f.text for f in joints.findings] if joints else []
    files = {
        "prior.json": prior_text(prior),
        "space.yaml": space_text(measured_space(settings.name, drawn, provenance)),
    }
    locomotion: MeasuredPrior | None = None
    if isinstance(robot, LegsModel):
        quantities = locomotion_quantities(robot, found["air"], found.get("payload"))
        locomotion = locomotion_prior(quantities, provenance)
        files["locomotion_prior.json"] = prior_text(locomotion)
        narrow = locomotion_space(quantities, settings.name, provenance)
        files |= {"locomotion_space.yaml": space_text(narrow)} if narrow else {}
    progress("report")
    report = Report(settings.name, joints, posteriors, prior, locomotion, findings, touched)
    files = {"report.html": render(report)} | ({} if findings else files)
    if touched is not None and settings.touches is None:
        files[TOUCHES] = encoded(touched.report)
    make_folder(settings.out)
    write_together(settings.out, files)
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
    family = "locomotion_space.yaml", "locomotion_prior.json"
    names = ("space.yaml", "prior.json", *family, "report.html", TOUCHES)
    return [name for name in names if (folder / name).exists()]


def wrench_block(
    arm: ArmModel, poses: PoseRecording, joints: JointsResult | None, known_mass: float | None
) -> Posterior:
    """The sensor and the tool, with the encoders' bias taken off where it is known."""
    bias = np.zeros(len(arm.joints))
    if joints:
        bias = arm.values(arm.priors.to_physical(joints.posterior.mean), "encoder_bias")
    still = Poses(poses.name, arm.tool_rotations(poses.q - bias), poses.wrench)
    found = check_poses(still)
    if found:
        raise CalibrationError("; ".join(f.text for f in found))
    return calibrate_wrench(still, known_mass)

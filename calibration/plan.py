"""What a robot does for a calibration: files for its driver, or a simulated robot that moves."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from calibration.arm.model import ArmModel
from calibration.arm.poses import static_poses
from calibration.arm.twin import WrenchTwin
from calibration.joints.excitation import design
from calibration.joints.prediction import Predictor
from calibration.joints.robot import JointRobot
from calibration.joints.twin import JointTwin
from calibration.legs.model import LegsModel
from calibration.legs.stance import standing_motion, standing_twin
from calibration.output import make_folder, write_together
from calibration.recording import CalibrationError
from calibration.wrench import POSES

Told = Callable[[str], None]
MOTIONS = ("fit", "heldout")


def targets(
    robot: JointRobot, blocks: Sequence[str], seed: int, threads: int, progress: Told
) -> dict[str, np.ndarray]:
    """Joint positions [rad]: "fit", "heldout" and "standing" (T, n), one every `TIMESTEP`, and
    "poses" (P, n); those that the blocks need."""
    made: dict[str, np.ndarray] = {}
    if "air" in blocks:
        predictor = Predictor(robot, threads)
        try:
            for k, key in enumerate(MOTIONS):
                made[key] = design(
                    predictor, 2 * seed + k, progress=lambda text: progress(f"motion, {text}")
                )
        finally:
            predictor.close()
    if "payload" in blocks and isinstance(robot, LegsModel):
        made["standing"] = standing_motion(robot, seed)
    if "wrench" in blocks and isinstance(robot, ArmModel):
        made["poses"] = static_poses(robot, seed, POSES)
    return made


def check_unplanned(folder: Path) -> None:
    """Raises CalibrationError where a folder holds a plan already."""
    for key in (*MOTIONS, "standing", "poses"):
        if (folder / f"{key}.csv").exists():
            raise CalibrationError(
                f"{folder / key}.csv is there already; expected a folder without a plan"
            )


def save(robot: JointRobot, made: Mapping[str, np.ndarray], folder: Path) -> list[Path]:
    """Write the targets as CSV, which a robot's own driver follows and records."""
    check_unplanned(folder)
    files: dict[str, str] = {}
    for key, rows in made.items():
        buffer = io.StringIO()
        np.savetxt(buffer, rows, "%.6f", ",", header=",".join(robot.joints), comments="")
        files[f"{key}.csv"] = buffer.getvalue()
    make_folder(folder)
    write_together(folder, files)
    return [folder / name for name in files]


def record(
    robot: JointRobot, made: Mapping[str, np.ndarray], seed: int, name: str, folder: Path
) -> dict[str, Path]:
    """Move and record a simulated robot with hidden quantities; the files by the targets' keys."""
    files: dict[str, Path] = {}
    twin = JointTwin(robot, seed)
    for key, rows in made.items():
        make_folder(folder)
        files[key] = folder / f"{key}.mcap"
        if key == "poses" and isinstance(robot, ArmModel):
            WrenchTwin(robot, seed).run(rows).save(files[key], name)
        elif key == "standing":
            standing_twin(twin, seed).run(rows).save(files[key], name)
        else:
            twin.run(rows).save(files[key], name)
    return files

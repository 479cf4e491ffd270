"""Every kind of bad recording is found before the fit, and named."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from calibration.arm.model import ArmModel
from calibration.input_checks import check_dynamics, check_recording
from calibration.joints.excitation import design
from calibration.joints.linear_fit import linear_fit
from calibration.joints.prediction import Predictor
from calibration.joints.robot import TIMESTEP, JointRobot
from calibration.joints.twin import JointTwin, Mismatch
from calibration.legs.model import LegsModel
from calibration.recording import JointRecording


def kinds(robot: JointRobot, recording: JointRecording) -> set[str]:
    found = check_recording(robot, recording)
    found = found or check_dynamics(robot, recording, linear_fit(robot, recording))
    assert all(f.text.startswith(f"{recording.name}: ") for f in found)
    return {f.kind for f in found}


def test_good_recordings_have_no_findings(robot: JointRobot, command: np.ndarray):
    for seed in range(6):
        assert kinds(robot, JointTwin(robot, seed).run(command)) == set()


def changed(recording: JointRecording, **how: Callable[[np.ndarray], np.ndarray]):
    return dataclasses.replace(
        recording, **{key: f(getattr(recording, key).copy()) for key, f in how.items()}
    )


def column(joint: int, factor: float) -> Callable[[np.ndarray], np.ndarray]:
    def scaled(values: np.ndarray) -> np.ndarray:
        values[:, joint] *= factor
        return values

    return scaled


def swapped(values: np.ndarray) -> np.ndarray:
    return values[:, [0, 2, 1, *range(3, values.shape[1])]]


def test_joints_that_move_against_each_other_are_swapped_and_not_mirrored(robot: JointRobot):
    time = np.arange(1500)[:, None] * TIMESTEP
    waves = 0.3 * np.sin(2 * np.pi * 0.8 * time + np.arange(len(robot.joints)))
    waves[:, 2] = 0.7 * waves[:, 2] - waves[:, 1]
    recording = JointTwin(robot, 1).run(robot.layout.ready + waves)
    spoilt = changed(recording, q=swapped, dq=swapped)
    assert {f.kind for f in check_recording(robot, spoilt)} == {"swapped"}


def without(recording: JointRecording, samples: slice) -> JointRecording:
    keep = np.ones(len(recording.time), bool)
    keep[samples] = False
    return changed(recording, **{
        key: lambda a: a[keep] for key in ("time", "q", "dq", "torque", "command")
    })  # fmt: skip


def frozen(values: np.ndarray) -> np.ndarray:
    middle = len(values) // 2
    values[middle - 150 : middle + 150, 3] = values[middle, 3]
    return values


def stale(recording: JointRecording) -> JointRecording:
    """Every tenth message shows the sample before."""

    def repeat(values: np.ndarray) -> np.ndarray:
        values[10::10] = values[9:-1:10]
        return values

    return changed(recording, q=repeat, dq=repeat, torque=repeat)


DEGREES = np.degrees(1.0)


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("gap", lambda r: without(r, slice(1000, 1010))),
        ("rate", lambda r: changed(r, time=lambda t: 2 * t)),
        ("time", lambda r: changed(r, time=lambda t: np.where(t > 1.5, t - 1, t))),
        ("short", lambda r: without(r, slice(300, None))),
        ("degrees", lambda r: changed(r, q=np.degrees, dq=np.degrees, command=np.degrees)),
        ("degrees", lambda r: changed(r, q=column(4, DEGREES))),
        ("degrees", lambda r: changed(r, dq=np.degrees)),
        ("mirrored", lambda r: changed(r, q=column(1, -1.0), dq=column(1, -1.0))),
        ("swapped", lambda r: changed(r, q=swapped, dq=swapped)),
        ("torque-unit", lambda r: changed(r, torque=lambda a: 1000 * a)),
        ("torque-unit", lambda r: changed(r, torque=lambda a: a / 12)),
        ("torque-unit", lambda r: changed(r, torque=column(1, -1.0))),
        ("dead-sensor", lambda r: changed(r, torque=column(2, 0.0))),
        ("frozen", lambda r: changed(r, q=frozen)),
        ("stale", stale),
        ("motion", lambda r: changed(r, q=column(5, 0.0), dq=column(5, 0.0))),
    ],
)
def test_a_bad_recording_is_named(kind: str, spoil, robot: JointRobot, recording: JointRecording):
    assert kind in kinds(robot, spoil(recording))


def test_too_little_motion_is_nothing_else(robot: JointRobot, command: np.ndarray):
    """Joints that friction holds once seemed to follow each other's targets."""
    small = command[0] + 0.02 * (command - command[0])
    assert kinds(robot, JointTwin(robot, 1).run(small)) == {"motion"}


def test_a_joint_at_its_torque_limit_is_named(robot: JointRobot, recording: JointRecording):
    def saturated(values: np.ndarray) -> np.ndarray:
        values[700:800, 4] = robot.layout.torque_limits[4]
        return values

    assert "saturation" in kinds(robot, changed(recording, torque=saturated))


def test_a_recording_of_another_robot_is_named(
    arm: ArmModel, legs: LegsModel, robot: JointRobot, recording: JointRecording
):
    other = legs if robot is arm else arm
    (found,) = check_recording(other, recording)
    assert found.kind == "joints"
    assert f"expected the {len(other.joints)} of the {other.kind}" in found.text


@pytest.mark.parametrize(
    "how",
    [
        lambda a: a * np.where(np.arange(12) == 0, -1, 1),
        lambda a: a[:, [3, 4, 5, 0, 1, 2, *range(6, 12)]],
        lambda a: a[:, [1, 0, *range(2, 12)]],
    ],
    ids=["a hip's sign", "left and right", "hip and thigh"],
)
def test_legs_that_are_another_way_round_in_every_field_are_named(legs: LegsModel, how):
    predictor = Predictor(legs, threads=1)
    command = design(predictor, 0, segments=1, candidates=3)
    predictor.close()
    spoilt = changed(
        JointTwin(legs, 3).run(command, "turned"), q=how, dq=how, torque=how, command=how
    )
    assert kinds(legs, spoilt) & {"torque-unit", "swapped"}


def test_a_load_of_the_arm_is_found_unless_it_was_announced(
    arm: ArmModel, loaded: Callable[[int, Mismatch], JointTwin]
):
    twin = loaded(2, Mismatch())  # it carries about 1 kg
    predictor = Predictor(arm, threads=1)
    recording = twin.run(design(predictor, 0, segments=1, candidates=3))
    predictor.close()
    assert kinds(arm, recording) == {"load"}
    assert kinds(twin.robot, recording) == set()


def test_a_load_on_a_leg_is_found(legs: LegsModel):
    twin = JointTwin(legs, 4)
    predictor = Predictor(legs, threads=1)
    command = design(predictor, 0, segments=1, candidates=3)
    predictor.close()
    twin.add("RL_calf", 0.5)
    recording = twin.run(command, "loaded")
    (found,) = check_dynamics(legs, recording, linear_fit(legs, recording))
    assert found.kind == "load"
    assert "at its RL_calf" in found.text

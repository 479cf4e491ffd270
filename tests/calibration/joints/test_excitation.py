"""Motions keep their limits, in the model, before a robot moves."""

import dataclasses

import numpy as np
import pytest

from calibration.arm.model import ArmModel
from calibration.joints.excitation import Segment, design, motion, violation
from calibration.joints.identification import jacobian
from calibration.joints.prediction import Predictor, still
from calibration.joints.robot import TIMESTEP, JointRobot, Limits
from calibration.legs.model import LegsModel
from calibration.recording import CalibrationError


def test_a_motion_begins_and_ends_at_rest_within_its_limits(robot: JointRobot, command: np.ndarray):
    speed = np.diff(command, axis=0) / TIMESTEP
    acceleration = np.diff(speed, axis=0) / TIMESTEP
    assert np.array_equal(command[0], robot.layout.ready)
    assert np.array_equal(command[-1], robot.layout.ready)
    assert not speed[:50].any()
    assert not speed[-50:].any()
    assert np.abs(speed).max() <= robot.layout.limits.speed
    assert np.abs(acceleration).max() <= robot.layout.limits.acceleration
    assert (np.sqrt((speed**2).mean(axis=0)) > 0.1).all()


def test_the_same_seed_gives_the_same_motion(predictor: Predictor, command: np.ndarray):
    assert np.array_equal(design(predictor, 0, segments=1, candidates=3), command)


def test_the_choice_tells_more_than_the_other_candidates(arm: ArmModel):
    told, predictor = [], Predictor(arm, threads=1)
    for candidates in (1, 4):
        chosen = design(predictor, 0, segments=1, candidates=candidates)
        rows = jacobian(predictor, np.zeros(len(arm.priors)), [still(chosen)], arm.layout.noise)
        told.append(np.linalg.slogdet(rows.T @ rows + np.eye(len(arm.priors)))[1])
    predictor.close()
    assert told[1] > told[0] + 1


def arm_limits(**changed: float) -> Limits:
    return dataclasses.replace(Limits(2.0, 12.0), **changed)


@pytest.mark.parametrize(
    ("posture", "chirp", "limits", "said"),
    [
        ([0, 0, 0, 0, 0, 0], 0.5, arm_limits(), "target speed"),
        ([0, 0, 0, 0, 0, 0], 0.02, arm_limits(speed=99), "target acceleration"),
        ([0, 0, 0, 0, 0, 0], 0.0, arm_limits(torque=0.1), "of the torque limit at elbow"),
        ([0, 0.9, 0, 0, 0, 0], 0.0, arm_limits(), "of the foot's height"),
        ([0, -1.3, 0.6, 0.5, 0, 0], 0.0, arm_limits(), "the first joint's axis"),
    ],
)
def test_a_motion_of_the_arm_that_breaks_a_limit_is_told(
    arm: ArmModel, posture, chirp, limits, said
):
    chirps = np.zeros((400, 6))
    chirps[100] = chirp
    if limits.speed == 99:
        chirps[100:, :] = chirp
    predictor = Predictor(arm, threads=1)
    command = motion(arm, [Segment(arm.layout.ready + posture, chirps)], arm.layout.limits)
    assert said in violation(predictor, command, limits)
    predictor.close()


@pytest.mark.parametrize(
    ("posture", "said"),
    [
        ({"FL_hip": 1.0}, "FL_hip within"),
        ({"FL_hip": -0.62, "FR_hip": 0.62}, "two feet"),
        ({"RR_thigh": 2.0}, "below the trunk's middle"),
    ],
)
def test_postures_in_which_legs_would_collide_are_told(legs: LegsModel, posture, said):
    q = legs.layout.ready.copy()
    for joint, change in posture.items():
        q[legs.joints.index(joint)] += change
    assert said in legs.unsafe(q[None])
    assert legs.unsafe(legs.layout.ready[None]) == ""


def test_no_motion_within_the_limits_is_an_error(predictor: Predictor):
    limits = dataclasses.replace(predictor.robot.layout.limits, torque=0.01)
    with pytest.raises(CalibrationError, match="0 of 2 candidate motions"):
        design(predictor, 0, segments=1, candidates=2, limits=limits)

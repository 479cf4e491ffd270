"""Motions keep their limits, in the model, before a robot moves."""

import numpy as np
import pytest

from calibration.arm import excitation
from calibration.arm.excitation import READY, Limits, Segment, design, motion, violation
from calibration.arm.model import TIMESTEP, ArmModel
from calibration.arm.prediction import Predictor
from calibration.recording import CalibrationError

LIMITS = Limits()


def test_a_motion_begins_and_ends_at_rest_within_its_limits(command: np.ndarray):
    speed = np.diff(command, axis=0) / TIMESTEP
    acceleration = np.diff(speed, axis=0) / TIMESTEP
    assert np.array_equal(command[0], READY)
    assert np.array_equal(command[-1], READY)
    assert not speed[:50].any()
    assert not speed[-50:].any()
    assert np.abs(speed).max() <= LIMITS.speed
    assert np.abs(acceleration).max() <= LIMITS.acceleration
    assert (np.sqrt((speed**2).mean(axis=0)) > 0.1).all()


def test_the_same_seed_gives_the_same_motion(
    arm: ArmModel, predictor: Predictor, command: np.ndarray
):
    assert np.array_equal(design(arm, predictor, 0, segments=1, candidates=3), command)


def test_the_choice_tells_more_than_the_other_candidates(arm: ArmModel, predictor: Predictor):
    told = []
    for candidates in (1, 4):
        chosen = design(arm, predictor, 0, segments=1, candidates=candidates)
        rows = excitation.jacobian(
            predictor, np.zeros(len(arm.priors)), [excitation.still(chosen)], excitation.NOISE
        )
        told.append(np.linalg.slogdet(rows.T @ rows + np.eye(len(arm.priors)))[1])
    assert told[1] > told[0] + 1


@pytest.mark.parametrize(
    ("posture", "chirp", "limits", "said"),
    [
        ([0, 0, 0, 0, 0, 0], 0.5, LIMITS, "target speed"),
        ([0, 0, 0, 0, 0, 0], 0.02, Limits(speed=99), "target acceleration"),
        ([0, 0, 0, 0, 0, 0], 0.0, Limits(torque=0.1), "of the torque limit at elbow"),
        ([0, 0.9, 0, 0, 0, 0], 0.0, LIMITS, "of the foot's height"),
        ([0, -0.6, 0.6, 0.5, 0, 0], 0.0, Limits(height=0.02), "the first joint's axis"),
    ],
)
def test_a_motion_that_breaks_a_limit_is_told(
    arm: ArmModel, predictor: Predictor, posture, chirp, limits, said
):
    chirps = np.zeros((400, 6))
    chirps[100] = chirp
    if limits.speed == 99:
        chirps[100:, :] = chirp
    command = motion([Segment(READY + posture, chirps)], LIMITS)
    assert said in violation(arm, predictor, command, limits)


def test_no_motion_within_the_limits_is_an_error(arm: ArmModel, predictor: Predictor):
    with pytest.raises(CalibrationError, match="0 of 2 candidate motions"):
        design(arm, predictor, 0, segments=1, candidates=2, limits=Limits(torque=0.01))

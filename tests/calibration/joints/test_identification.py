"""Quantities of a robot that the model describes exactly come back as surely as claimed."""

import dataclasses

import numpy as np
import pytest

from calibration.joints.block import calibrate_joints
from calibration.joints.identification import jacobian, whitened
from calibration.joints.linear_fit import linear_fit, start
from calibration.joints.prediction import Predictor
from calibration.joints.robot import JointRobot
from calibration.joints.twin import EXACT, JointTwin
from calibration.posterior import rms
from calibration.recording import JointRecording


@pytest.mark.parametrize("substeps", [1, 4])
def test_an_exact_robot_is_recovered_at_any_period_of_its_drives(
    robot: JointRobot, command: np.ndarray, held_command: np.ndarray, substeps: int
):
    """A drive that works at 0.5 ms once gave armature and damping that were far off."""
    twin = JointTwin(robot, 3, dataclasses.replace(EXACT, substeps=substeps))
    told: list[str] = []
    recordings = twin.run(command, "fit"), twin.run(held_command, "check")
    result = calibrate_joints(robot, recordings[:1], recordings[1:], 1, told.append)
    assert told
    assert not result.findings
    np.testing.assert_allclose(rms(result.fit.errors), robot.layout.noise, rtol=0.25)
    found = result.posterior
    miss = (found.x - robot.priors.to_standard(twin.values)) / found.std
    # The lag and the hold are right to first order in the step.
    assert np.abs(miss).max() < 5.0
    assert np.sqrt((miss[found.identified] ** 2).mean()) < 1.5
    names = {n for n, told in zip(robot.priors.names, found.identified, strict=True) if told}
    assert names >= {n for n in robot.priors.names if n.startswith(("armature", "position_gain"))}
    # No angle about the vertical or the tool's axis can be told.
    assert not names & {"encoder_bias.shoulder_pan", "encoder_bias.wrist_3"}


def test_quantities_of_different_legs_are_varied_together(
    predictor: Predictor, recording: JointRecording
):
    """And the derivatives are those of one at a time."""
    robot, x = predictor.robot, np.zeros(len(predictor.robot.priors))
    scale = robot.layout.noise * 10
    together = jacobian(predictor, x, [recording], scale)
    chosen = [0, 3, len(robot.joints), len(x) - 2]
    points = np.tile(x, (1 + len(chosen), 1))
    points[np.arange(1, len(points)), chosen] += 1e-4
    rows = whitened(predictor, points, recording, scale)
    alone = (rows[:, 1:] - rows[:, :1]) / 1e-4
    np.testing.assert_allclose(together[:, chosen], alone, atol=0.01 * np.abs(alone).max())
    assert len(robot.groups) == len(x) - (len(robot.layout.chains) - 1) * sum(
        len(group) > 1 for group in robot.groups
    )


def test_the_linear_fit_is_near(twin: JointTwin, recording: JointRecording):
    priors = twin.robot.priors
    begin = start(twin.robot, linear_fit(twin.robot, recording))
    true = priors.to_standard(twin.values)
    sure = [n.startswith(("armature", "position_gain", "velocity_gain")) for n in priors.names]
    assert np.abs(begin - true)[sure].max() < 2.0
    assert abs(begin - true)[priors.names.index("delay")] < 1.0

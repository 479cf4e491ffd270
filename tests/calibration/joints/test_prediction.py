"""The model predicts what a robot that it describes exactly has measured."""

import numpy as np
import pytest

from calibration.arm.model import ArmModel
from calibration.joints.excitation import design
from calibration.joints.identification import errors
from calibration.joints.prediction import Predictor, delayed, still
from calibration.joints.robot import TIMESTEP
from calibration.joints.twin import JointTwin, Mismatch
from calibration.posterior import rms
from calibration.recording import JointRecording


def test_with_the_true_quantities_only_the_sensors_noise_is_left(
    predictor: Predictor, twin: JointTwin, recording: JointRecording
):
    # A sensor's row paired with the wrong step would leave many times the noise.
    robot = predictor.robot
    x = robot.priors.to_standard(twin.values)
    expected = pytest.approx(robot.layout.noise, rel=0.08)
    assert rms([errors(predictor, x, recording)]) == expected


def test_robots_of_one_call_do_not_disturb_each_other(
    predictor: Predictor, recording: JointRecording
):
    priors = predictor.robot.priors
    values = priors.to_physical(np.random.default_rng(0).normal(size=(3, len(priors))))
    together = predictor(values, recording)
    alone = predictor(values[1:2], recording)
    assert np.array_equal(together.q[1], alone.q[0])
    assert np.array_equal(together.torque[1], alone.torque[0])


def test_a_bias_of_the_first_encoder_of_an_arm_cannot_be_seen(arm: ArmModel):
    # The first joint is vertical: turned about it, everything weighs the same.
    ready = np.tile(arm.layout.ready, (300, 1))
    recording, predictor = still(ready), Predictor(arm, threads=1)
    x = np.zeros(len(arm.priors))
    turned = x.copy()
    turned[arm.priors.names.index("encoder_bias.shoulder_pan")] = 2.0
    difference = errors(predictor, turned, recording) - errors(predictor, x, recording)
    predictor.close()
    assert np.abs(difference / arm.layout.noise).max() < 1e-3


@pytest.mark.parametrize("delay", [0.0, 0.002, 0.0031, 0.0117])
def test_a_delayed_ramp_lags_by_the_delay(delay: float):
    ramp = np.tile(np.arange(50)[:, None] * TIMESTEP, (1, 6))
    late = delayed(ramp, delay)
    np.testing.assert_allclose(late[10:], ramp[10:] - delay, atol=1e-12)
    assert np.array_equal(late[0], ramp[0])


def test_friction_rises_towards_rest_against_the_motion(arm: ArmModel):
    speed = arm.scalar(arm.priors.nominal, "stribeck_speed")
    # From just above rest, beyond where its sign changes, to three times the speed.
    velocity = np.tile(np.linspace(0.5, 3.0, 6)[:, None] * speed, (1, 6))
    rise = arm.friction_rise(arm.priors.nominal, velocity)
    share = rise / arm.values(arm.priors.nominal, "friction")
    assert (share > 0).all() and (share[0] < 0.15).all()  # along the velocity, as it brakes
    assert (np.diff(share, axis=0) < 0).all() and share[-1].max() < 1e-3 * share[0].min()
    np.testing.assert_array_equal(arm.friction_rise(arm.priors.nominal, -velocity), -rise)


def test_a_rise_of_friction_is_predicted(arm: ArmModel):
    """Left out of the model, it was taken for more friction."""
    predictor = Predictor(arm, threads=1)
    command = design(predictor, seed=0, segments=1, candidates=3)
    twin = JointTwin(arm, 3, Mismatch(masses=0.0, stribeck=0.4, ripple=0.0))
    recording, noise = twin.run(command), arm.layout.noise
    with_rise = rms([errors(predictor, arm.priors.to_standard(twin.values), recording)])
    without = twin.values.copy()
    without[arm.priors.indices([f"stribeck.{joint}" for joint in arm.joints])] = 0.0
    left_out = rms([errors(predictor, arm.priors.to_standard(without), recording)])
    predictor.close()
    assert with_rise == pytest.approx(noise, rel=0.25)
    misfits = [float(((each / noise) ** 2).sum()) for each in (with_rise, left_out)]
    assert misfits[1] > misfits[0] + 1.0  # of 12 channels that each miss 1


def test_the_digest_names_the_model(arm: ArmModel):
    other = ArmModel(arm.priors)
    assert arm.digest == other.digest
    changed = ArmModel(arm.priors)
    changed.model.body_mass[2] += 1e-6
    assert changed.digest != arm.digest

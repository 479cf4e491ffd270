"""The model predicts what an arm that it describes exactly has measured."""

import dataclasses

import numpy as np
import pytest

from calibration.arm.identification import NOISE, errors
from calibration.arm.model import TIMESTEP, ArmModel
from calibration.arm.prediction import Predictor, delayed
from calibration.arm.twin import ArmTwin
from calibration.posterior import rms
from calibration.recording import JointRecording


def test_with_the_true_quantities_only_the_sensors_noise_is_left(
    predictor: Predictor, twin: ArmTwin, recording: JointRecording
):
    # A sensor's row paired with the wrong step would leave many times the noise.
    x = predictor.arm.priors.to_standard(twin.values)
    assert rms([errors(predictor, x, recording)]) == pytest.approx(NOISE, rel=0.08)


def test_arms_of_one_call_do_not_disturb_each_other(
    predictor: Predictor, recording: JointRecording
):
    values = predictor.arm.priors.to_physical(np.random.default_rng(0).normal(size=(3, 43)))
    together = predictor(values, recording)
    alone = predictor(values[1:2], recording)
    assert np.array_equal(together.q[1], alone.q[0])
    assert np.array_equal(together.torque[1], alone.torque[0])


def test_a_bias_of_the_first_encoder_cannot_be_seen(
    predictor: Predictor, recording: JointRecording
):
    # The first joint is vertical: turned about it, everything weighs the same.
    x = np.zeros(len(predictor.arm.priors))
    turned = x.copy()
    turned[predictor.arm.priors.names.index("encoder_bias.shoulder_pan")] = 2.0
    difference = errors(predictor, turned, recording) - errors(predictor, x, recording)
    assert np.abs(difference / NOISE).max() < 1e-3


@pytest.mark.parametrize("delay", [0.0, 0.002, 0.0031, 0.0117])
def test_a_delayed_ramp_lags_by_the_delay(delay: float):
    ramp = np.tile(np.arange(50)[:, None] * TIMESTEP, (1, 6))
    late = delayed(ramp, delay)
    np.testing.assert_allclose(late[10:], ramp[10:] - delay, atol=1e-12)
    assert np.array_equal(late[0], ramp[0])


def test_the_digest_names_the_model(arm: ArmModel):
    other = ArmModel(arm.priors)
    assert arm.digest == other.digest
    other.model.body_mass[2] += 1e-6
    assert dataclasses.replace(other).digest == arm.digest  # compiled anew
    assert other.digest != arm.digest or "digest" in other.__dict__

"""Quantities of an arm that the model describes exactly come back as surely as claimed."""

import numpy as np

from calibration.arm.identification import NOISE, fit
from calibration.arm.linear_fit import linear_fit, start
from calibration.arm.prediction import Predictor
from calibration.arm.twin import ArmTwin
from calibration.posterior import effective_noise, posterior
from calibration.recording import JointRecording


def test_an_exact_arm_is_recovered(predictor: Predictor, twin: ArmTwin, recording: JointRecording):
    priors = predictor.arm.priors
    told: list[str] = []
    begin = start(predictor.arm, linear_fit(recording))
    found = fit(predictor, [recording], begin, NOISE, told.append)
    assert told
    noise = effective_noise(found.errors, [], NOISE)
    np.testing.assert_allclose(noise, NOISE, rtol=0.25)
    result = posterior(priors, found.x, found.jacobian, found.scale, noise)
    miss = (found.x - priors.to_standard(twin.values)) / result.std
    assert np.abs(miss).max() < 4.5
    assert np.sqrt((miss[result.identified] ** 2).mean()) < 1.5
    # All that is reported as identified is; no angle about the vertical or the tool's axis is.
    names = {n for n, told in zip(priors.names, result.identified, strict=True) if told}
    assert names >= {n for n in priors.names if n.startswith(("armature", "position_gain"))}
    assert not names & {"encoder_bias.shoulder_pan", "encoder_bias.wrist_3"}


def test_the_linear_fit_is_near(twin: ArmTwin, recording: JointRecording):
    priors = twin.arm.priors
    begin, true = start(twin.arm, linear_fit(recording)), priors.to_standard(twin.values)
    sure = [n.startswith(("armature", "position_gain", "velocity_gain")) for n in priors.names]
    assert np.abs(begin - true)[sure].max() < 2.0
    assert abs(begin - true)[priors.names.index("delay")] < 1.0

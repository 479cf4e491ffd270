"""What a standing robot carries, from the torques of its legs."""

import dataclasses

import numpy as np
import pytest

from calibration.joints.twin import JointTwin
from calibration.legs.model import LegsModel
from calibration.legs.stance import PAYLOAD, standing_motion, standing_twin
from calibration.legs.standing_payload import calibrate_standing
from calibration.posterior import Posterior
from calibration.recording import CalibrationError, JointRecording
from sim.robots import go2


@pytest.fixture(scope="module")
def stood(legs: LegsModel) -> tuple[JointTwin, JointRecording]:
    """A robot that is not quite the model, with a load, and its recording."""
    twin = standing_twin(JointTwin(legs, 1), 1)
    return twin, twin.run(standing_motion(legs, 0), "standing")


def in_air(legs: LegsModel, twin: JointTwin) -> Posterior:
    """What a calibration in the air would have found, to a tenth of the priors."""
    x = legs.priors.to_standard(twin.values[: len(legs.priors)])
    return Posterior(legs.priors, x, 100 * np.eye(len(x)))


def test_the_payload_is_found(legs: LegsModel, stood: tuple[JointTwin, JointRecording]):
    twin, recording = stood
    found = calibrate_standing(legs, in_air(legs, twin), recording)
    for name, error in zip(PAYLOAD[:3], (0.5, 0.01, 0.01), strict=True):
        true = twin.values[twin.robot.priors.names.index(name)]
        i = found.priors.names.index(name)
        estimate, std = found.priors.to_physical(found.mean)[i], found.std[i] * found.priors.std[i]
        assert abs(estimate - true) < error
        assert abs(estimate - true) < 3 * std


def test_the_weight_is_no_surer_than_the_robots_own(
    legs: LegsModel, stood: tuple[JointTwin, JointRecording]
):
    twin, recording = stood
    found = calibrate_standing(legs, in_air(legs, twin), recording)
    std = found.std[0] * found.priors.std[0]
    assert std > 0.02 * go2.BODY_MASS * 0.9


@pytest.mark.parametrize(
    ("said", "spoil"),
    [
        ("in N·m", lambda r: dataclasses.replace(r, torque=1000 * r.torque)),
        ("in N·m", lambda r: dataclasses.replace(r, torque=0 * r.torque)),
        ("off a plane", lambda r: dataclasses.replace(r, q=r.q + 0.3 * (np.arange(12) == 2))),
        ("gaps in all", lambda r: dataclasses.replace(r, time=r.time + 0.1 * (r.time > 5))),
    ],
)
def test_a_recording_of_no_standing_robot_is_refused(
    said: str, spoil, legs: LegsModel, stood: tuple[JointTwin, JointRecording]
):
    twin, recording = stood
    with pytest.raises(CalibrationError, match=said):
        calibrate_standing(legs, in_air(legs, twin), spoil(recording))

"""An arm, legs, a short motion of each, and twins that followed them."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from calibration.arm.model import ArmModel, arm_priors
from calibration.joints.excitation import design
from calibration.joints.prediction import Predictor
from calibration.joints.robot import JointRobot
from calibration.joints.twin import EXACT, JointTwin, Mismatch
from calibration.legs.model import LegsModel, legs_model
from calibration.recording import JointRecording


@pytest.fixture(scope="session")
def arm() -> ArmModel:
    """Without a payload."""
    return ArmModel(arm_priors(payload=False))


@pytest.fixture(scope="session")
def legs() -> LegsModel:
    return legs_model()


@pytest.fixture(scope="session", params=["arm", "legs"])
def robot(request: pytest.FixtureRequest, arm: ArmModel, legs: LegsModel) -> JointRobot:
    """One after the other."""
    return arm if request.param == "arm" else legs


@pytest.fixture(scope="session")
def predictor(robot: JointRobot) -> Iterator[Predictor]:
    predictor = Predictor(robot, threads=1)
    yield predictor
    predictor.close()


@pytest.fixture(scope="session")
def command(predictor: Predictor) -> np.ndarray:
    return design(predictor, seed=0, segments=1, candidates=3)


@pytest.fixture(scope="session")
def held_command(predictor: Predictor) -> np.ndarray:
    return design(predictor, seed=2, segments=1, candidates=3)


@pytest.fixture(scope="session")
def twin(robot: JointRobot) -> JointTwin:
    """One that the model describes exactly."""
    return JointTwin(robot, 3, EXACT)


@pytest.fixture(scope="session")
def recording(twin: JointTwin, command: np.ndarray) -> JointRecording:
    return twin.run(command, "exact")


@pytest.fixture(scope="session")
def loaded() -> Callable[[int, Mismatch], JointTwin]:
    """Makes arms that carry a payload."""
    model = ArmModel(arm_priors(payload=True))
    return lambda seed, mismatch: JointTwin(model, seed, mismatch)

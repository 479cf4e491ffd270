"""An arm, a short motion and twins that followed it."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from calibration.arm.excitation import design
from calibration.arm.model import ArmModel, arm_priors
from calibration.arm.prediction import Predictor
from calibration.arm.twin import EXACT, ArmTwin, Mismatch
from calibration.recording import JointRecording


@pytest.fixture(scope="session")
def arm() -> ArmModel:
    """Without a payload."""
    return ArmModel(arm_priors(payload=False))


@pytest.fixture(scope="session")
def predictor(arm: ArmModel) -> Iterator[Predictor]:
    predictor = Predictor(arm, threads=1)
    yield predictor
    predictor.close()


@pytest.fixture(scope="session")
def command(arm: ArmModel, predictor: Predictor) -> np.ndarray:
    return design(arm, predictor, seed=0, segments=1, candidates=3)


@pytest.fixture(scope="session")
def twin(arm: ArmModel) -> ArmTwin:
    """One that the model describes exactly."""
    return ArmTwin(arm, 3, EXACT)


@pytest.fixture(scope="session")
def recording(twin: ArmTwin, command: np.ndarray) -> JointRecording:
    return twin.run(command, "exact")


@pytest.fixture(scope="session")
def loaded() -> Callable[[int, Mismatch], ArmTwin]:
    """Makes twins that carry a payload."""
    model = ArmModel(arm_priors(payload=True))
    return lambda seed, mismatch: ArmTwin(model, seed, mismatch)

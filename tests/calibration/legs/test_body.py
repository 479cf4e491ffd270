"""A user's own quadruped, by its joint map, is calibrated as ours is."""

from pathlib import Path

import mujoco
import numpy as np
import pytest
from msgspec import json

import acclimate
from calibration.cli import CalibrateSettings, calibrate
from calibration.joints.excitation import design
from calibration.joints.prediction import Predictor
from calibration.joints.twin import EXACT, JointTwin
from calibration.legs.body import user_body
from calibration.legs.model import LegsModel, legs_model
from calibration.legs.stance import feet_places, joint_angles, standing_motion, standing_twin
from calibration.legs.standing_payload import calibrate_standing
from calibration.posterior import Posterior
from calibration.recording import CalibrationError
from sim.core.task_space import TaskSpace
from sim.robots import go2
from tests.support import other_quadruped


@pytest.fixture(scope="module")
def joint_map(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return other_quadruped.write(tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="module")
def other(joint_map: Path) -> LegsModel:
    return legs_model(user_body(joint_map))


def test_its_own_body_is_what_is_calibrated(other: LegsModel):
    model = other.model
    assert [model.joint(i).name for i in range(model.njnt)] == list(go2.JOINTS)
    assert (model.nq, model.nsensordata) == (12, 36)
    assert mujoco.mj_getTotalmass(model) == pytest.approx(6 + 4 * 1.95, abs=0.01)
    own = other.priors.nominal
    assert other.values(own, "armature") == pytest.approx(0.02)
    assert other.values(own, "position_gain") == pytest.approx(35.0)
    # Its MJCF says nothing of friction.
    assert other.values(own, "friction")[2] == go2.TYPES["calf"].friction
    assert other.layout.torque_limits == pytest.approx(25.0)


@pytest.mark.slow
def test_the_command_calibrates_it(other: LegsModel, joint_map: Path, tmp_path: Path):
    predictor = Predictor(other, threads=1)
    twin = JointTwin(other, 3, EXACT)
    for k, name in enumerate(("fit", "held")):
        command = design(predictor, 2 * k, segments=1, candidates=3)
        twin.run(command).save(tmp_path / f"{name}.mcap", "other")
    predictor.close()
    words = [f"recordings=[{tmp_path}/fit.mcap]", f"heldout=[{tmp_path}/held.mcap]"]
    out = tmp_path / "out"
    assert acclimate.main(["calibrate", f"body={joint_map}", *words, f"out={out}"]) == 0
    space = TaskSpace.load(out / "space.yaml")
    assert space.provenance["model"] == other.digest
    assert space.measured is not None
    at = [space.measured.names.index(f"position_gain.{joint}") for joint in go2.JOINTS]
    found = np.exp(np.array(space.measured.mean)[at])
    assert found == pytest.approx(other.values(twin.values, "position_gain"), rel=0.05)
    family = json.decode((out / "locomotion_prior.json").read_bytes())
    (gain,) = [p["mean"] for p in family["parameters"] if p["name"] == "gain"]
    ratios = np.sort(other.values(twin.values, "position_gain") / 35.0)
    assert gain == pytest.approx(ratios[1:].mean(), rel=0.02)


def test_its_payload_is_found_as_it_stands(other: LegsModel):
    twin = standing_twin(JointTwin(other, 1), 1)
    recording = twin.run(standing_motion(other, 0), "standing")
    x = other.priors.to_standard(twin.values[: len(other.priors)])
    found = calibrate_standing(other, Posterior(other.priors, x, 100 * np.eye(len(x))), recording)
    true = twin.values[twin.robot.priors.names.index("payload")]
    assert found.priors.to_physical(found.mean)[0] == pytest.approx(true, abs=0.5)


@pytest.mark.parametrize("which", ["ours", "other"])
def test_angles_bring_the_feet_there(which: str, other: LegsModel, legs: LegsModel):
    robot = legs if which == "ours" else other
    feet = feet_places(robot, robot.layout.ready) + np.array([[[0.0] * 3], [[0.02, -0.03, 0.04]]])
    for q, places in zip(joint_angles(robot, feet), feet, strict=True):
        np.testing.assert_allclose(feet_places(robot, q), places, atol=1e-8)
    with pytest.raises(CalibrationError, match="does not reach"):
        joint_angles(robot, feet - [0.0, 0.0, 0.3])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"joints": ["no", *other_quadruped.JOINTS[1:]]}, "joints: no joint 'no' in the model"),
        ({"signs": [1, 1, -1]}, "signs: FL_hip turns about the body's -x"),
        ({"kp": 3}, "kp: "),
    ],
)
def test_a_map_that_does_not_fit_is_told_and_leaves_nothing(
    changes: dict, said: str, tmp_path: Path, capsys: pytest.CaptureFixture
):
    path = other_quadruped.write(tmp_path, **changes)
    words = [f"body={path}", "robot=plan", f"out={tmp_path}/out"]
    assert acclimate.main(["calibrate", *words]) == 2
    error = capsys.readouterr().err
    assert f"body={path}: " in error
    assert said in error
    assert not (tmp_path / "out").exists()


def test_a_body_that_is_no_file_is_told(tmp_path: Path):
    with pytest.raises(CalibrationError, match="expected arm, legs, or the file of a joint map"):
        calibrate(CalibrateSettings(tmp_path / "out", "leg", robot="plan"))

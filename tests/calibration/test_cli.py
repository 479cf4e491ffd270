"""The command: from recordings to files, the same bytes from the same recordings, or none."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import acclimate
from adapt.settings import SettingsError
from calibration.arm.excitation import design
from calibration.arm.model import ArmModel
from calibration.arm.prediction import Predictor
from calibration.arm.twin import ArmTwin, Mismatch
from calibration.cli import CalibrateSettings, calibrate
from calibration.posterior import Z90
from calibration.recording import CalibrationError, read_joints
from sim.core.task_space import TaskSpace

FILES = ("space.yaml", "prior.json", "report.html")


def settings(out: Path, fit: Path, held_out: Path, threads: int = 2) -> CalibrateSettings:
    return CalibrateSettings(
        out, recordings=(fit,), heldout=(held_out,), threads=threads, name="robot"
    )


@pytest.fixture(scope="module")
def held_command(arm: ArmModel, predictor: Predictor) -> np.ndarray:
    return design(arm, predictor, seed=2, segments=1, candidates=3)


@pytest.fixture(scope="module")
def robot(arm: ArmModel) -> ArmTwin:
    """Not quite the model."""
    return ArmTwin(arm, 7)


@pytest.fixture(scope="module")
def recorded(
    robot: ArmTwin,
    command: np.ndarray,
    held_command: np.ndarray,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder with recordings of one robot."""
    folder = tmp_path_factory.mktemp("recorded")
    robot.run(command).save(folder / "fit.mcap", "robot")
    robot.run(held_command).save(folder / "held.mcap", "robot")
    return folder


@pytest.fixture(scope="module")
def calibrated(recorded: Path) -> Path:
    """The folder with a calibration from them."""
    words = [f"recordings=[{recorded}/fit.mcap]", f"heldout=[{recorded}/held.mcap]"]
    assert acclimate.main(["calibrate", *words, f"out={recorded}/out", "name=robot"]) == 0
    return recorded / "out"


def test_a_space_is_written_with_its_provenance(recorded: Path, calibrated: Path):
    space = TaskSpace.load(calibrated / "space.yaml")
    digest = hashlib.sha256((recorded / "fit.mcap").read_bytes()).hexdigest()
    assert space.provenance["recording fit.mcap"] == digest
    assert space.provenance["timestep"] == "0.002 s"
    assert len(space.provenance["model"]) == 64
    tasks = space.sample(200, np.random.default_rng(0))
    drawn = np.array([task["delay"] for task in tasks])
    prior = json.loads((calibrated / "prior.json").read_text())
    (delay,) = [p for p in prior["parameters"] if p["name"] == "delay"]
    inside = np.mean((drawn >= delay["low"]) & (drawn <= delay["high"]))
    assert 0.8 < inside < 0.97


def test_what_is_claimed_holds(robot: ArmTwin, calibrated: Path):
    prior = json.loads((calibrated / "prior.json").read_text())
    true = dict(zip(robot.arm.priors.names, robot.values, strict=True))
    measured = [p for p in prior["parameters"] if p["measured"]]
    assert len(measured) > 30
    assert np.mean([p["low"] <= true[p["name"]] <= p["high"] for p in measured]) > 0.75
    kept = {p["name"]: p for p in prior["parameters"] if not p["measured"]}
    assert kept["encoder_bias.shoulder_pan"]["high"] == pytest.approx(Z90 * 0.01)


def test_the_report_tells_what_was_measured_and_what_was_not(calibrated: Path):
    page = (calibrated / "report.html").read_text()
    for text in ("encoder bias, shoulder pan", "kept", "Signature", "<svg", "held out held.mcap"):
        assert text in page
    assert "Not to be used" not in page
    assert "http" not in page.replace("http://www.w3.org/", "")


@pytest.mark.slow
def test_the_same_recordings_give_the_same_bytes(recorded: Path, calibrated: Path, tmp_path: Path):
    files = recorded / "fit.mcap", recorded / "held.mcap"
    calibrate(settings(tmp_path / "again", *files, threads=1))
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (calibrated / name).read_bytes()


@pytest.mark.slow
def test_a_robot_that_the_model_does_not_describe_gets_a_report_alone(
    arm: ArmModel, command: np.ndarray, held_command: np.ndarray, tmp_path: Path
):
    robot = ArmTwin(arm, 5, Mismatch(masses=0.4, ripple=0.01))
    robot.run(command).save(tmp_path / "fit.mcap", "other")
    robot.run(held_command).save(tmp_path / "held.mcap", "other")
    findings = calibrate(settings(tmp_path / "out", tmp_path / "fit.mcap", tmp_path / "held.mcap"))
    assert any("link_mass" in text for text in findings)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.html"]
    assert "Not to be used" in (tmp_path / "out" / "report.html").read_text()


def test_the_wrench_block_of_a_twin(tmp_path: Path):
    assert calibrate(CalibrateSettings(tmp_path, blocks=("wrench",), robot="twin")) == []
    assert {path.name for path in tmp_path.iterdir()} == {*FILES, "poses.mcap"}
    assert "force_bias_x" in TaskSpace.load(tmp_path / "space.yaml").names


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["recordings=[{0}/fit.mcap]"], "1 recordings to fit and 0 held out"),
        (["recordings=[{0}/fit.mcap]", "heldout=[{0}/fit.mcap]"], "is among those to fit"),
        (["recordings=[{0}/none.mcap]", "heldout=[{0}/fit.mcap]"], "none.mcap: No such file"),
        (["blocks=[wrench]"], "expected poses=FILE"),
        (["blocks=[payload]"], "payload only beside air"),
        (["blocks=[wrench]", "poses={0}/fit.mcap"], "nothing on /poses"),
        (["robot=twin", "recordings=[{0}/fit.mcap]"], "leave the files out"),
    ],
)
def test_what_cannot_be_calibrated_is_told_and_leaves_nothing(
    words: list[str], said: str, recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    out = tmp_path / "out"
    given = [word.format(recorded) for word in words]
    assert acclimate.main(["calibrate", *given, f"out={out}"]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_a_bad_recording_leaves_nothing(recorded: Path, tmp_path: Path):
    good = read_joints(recorded / "fit.mcap")
    good.command[:, 0] *= -1
    good.save(tmp_path / "bad.mcap", "robot")
    with pytest.raises(CalibrationError, match=r"bad\.mcap: shoulder_pan moves against its target"):
        calibrate(settings(tmp_path / "out", tmp_path / "bad.mcap", recorded / "held.mcap"))
    assert not (tmp_path / "out").exists()


def test_a_calibration_is_not_overwritten(calibrated: Path, recorded: Path):
    with pytest.raises(CalibrationError, match="expected a new folder"):
        calibrate(CalibrateSettings(calibrated))


def test_a_plan_is_what_a_driver_follows(tmp_path: Path, capsys: pytest.CaptureFixture):
    words = ["calibrate", "robot=plan", "blocks=[wrench]", f"out={tmp_path}/plan"]
    assert acclimate.main(words) == 0
    assert "poses.csv" in capsys.readouterr().out
    lines = (tmp_path / "plan" / "poses.csv").read_text().splitlines()
    assert lines[0] == "shoulder_pan,shoulder_lift,elbow,wrist_1,wrist_2,wrist_3"
    assert np.loadtxt(lines[1:], delimiter=",").shape == (12, 6)
    with pytest.raises(CalibrationError, match="leave the files out"):
        calibrate(CalibrateSettings(tmp_path, robot="plan", poses=tmp_path / "some.mcap"))


def test_an_unknown_block_is_refused():
    with pytest.raises(SettingsError, match="air, payload, wrench, socket or contact"):
        acclimate.load("calibrate")(["blocks=[legs]", "out=x"])

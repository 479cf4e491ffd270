"""The command: from recordings to files, the same bytes from the same recordings, or none."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import acclimate
from adapt.settings import SettingsError
from calibration.cli import CalibrateSettings, calibrate
from calibration.joints.robot import JointRobot
from calibration.joints.twin import JointTwin, Mismatch
from calibration.posterior import Z90
from calibration.recording import CalibrationError, read_joints
from sim.core.task_space import TaskSpace

FILES = ("space.yaml", "prior.json", "report.html")


def settings(body: str, fit: Path, held_out: Path, out: Path, threads: int = 2):
    return CalibrateSettings(
        out, "legs" if body == "robot" else "arm", recordings=(fit,), heldout=(held_out,),
        threads=threads,
    )  # fmt: skip


@pytest.fixture(scope="module")
def real(robot: JointRobot) -> JointTwin:
    """Not quite the model."""
    return JointTwin(robot, 7)


@pytest.fixture(scope="module")
def recorded(
    real: JointTwin,
    command: np.ndarray,
    held_command: np.ndarray,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder with recordings of one robot."""
    folder = tmp_path_factory.mktemp("recorded")
    real.run(command).save(folder / "fit.mcap", "robot")
    real.run(held_command).save(folder / "held.mcap", "robot")
    return folder


@pytest.fixture(scope="module")
def calibrated(robot: JointRobot, recorded: Path) -> Path:
    """The folder with a calibration from them."""
    words = [f"recordings=[{recorded}/fit.mcap]", f"heldout=[{recorded}/held.mcap]"]
    body = "body=arm" if robot.kind == "arm" else "body=legs"
    assert acclimate.main(["calibrate", body, *words, f"out={recorded}/out"]) == 0
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


def test_what_is_claimed_holds(real: JointTwin, calibrated: Path):
    prior = json.loads((calibrated / "prior.json").read_text())
    true = dict(zip(real.robot.priors.names, real.values, strict=True))
    measured = [p for p in prior["parameters"] if p["measured"]]
    assert len(measured) > 30
    # One posture tells little; benchmarks/bench_calibration.py counts more closely.
    assert np.mean([p["low"] <= true[p["name"]] <= p["high"] for p in measured]) > 0.65
    kept = {p["name"]: p for p in prior["parameters"] if not p["measured"]}
    if real.robot.kind == "arm":
        assert kept["encoder_bias.shoulder_pan"]["high"] == pytest.approx(Z90 * 0.01)


def test_the_report_tells_what_was_measured_and_what_was_not(calibrated: Path):
    page = (calibrated / "report.html").read_text()
    for text in ("encoder bias, ", "kept", "Signature", "<svg", "held out held.mcap"):
        assert text in page
    assert "Not to be used" not in page
    assert "http" not in page.replace("http://www.w3.org/", "")


@pytest.mark.slow
def test_the_same_recordings_give_the_same_bytes(
    robot: JointRobot, recorded: Path, calibrated: Path, tmp_path: Path
):
    files = recorded / "fit.mcap", recorded / "held.mcap"
    calibrate(settings(robot.kind, *files, tmp_path / "again", threads=1))
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (calibrated / name).read_bytes()


@pytest.mark.slow
def test_a_robot_that_the_model_does_not_describe_gets_a_report_alone(
    robot: JointRobot, command: np.ndarray, held_command: np.ndarray, tmp_path: Path
):
    other = JointTwin(robot, 6, Mismatch(masses=0.4, ripple=0.01))
    files = tmp_path / "fit.mcap", tmp_path / "held.mcap"
    for targets, file in zip((command, held_command), files, strict=True):
        other.run(targets).save(file, "other")
    findings = calibrate(settings(robot.kind, *files, tmp_path / "out"))
    assert any("torques of" in text for text in findings)
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
        (["body=legs", "blocks=[wrench]", "poses=x"], "expected some of ['air', 'payload']"),
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


def test_a_bad_recording_leaves_nothing(robot: JointRobot, recorded: Path, tmp_path: Path):
    good = read_joints(recorded / "fit.mcap")
    good.command[:, 0] *= -1
    good.save(tmp_path / "bad.mcap", "robot")
    said = rf"bad\.mcap: {robot.joints[0]} moves against its target"
    with pytest.raises(CalibrationError, match=said):
        files = tmp_path / "bad.mcap", recorded / "held.mcap"
        calibrate(settings(robot.kind, *files, tmp_path / "out"))
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

"""Blocks `socket` and `contact` from touches of a simulated cell."""

import json
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

import acclimate
from adapt.bundle.policy_bundle import read_manifest
from adapt.prior import latent_prior, read_prior
from calibration.cli import CalibrateSettings, calibrate
from calibration.output import write_together
from calibration.recording import CalibrationError
from calibration.touches import contact_priors, encoded, measure, read_touches
from robot_bridge.protocol.probe_messages import ProbeReport
from sim.core.task_space import TaskSpace
from sim.demo import SHIPPED
from sim.insertion.space import SPACE
from tests.support.probed_cell import Cell, task, touched, truth

ONE = task(2)


@pytest.fixture(scope="module")
def report() -> ProbeReport:
    return touched(Cell(ONE), blocks=("socket", "contact"))


@pytest.fixture(scope="module")
def kept(report: ProbeReport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("touches") / "touches.json"
    path.write_text(encoded(report))
    return path


def test_touches_kept_are_read_again(report: ProbeReport, kept: Path):
    assert read_touches(kept) == report


def test_a_calibration_by_touches_is_a_prior_of_the_shipped_bundle(kept: Path, tmp_path: Path):
    words = ["blocks=[socket]", f"touches={kept}", f"out={tmp_path}/out"]
    assert acclimate.main(["calibrate", *words]) == 0
    files = {"prior.json", "report.html", "space.yaml"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == files
    manifest, _ = read_manifest(SHIPPED)
    prior = latent_prior(read_prior(tmp_path / "out" / "prior.json"), manifest)
    factor = next(f for f in manifest.latent.factors if f.name == "seat_x")
    seat = factor.offset + factor.scale * prior.mean[factor.index]
    std = factor.scale * prior.variance[factor.index] ** 0.5
    assert abs(seat - truth(ONE)[0]) < 3 * std < 3e-4
    page = (tmp_path / "out" / "report.html").read_text()
    assert "9 touches" in page and "the largest force was" in page
    assert CalibrateSettings(tmp_path / "out").out.exists()
    with pytest.raises(
        CalibrationError, match=r"holds space\.yaml, prior\.json, report\.html already"
    ):
        calibrate(CalibrateSettings(tmp_path / "out"))


def test_tasks_are_drawn_with_the_socket_alone(kept: Path, tmp_path: Path):
    """What is held next is held otherwise: the seat of this plug is no parameter of a task."""
    words = ["blocks=[socket]", f"touches={kept}", f"out={tmp_path}/out"]
    assert acclimate.main(["calibrate", *words]) == 0
    narrow = SPACE.narrowed(TaskSpace.load(tmp_path / "out" / "space.yaml"))
    tasks = narrow.sample(400, np.random.default_rng(0))
    for name in ("socket_x", "socket_y", "socket_z", "socket_yaw"):
        drawn = np.array([each[name] for each in tasks])
        assert abs(drawn.mean() - ONE[name]) < 3 * drawn.std()
        wide = (SPACE[name].high - SPACE[name].low) / np.sqrt(12)
        assert drawn.std() < 0.3 * wide
    grasped = np.array([each["grasp_x"] for each in tasks])
    assert np.ptp(grasped) > 0.9 * (SPACE["grasp_x"].high - SPACE["grasp_x"].low)


def test_contact_tells_friction_and_stiffness_and_names_what_it_cannot(report: ProbeReport):
    found = measure("t", report, ("contact",)).posteriors[0]
    names = contact_priors().names
    told = dict(zip(names, found.identified.tolist(), strict=True))
    assert told["stiffness"] and told["contact_stiffness"]
    assert not told["clearance"] and not told["retention"]
    values = [ONE["friction"], ONE["stiffness"], *found.priors.nominal[2:]]
    error = np.abs(found.x - found.priors.to_standard(np.array(values)))
    assert (error < 3 * found.std)[:2].all()
    unseen = " ".join(found.unseen_directions())
    assert "clearance" in unseen and "retention" in unseen


@pytest.mark.parametrize("seed", range(4))
def test_friction_of_other_cells_is_within_its_interval_or_close(seed: int):
    one = task(0, seed=seed)
    found = measure("t", touched(Cell(one), blocks=("contact",)), ("contact",)).posteriors[0]
    std = float(np.sqrt(found.covariance[0, 0])) * found.priors.std[0]
    value = float(found.priors.to_physical(found.x)[0])
    assert abs(np.log(value / one["friction"])) < 3 * std


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["blocks=[socket]"], "need touches; expected touches=FILE"),
        (["blocks=[socket]", "robot=plan"], "have no plan"),
        (["blocks=[air,socket]", "robot=bridge"], "for socket and contact alone; found ['air']"),
        (["blocks=[socket]", "touches=none.json"], "none.json: No such file"),
        (["blocks=[socket]", "robot=twin", "touches={0}"], "leave the files out"),
    ],
)
def test_what_cannot_be_done_is_told_and_leaves_nothing(
    words: list[str], said: str, kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    given = [word.format(kept) for word in words]
    assert acclimate.main(["calibrate", *given, f"out={tmp_path}/out"]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_touches_of_no_use_leave_nothing(report: ProbeReport, tmp_path: Path):
    bad = tmp_path / "bad.json"
    bad.write_text(encoded(structs.replace(report, problem="the sensor is dead")))
    with pytest.raises(CalibrationError, match=r"bad\.json: the sensor is dead"):
        calibrate(CalibrateSettings(tmp_path / "out", blocks=("socket",), touches=bad))
    assert not (tmp_path / "out").exists()
    bad.write_text("{}")
    with pytest.raises(CalibrationError, match=r"bad\.json: "):
        read_touches(bad)


def test_files_are_written_together_or_not_at_all(tmp_path: Path):
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(CalibrationError, match="there"):
        write_together(folder, {"first.json": json.dumps(1), "not/there": ""})
    assert not folder.exists()


def test_a_plan_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "poses.csv").write_text("mine")
    words = ["calibrate", "robot=plan", "blocks=[wrench]", f"out={tmp_path}"]
    assert acclimate.main(words) == 2
    assert "poses.csv is there already" in capsys.readouterr().err
    assert (tmp_path / "poses.csv").read_text() == "mine"

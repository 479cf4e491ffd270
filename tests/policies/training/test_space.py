"""Training in a space that a calibration has narrowed."""

from pathlib import Path

import numpy as np
import pytest

from policies.algorithms.pearl.config import PearlSettings
from policies.training.runs import RunFolder
from policies.training.space import FILE, training_space
from sim.core.measured import Measured
from sim.core.parameter import Parameter, TaskSpaceError
from sim.core.registry import family
from sim.core.task_space import TaskSpace

SPACE = family("insertion").space


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """The plug's friction, measured."""
    p = SPACE["friction"]
    mean = (float(np.log(0.3)),)
    found = Measured(("friction",), mean, ((0.0025,),))
    parameter = Parameter("friction", p.unit, p.low, p.high, p.scale, p.nominal)
    TaskSpace("bench", (parameter,), {"by": "a test"}, measured=found).save(tmp_path / "made.yaml")
    return tmp_path / "made.yaml"


def settings(out: Path, **changes: object) -> PearlSettings:
    return PearlSettings(name="narrow", out=out, **changes)  # pyright: ignore[reportArgumentType]


def test_tasks_are_drawn_from_what_was_measured_and_the_rest_as_before(
    measured: Path, tmp_path: Path
):
    space = training_space(settings(tmp_path / "run", space=measured))
    tasks = space.sample(400, np.random.default_rng(0))
    drawn = np.log([task["friction"] for task in tasks])
    assert drawn.mean() == pytest.approx(np.log(0.3), abs=0.01)
    assert drawn.std() == pytest.approx(0.05, rel=0.1)
    wide = np.std([task["socket_x"] for task in SPACE.sample(400, np.random.default_rng(0))])
    assert np.std([task["socket_x"] for task in tasks]) == pytest.approx(wide, rel=0.1)


def test_a_run_keeps_the_space_when_its_file_is_gone(measured: Path, tmp_path: Path):
    given = settings(tmp_path / "run", space=measured)
    RunFolder(given)
    measured.unlink()
    assert (tmp_path / "run" / FILE).is_file()
    assert training_space(given).measured is not None
    RunFolder(given)  # and can be gone on with


def test_without_a_space_it_is_the_family_s(tmp_path: Path):
    assert training_space(settings(tmp_path)) == SPACE


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [("insertion", "name: x", "parameters"), ("cheetah-vel", None, "has nothing measured of")],
)
def test_a_space_that_does_not_fit_leaves_no_run(
    name: str, text: str | None, said: str, measured: Path, tmp_path: Path
):
    if text is not None:
        measured.write_text(text)
    with pytest.raises(TaskSpaceError, match=said):
        RunFolder(settings(tmp_path / "run", family=name, space=measured))
    assert not (tmp_path / "run" / "settings.yaml").exists()

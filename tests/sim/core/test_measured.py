"""Measured parameters: drawn jointly, within their ranges."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from sim.core.measured import Measured
from sim.core.parameter import Parameter, TaskSpaceError
from sim.core.task_space import TaskSpace

PAIR = Measured(("a", "b"), (1.0, 0.0), ((0.04, 0.03), (0.03, 0.09)))
WIDE = np.array([-99.0, 1e-9]), np.array([99.0, 99.0])
LOG = np.array([False, True])


def test_draws_have_the_mean_and_the_covariance():
    draws = PAIR.sample(40_000, np.random.default_rng(0), *WIDE, LOG)
    draws[:, 1] = np.log(draws[:, 1])  # b is normal in its logarithm
    np.testing.assert_allclose(draws.mean(axis=0), PAIR.mean, atol=0.01)
    np.testing.assert_allclose(np.cov(draws.T), PAIR.covariance, atol=0.002)


def test_draws_stay_within_the_ranges():
    low, high = np.array([0.9, 0.8]), np.array([1.05, 1.2])
    draws = PAIR.sample(1000, np.random.default_rng(0), low, high, LOG)
    assert draws.shape == (1000, 2)
    assert (draws >= low).all()
    assert (draws <= high).all()


def test_a_quantity_known_exactly_is_drawn_so():
    exact = Measured(("a",), (2.0,), ((0.0,),))
    draws = exact.sample(3, np.random.default_rng(0), *(np.array([v]) for v in (0, 3, False)))
    assert draws.tolist() == [[2.0]] * 3


def test_a_measurement_outside_the_range_is_told():
    with pytest.raises(ValueError, match="hardly any draw of 'a' is within"):
        PAIR.sample(4, np.random.default_rng(0), np.array([50.0, 0]), WIDE[1], LOG)


def test_through_yaml_and_back():
    assert Measured.from_dict(yaml.safe_load(yaml.safe_dump(PAIR.to_dict()))) == PAIR


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"names": ["a", "a"]}, "none twice"),
        ({"names": "ab"}, "list of names"),
        ({"mean": [1.0]}, "mean of 2"),
        ({"mean": [1.0, True]}, "list of numbers"),
        ({"mean": [1.0, float("nan")]}, "list of numbers"),
        ({"covariance": [[1.0, 0.0]]}, "covariance of 2 × 2"),
        ({"covariance": [[1.0, 0.5], [0.4, 1.0]]}, "not symmetric"),
        ({"covariance": [[1.0, 2.0], [2.0, 1.0]]}, "negative eigenvalue"),
        ({"other": 1}, "keys"),
    ],
)
def test_what_is_no_distribution_is_refused(change, said: str):
    with pytest.raises(ValueError, match=said):
        Measured.from_dict(PAIR.to_dict() | change)


SPACE = TaskSpace(
    "toy",
    (
        Parameter("a", "m", 0.0, 2.0, nominal=1.0),
        Parameter("other", "1", 0.0, 1.0, held_out=((0.0, 0.5),)),
        Parameter("b", "kg", 0.2, 5.0, "log", nominal=1.0),
    ),
    {"made": "by hand"},
    measured=PAIR,
)


def test_a_space_draws_what_was_measured_jointly_and_the_rest_as_before(tmp_path: Path):
    SPACE.save(tmp_path / "space.yaml")
    loaded = TaskSpace.load(tmp_path / "space.yaml")
    assert loaded == SPACE
    tasks = loaded.sample(3000, np.random.default_rng(0))
    values = np.array([[t["a"], np.log(t["b"]), t["other"]] for t in tasks])
    np.testing.assert_allclose(values[:, :2].mean(axis=0), PAIR.mean, atol=0.02)
    np.testing.assert_allclose(np.cov(values[:, :2].T), PAIR.covariance, atol=0.01)
    assert not ((values[:, 2] > 0.5) & (values[:, 2] < 0.75)).any()


def test_a_wide_space_takes_over_what_was_measured_in_another():
    wide = TaskSpace("wide", (Parameter("a", "m", -5.0, 5.0, held_out=((0.1, 0.2),)),), {"x": "y"})
    narrow = wide.narrowed(SPACE)
    drawn = [task["a"] for task in narrow.sample(2000, np.random.default_rng(0))]
    assert np.mean(drawn) == pytest.approx(1.0, abs=0.02)
    assert np.std(drawn) == pytest.approx(0.2, abs=0.02)
    assert narrow.provenance == {"x": "y", "made": "by hand"}
    assert wide.measured is None


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        (Parameter("c", "m", 0.0, 1.0), "nothing measured"),
        (Parameter("a", "rad", 0.0, 1.0), "measured in m on a linear scale"),
        (Parameter("b", "kg", 0.5, 1.0, nominal=0.7), "measured in kg on a log scale"),
    ],
)
def test_a_space_that_does_not_fit_the_measurement_is_refused(parameter: Parameter, said: str):
    with pytest.raises(TaskSpaceError, match=said):
        TaskSpace("other", (parameter,)).narrowed(SPACE)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ((Parameter("a", "m", 0.0, 1.0),), "no 'b'"),
        ((Parameter("a", "m", 0.0, 1.0, "area"), SPACE["b"]), "only a linear or a log scale"),
        ((Parameter("a", "m", 0.0, 1.0, held_out=((0, 1),)), SPACE["b"]), "1 bands"),
    ],
)
def test_what_cannot_be_drawn_as_measured_is_refused(parameters, said: str):
    with pytest.raises(TaskSpaceError, match=said):
        TaskSpace("bad", parameters, measured=PAIR)


def test_a_file_with_a_bad_measurement_names_the_file(tmp_path: Path):
    data = SPACE.to_dict() | {"measured": {"names": ["a"]}}
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(TaskSpaceError, match=r"bad\.yaml: measured: expected a mapping with keys"):
        TaskSpace.load(tmp_path / "bad.yaml")

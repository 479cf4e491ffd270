"""Laws of task spaces: units, splits, files, and what they refuse."""

import math

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sim.core.parameter import Parameter, TaskSpaceError
from sim.core.task_space import Task, TaskSpace
from sim.insertion.space import SPACE

BANDS = ((-0.6, -0.4), (0.3, 0.5))
SMALL = TaskSpace(
    "small",
    (
        Parameter("kind", "1", 0, 3, "choice", 1, ("a", "b", "c", "d"), unseen=("c",)),
        Parameter("mass", "kg", 0.1, 10, "log", 1, held_out=((-0.2, 0.2),)),
        Parameter("angle", "rad", -2, 1, held_out=BANDS),
        Parameter("fixed", "s", 0.5, 0.5, nominal=0.5),
    ),
    {"ranges": "made up"},
)

number = st.floats(-1e6, 1e6, allow_subnormal=False)


def stack_values(tasks: list[Task]) -> np.ndarray:
    """Values of several tasks (T, n_p)."""
    return np.stack([task.values for task in tasks])


@st.composite
def intervals(draw):
    low, high = sorted([draw(number), draw(number)])
    return (low, high) if high - low > 1e-3 else (low, low + 1.0)


def within(unit, bands):
    return np.any([(unit >= a) & (unit <= b) for a, b in bands], axis=0)


@given(intervals(), st.floats(-1, 1))
def test_linear_units_come_back(ends, unit):
    p = Parameter("x", "m", *ends, nominal=ends[0])
    assert math.isclose(float(p.to_unit(p.from_unit(np.array(unit)))), unit, abs_tol=1e-6)
    assert float(p.to_unit(np.array(ends[0]))) == -1 and float(p.to_unit(np.array(ends[1]))) == 1


@given(st.floats(1e-6, 1e3), st.floats(1.01, 1e4), st.floats(-1, 1))
def test_log_units_come_back_and_never_leave_the_range(low, ratio, unit):
    p = Parameter("x", "m", low, low * ratio, "log", low)
    value = p.from_unit(np.array(unit))
    assert p.low <= value <= p.high
    assert math.isclose(float(p.to_unit(value)), unit, abs_tol=1e-6)
    assert p.from_unit(np.array(-1.0)) >= p.low and p.from_unit(np.array(1.0)) <= p.high


def test_the_middle_of_a_log_range_is_the_geometric_mean():
    assert math.isclose(float(SMALL["mass"].from_unit(np.array(0.0))), 1.0)


def test_a_choice_comes_back_from_its_unit():
    values = np.arange(4.0)
    p = SMALL["kind"]
    assert (p.from_unit(p.to_unit(values)) == values).all()
    # Anything in between goes to the nearest.
    assert (p.from_unit(p.to_unit(values) + 0.3) == values).all()


def test_a_parameter_of_no_width_is_zero_in_units_and_constant_in_draws():
    assert SMALL["fixed"].to_unit(SMALL.task().values[3]) == 0
    assert {t["fixed"] for t in SMALL.sample(20, np.random.default_rng(0))} == {0.5}


@pytest.mark.parametrize("space", [SMALL, SPACE], ids=["small", "insertion"])
@pytest.mark.parametrize("split", ["train", "held_out", "unseen_choice", "all"])
def test_the_split_holds_for_every_draw(space, split):
    values = stack_values(space.sample(500, np.random.default_rng(1), split))
    for p, column in zip(space.parameters, values.T, strict=True):
        assert (column >= p.low).all() and (column <= p.high).all()
        if p.scale == "choice":
            drawn = {p.choices[int(v)] for v in column}
            expected = {
                "train": set(p.choices) - set(p.unseen),
                "held_out": set(p.choices) - set(p.unseen),
                "unseen_choice": set(p.unseen) or set(p.choices),
                "all": set(p.choices),
            }[split]
            assert drawn == expected
        elif p.held_out:
            inside = within(p.to_unit(column), p.held_out)
            if split == "train":
                assert not inside.any()
            elif split == "held_out":
                # The ends of a band may round outwards on their way through physical units.
                assert within(
                    p.to_unit(column), [(a - 1e-9, b + 1e-9) for a, b in p.held_out]
                ).all()
            else:
                assert inside.any() and not inside.all()


def test_every_held_out_band_gets_draws_in_proportion_to_its_width():
    p = Parameter("x", "m", 0, 1, held_out=((-1, -0.7), (0.2, 0.3)))
    unit = p.to_unit(p.sample(4000, np.random.default_rng(0), "held_out"))
    # Widths 0.3 and 0.1: three in four, standard deviation 0.007.
    assert abs((unit < 0).mean() - 0.75) < 0.03


def test_a_linear_draw_is_uniform_in_value_and_a_log_draw_in_its_logarithm():
    rng = np.random.default_rng(0)
    for p in (Parameter("x", "m", 1, 100, nominal=1), Parameter("x", "m", 1, 100, "log", 1)):
        counts = np.histogram(p.to_unit(p.sample(4000, rng, "all")), 4, (-1, 1))[0]
        assert (abs(counts - 1000) < 150).all()


def test_choices_get_equal_shares():
    values = stack_values(SMALL.sample(31, np.random.default_rng(0)))[:, 0]
    counts = [int((values == i).sum()) for i in (0, 1, 3)]
    assert sum(counts) == 31 and max(counts) - min(counts) <= 1


def test_the_same_generator_state_draws_the_same_tasks():
    draws = [stack_values(SMALL.sample(9, np.random.default_rng(s))) for s in (0, 0, 1)]
    assert (draws[0] == draws[1]).all() and (draws[0] != draws[2]).any()


def test_an_unknown_split_is_refused_and_no_task_is_an_empty_list():
    with pytest.raises(TaskSpaceError, match="no split 'test'"):
        SMALL.sample(3, np.random.default_rng(0), "test")  # pyright: ignore[reportArgumentType]
    assert SMALL.sample(0, np.random.default_rng(0)) == []


def test_a_task_is_read_by_name_and_cannot_be_written():
    task = SMALL.task(kind="d", angle=-1.5)
    assert task.choice("kind") == "d" and task["angle"] == -1.5 and task["mass"] == 1
    with pytest.raises(ValueError, match="read-only"):
        task.values[0] = 0


def test_a_task_keeps_values_of_its_own():
    values = SMALL.task().values.copy()
    task = Task(SMALL, values)
    values[2] = 99
    assert task["angle"] == 0


def test_units_of_a_task_lie_in_their_range_and_give_it_back():
    for task in SPACE.sample(50, np.random.default_rng(2), "all"):
        pairs = zip(SPACE.parameters, task.values, strict=True)
        unit = np.array([p.to_unit(value) for p, value in pairs])
        assert (abs(unit) <= 1 + 1e-12).all()
        back = [p.from_unit(u) for p, u in zip(SPACE.parameters, unit, strict=True)]
        assert np.allclose(back, task.values, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("space", [SMALL, SPACE], ids=["small", "insertion"])
def test_a_space_comes_back_from_its_file(space, tmp_path):
    path = tmp_path / "space.yaml"
    space.save(path)
    assert TaskSpace.load(path) == space
    again = TaskSpace.load(path).sample(5, np.random.default_rng(0))
    assert (stack_values(again) == stack_values(space.sample(5, np.random.default_rng(0)))).all()


def row(**changes):
    return {"name": "x", "unit": "m", "low": 0, "high": 1} | changes


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ({"low": 2.0, "high": 1.0}, "'x': low 2 is above high 1 m; swap them"),
        ({"low": math.nan, "high": 1.0}, "'x'.*finite"),
        ({"low": 0.0, "high": math.inf}, "'x'.*finite"),
        ({"low": 0.0, "high": 1.0, "nominal": math.nan}, "'x'.*finite"),
        ({"low": 0.0, "high": 1.0, "scale": "log"}, "log scale needs low > 0, got 0"),
        ({"low": 0.0, "high": 1.0, "scale": "cubic"}, "no scale 'cubic'.*choice"),
        ({"low": 1.0, "high": 2.0}, r"nominal 0 m is outside \[1, 2\]"),
        ({"low": 0.0, "high": 1.0, "held_out": ((0.5, 1.5),)}, r"\(0\.5, 1\.5\) is not within"),
        ({"low": 0.0, "high": 1.0, "held_out": ((0.5, 0.2),)}, r"\(0\.5, 0\.2\) is not within"),
        ({"low": 0.0, "high": 1.0, "choices": ("a",)}, "choices belong to scale 'choice'"),
        (
            {"low": 0.0, "high": 2.0, "scale": "choice", "choices": ("a", "b")},
            "low must be 0 and high",
        ),
        (
            {"low": 0.0, "high": 1.0, "scale": "choice", "choices": ("a", "b"), "unseen": ("c",)},
            r"unseen \['c'\] not among \['a', 'b'\]",
        ),
        (
            {"low": 0.0, "high": 0.0, "scale": "choice", "choices": ("a",), "unseen": ("a",)},
            "every choice is unseen",
        ),
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused_by_name(parameter, message):
    with pytest.raises(TaskSpaceError, match=message):
        Parameter("x", "m", **parameter)


def test_two_parameters_of_one_name_are_refused():
    with pytest.raises(TaskSpaceError, match=r"'s': \['x'\] named twice"):
        TaskSpace("s", (Parameter("x", "m", 0, 1), Parameter("x", "m", 0, 1)))


def test_bands_that_leave_nothing_to_train_on_are_refused():
    p = Parameter("x", "m", 0, 1, held_out=((-1, 0), (0, 1)))
    with pytest.raises(TaskSpaceError, match="'x': held-out bands leave nothing"):
        p.sample(2, np.random.default_rng(0), "train")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"angle": 1.5}, r"small\.angle = 1\.5 rad is outside \[-2, 1\]"),
        ({"angle": math.nan}, r"small\.angle = nan"),
        ({"weight": 1.0}, r"has no 'weight'; it has \['kind', 'mass', 'angle', 'fixed'\]"),
        ({"kind": "e"}, r"small\.kind = 'e' is not one of \['a', 'b', 'c', 'd'\]"),
        ({"angle": "b"}, r"small\.angle = 'b'"),
        ({"kind": 1.5}, r"small\.kind = 1\.5 is no whole number from 0 to 3"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused_by_name(values, message):
    with pytest.raises(TaskSpaceError, match=message):
        SMALL.task(**values)


def test_a_task_of_the_wrong_length_is_refused():
    with pytest.raises(TaskSpaceError, match=r"expected 4 values, got shape \(3,\)"):
        Task(SMALL, np.zeros(3))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1, 2], "expected a mapping at the top"),
        ({"name": "s"}, "keys name, parameters, provenance"),
        ({"name": "s", "parameters": [], "range": 1}, "keys name, parameters, provenance"),
        ({"name": "s", "parameters": [row(hihg=2)]}, r"'x': unknown \['hihg'\]; known are.*high"),
        ({"name": "s", "parameters": [{"name": "x"}]}, r"'x' lacks \['high', 'low', 'unit'\]"),
        ({"name": "s", "parameters": [row(low=3)]}, "low 3 is above high 1"),
        ({"name": "s", "parameters": [row(), row()]}, "named twice"),
        ({"name": "s", "parameters": [row(low="few")]}, "'x'.*low.*'few'"),
        ({"name": "s", "parameters": [row(held_out=[0.1])]}, "'x'.*held_out"),
        ({"name": "s", "parameters": ["x"]}, "parameter 0"),
        ({"name": "s", "parameters": 3}, "parameters"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_with_its_path(tmp_path, data, message):
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(TaskSpaceError, match=rf"(?s)space\.yaml: .*{message}"):
        TaskSpace.load(path)


@pytest.mark.parametrize("text", ["name: [", None, "\x00"])
def test_a_file_that_cannot_be_read_is_refused_with_its_path(tmp_path, text):
    path = tmp_path / "space.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(TaskSpaceError, match=r"space\.yaml"):
        TaskSpace.load(path)


def test_a_file_that_cannot_be_read_is_named_once(tmp_path):
    with pytest.raises(TaskSpaceError, match=r"no\.yaml: No such file or directory$"):
        TaskSpace.load(tmp_path / "no.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TaskSpaceError, match=r"binary\.yaml: .*can't decode"):
        TaskSpace.load(tmp_path / "binary.yaml")

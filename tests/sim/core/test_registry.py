"""The contract that every family's worlds keep."""

import importlib
import subprocess
import sys
from importlib.metadata import EntryPoint

import numpy as np
import pytest

from adapt.errors import AcclimateError
from sim.core import registry
from sim.core.family import UniformActions
from sim.core.registry import FAMILIES, GROUP, family
from sim.core.worlds import Step

WORLDS = 3
ARRAYS = tuple(Step.__dataclass_fields__)


@pytest.fixture
def made():
    """Makes worlds that are closed when the test ends."""
    opened = []

    def make(name, n=WORLDS, seed=0):
        found = family(name)
        worlds = found.make(n, seed, 2)
        opened.append(worlds)
        worlds.assign(found.space.sample(n, np.random.default_rng(7), "all"))
        return worlds

    yield make
    for worlds in opened:
        worlds.close()


@pytest.fixture(params=sorted(FAMILIES))
def name(request):
    return request.param


def everyone(worlds) -> np.ndarray:
    return np.ones(worlds.worlds, bool)


def trace(worlds, periods=6) -> tuple[np.ndarray, list[Step]]:
    """First observation, and the steps under even random actions of a fixed seed."""
    rng = np.random.default_rng(11)
    first = worlds.reset(everyone(worlds))
    shape = (worlds.worlds, worlds.spec.action_size)
    return first, [worlds.step(rng.uniform(-1, 1, shape)) for _ in range(periods)]


def test_steps_have_the_shapes_and_types_of_the_spec(made, name):
    worlds = made(name)
    first, steps = trace(worlds, 2)
    n_o = worlds.spec.observation_size
    for observation in (first, *(s.observation for s in steps)):
        assert observation.shape == (WORLDS, n_o) and observation.dtype == np.float32
    for step in steps:
        for field in ARRAYS[1:]:
            assert getattr(step, field).shape == (WORLDS,), field
        for field in ("truncated", "success", "diverged", "done"):
            assert getattr(step, field).dtype == bool
        assert set(np.unique(step.discount)) <= {0.0, 1.0}
        for field in ARRAYS:
            assert np.isfinite(getattr(step, field)).all(), field
    assert worlds.factors().shape == (WORLDS, len(worlds.spec.factors))


def test_specs_name_each_field_and_factor_once_in_order(name):
    spec = family(name).spec
    for fields in (spec.observation, spec.action, spec.factors):
        assert len({f.name for f in fields}) == len(fields)
    assert [f.index for f in spec.factors] == list(range(len(spec.factors)))
    for field in spec.action:
        assert (field.low, field.high) == (field.offset - field.scale, field.offset + field.scale)
    assert spec.horizon > 0 and spec.control_period > 0


def test_specs_say_what_their_numbers_mean(name):
    spec = family(name).spec
    assert spec.reward
    for field in (*spec.observation, *spec.action):
        assert field.description or field.elements, field.name
        assert len(field.elements) in (0, field.size), field.name


def test_the_same_seed_gives_the_same_numbers_and_another_gives_others(made, name):
    runs = [trace(made(name, seed=seed)) for seed in (3, 3, 4)]
    for field in ARRAYS:
        a, b = ([getattr(s, field) for s in run[1]] for run in runs[:2])
        assert np.array_equal(a, b), field
    assert (runs[0][0] == runs[1][0]).all()
    worlds = made(name)
    if (worlds.reset(everyone(worlds)) != worlds.reset(everyone(worlds))).any():
        assert (runs[0][0] != runs[2][0]).any()


def test_no_memory_is_shared_between_steps(made, name):
    first, steps = trace(made(name), 3)
    arrays = [first] + [getattr(s, f) for s in steps for f in ARRAYS]
    for i, one in enumerate(arrays):
        assert not any(np.shares_memory(one, other) for other in arrays[:i])


def test_no_element_of_the_observation_is_dead(made, name):
    _, steps = trace(made(name), 8)
    spread = np.concatenate([s.observation for s in steps]).std(axis=0)
    assert (spread > 1e-7).all(), np.flatnonzero(spread <= 1e-7)


def test_a_reset_begins_in_the_worlds_that_it_names_alone(made, name):
    worlds = made(name)
    trace(worlds)
    elapsed = worlds.elapsed.copy()
    nobody = np.zeros(WORLDS, bool)
    before, again = worlds.reset(nobody), worlds.reset(nobody)
    after = worlds.reset(np.array([False, True, False]))
    assert worlds.elapsed.tolist() == [elapsed[0], 0, elapsed[2]]
    assert (after[1] != before[1]).any()
    # Where nothing is measured with noise, the others are where they were, to the bit.
    if (before == again).all():
        assert (after[[0, 2]] == before[[0, 2]]).all()


def test_an_episode_that_nothing_ends_is_cut_off_at_the_horizon(made, name):
    worlds = made(name)
    worlds.reset(everyone(worlds))
    alive = everyone(worlds)
    for period in range(1, worlds.spec.horizon + 1):
        step = worlds.step(np.zeros((WORLDS, worlds.spec.action_size)))
        assert (
            step.truncated[alive & (step.discount == 1)] == (period == worlds.spec.horizon)
        ).all()
        alive &= ~step.done


def test_observations_lie_within_the_bounds_of_their_fields(made, name):
    worlds = made(name)
    fields = worlds.spec.observation
    low = np.concatenate([np.full(f.size, f.low) for f in fields])
    high = np.concatenate([np.full(f.size, f.high) for f in fields])
    first, steps = trace(worlds, 30)
    for observation in (first, *(s.observation for s in steps)):
        assert ((observation >= low) & (observation <= high)).all()


def test_actions_beyond_their_range_count_as_its_ends(made, name):
    ends = []
    for factor in (1.0, 5.0):
        worlds = made(name)
        worlds.reset(everyone(worlds))
        signs = np.resize([1.0, -1.0], worlds.spec.action_size)
        ends.append(worlds.step(factor * np.tile(signs, (WORLDS, 1))))
    for field in ARRAYS:
        assert np.array_equal(*(getattr(s, field) for s in ends)), field


def test_wrong_numbers_of_tasks_and_actions_are_refused(made, name):
    worlds, n_a = made(name), family(name).spec.action_size
    worlds.reset(everyone(worlds))
    with pytest.raises(ValueError, match="3 worlds need as many tasks, got 1"):
        worlds.assign([family(name).space.task()])
    with pytest.raises(ValueError, match=rf"\(3, {n_a + 1}\), expected \(3, {n_a}\)"):
        worlds.step(np.zeros((WORLDS, n_a + 1)))
    action = np.zeros((WORLDS, n_a))
    action[1, -1] = np.nan
    with pytest.raises(ValueError, match=r"action '\w+' of world 1 is nan"):
        worlds.step(action)


def test_scripts_act_within_range_and_differ_from_world_to_world(made, name):
    worlds = made(name)
    observation = worlds.reset(everyone(worlds))
    script = family(name).script(worlds, np.random.default_rng(0))
    script.begin(everyone(worlds))
    for _ in range(5):
        action = script.act(observation)
        assert action.shape == (WORLDS, worlds.spec.action_size)
        assert (np.abs(action) <= 1).all() and len(np.unique(action, axis=0)) == WORLDS
        observation = worlds.step(action).observation


def test_uniform_actions_are_uniform(made):
    worlds = made("point-sparse", n=2000)
    action = UniformActions(worlds, np.random.default_rng(0)).act(np.zeros((2000, 2)))
    assert abs(action.mean()) < 0.04 and abs(action.var() - 1 / 3) < 0.02


def test_factors_are_standardised_over_the_space(name):
    found, n = family(name), 3000
    tasks = found.space.sample(n, np.random.default_rng(0), "all")
    factors = np.array([found.factors(t) for t in tasks])
    # The mean's standard error is 0.018; the variance's grows with what is rare and far from it.
    spread = np.sqrt(((factors**4).mean(axis=0) - 1) / n)
    assert (abs(factors.mean(axis=0)) < 0.08).all()
    assert (abs(factors.var(axis=0) - 1) < 0.02 + 3 * spread).all()


def test_worlds_factors_are_their_tasks(made, name):
    worlds = made(name)
    tasks = family(name).space.sample(WORLDS, np.random.default_rng(7), "all")
    expected = [family(name).factors(t) for t in tasks]
    assert np.allclose(worlds.factors(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "hovering",
            r"no task family 'hovering'; expected one of ant-dir, .* package\.module:NAME",
        ),
        ("point_sparse", r"no task family 'point_sparse' \(did you mean 'point-sparse'\?\)"),
        (
            "no_such_module:FAMILY",
            r"'no_such_module:FAMILY': No module named .* FOLDER/FILE.py:NAME",
        ),
        (":FAMILY", r"':FAMILY': "),
        ("no/such.py:FAMILY", r"'no/such.py:FAMILY': no file .*/no/such.py"),
        (".point:FAMILY", r"'.point:FAMILY': "),
        (
            "sim.core.family:Family",
            r"sim\.core\.family holds a type under 'Family'; expected a Family",
        ),
        ("sim.core.registry:FAMILY", r"sim\.core\.registry holds nothing under 'FAMILY'"),
        ("sim.core.registry:", r"sim\.core\.registry holds nothing under ''"),
    ],
)
def test_a_family_that_is_not_there_is_named(name, text):
    with pytest.raises(AcclimateError, match=text):
        family(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\nFAMILY = (", r"mine\.py:2: SyntaxError: '\(' was never closed"),
        ("x = 1\n\nFAMILY = 1 / 0\n", r"mine\.py:3: ZeroDivisionError: division by zero"),
        (
            "import nothing_such\n",
            r"mine\.py:1: ModuleNotFoundError: No module named 'nothing_such'",
        ),
        ("raise SystemExit(3)\n", r"mine\.py:1: SystemExit: 3"),
    ],
)
def test_what_a_users_file_raises_is_named_with_its_line(tmp_path, monkeypatch, text, message):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine.py").write_text(text)
    # The same again, with nothing left over from the first time.
    for _ in range(2):
        with pytest.raises(AcclimateError, match=message):
            family(f"{tmp_path}/mine.py:FAMILY")


def test_a_file_holds_a_family_and_may_import_its_neighbours(tmp_path, monkeypatch):
    folder = tmp_path / "größe (neu)"
    folder.mkdir()
    (folder / "neighbour.py").write_text("from tests.support.toy_worlds import FAMILY\n")
    # Ours wins against a neighbour of the same name.
    (folder / "sim.py").write_text("raise ImportError\n")
    (folder / "here.py").write_text("from neighbour import FAMILY\nfrom sim.core import Family\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    found = family(f"{folder}/here.py:FAMILY")
    assert found.spec.name == "toy"
    monkeypatch.chdir(folder)
    assert family("here.py:FAMILY") is found


def test_a_family_is_imported_when_it_is_asked_for():
    code = (
        "import sys; from sim.core import family; before = set(sys.modules);"
        "family('point-sparse');"
        "assert 'sim.benchmarks.point' in set(sys.modules) - before;"
        "assert not any(n.startswith(('sim.insertion', 'sim.robots')) for n in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_another_packages_family_is_found_by_its_entry_point_and_replaces_none(monkeypatch):
    strangers = [
        EntryPoint("toy", "tests.support.toy_worlds:FAMILY", GROUP),
        EntryPoint("insertion", "tests.support.toy_worlds:FAMILY", GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: strangers if group == GROUP else ())
    assert family("toy").spec.name == "toy"
    assert family("insertion").spec.name == "insertion"
    with pytest.raises(AcclimateError, match="point-sparse, toy, "):
        family("hovering")


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("sim.families", ("FAMILIES", "Family", "Script", "UniformActions", "family")),
        ("sim.tasks", ("Parameter", "Split", "Task", "TaskSpace", "TaskSpaceError")),
        ("sim.worlds", ("Step", "WorldSpec", "Worlds", "check_action")),
    ],
)
def test_former_public_paths_stay(module, names):
    assert all(hasattr(importlib.import_module(module), name) for name in names)

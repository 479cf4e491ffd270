"""Task sets drawn once and for all, and what a space makes of them."""

from dataclasses import replace

import numpy as np
import pytest

from sim.core.fixed_sets import FixedSets
from sim.core.parameter import Parameter, TaskSpaceError
from sim.core.task_space import TaskSpace

FIXED = TaskSpace(
    "fixed",
    (
        Parameter("radius", "m", 0.0, 3.0, "area", 1.0),
        Parameter("mass", "kg", 1.0, 2.0, "log", 1.5),
    ),
    fixed=FixedSets(train=6, held_out=4, seed=3),
)


def fixed_rows(n, split, seed=0, space=FIXED):
    return [tuple(t.values) for t in space.sample(n, np.random.default_rng(seed), split)]


def test_fixed_sets_are_always_the_same_and_share_no_task():
    train, held = set(fixed_rows(6, "train")), set(fixed_rows(4, "held_out"))
    assert len(train) == 6 and len(held) == 4 and not train & held
    assert set(fixed_rows(6, "train", seed=9)) == train
    assert fixed_rows(6, "train", seed=9) != fixed_rows(6, "train", seed=0)
    assert not set(fixed_rows(20, "all")) & (train | held)


def test_more_draws_than_tasks_take_each_as_often_as_the_others():
    rows = fixed_rows(18, "train")
    assert all(rows.count(r) == 3 for r in set(rows))
    assert fixed_rows(0, "train") == []


def test_a_longer_training_set_leaves_the_held_out_one_as_it_was():
    longer = replace(FIXED, fixed=FixedSets(train=50, held_out=4, seed=3))
    assert set(fixed_rows(4, "held_out", space=longer)) == set(fixed_rows(4, "held_out"))
    other = replace(FIXED, fixed=FixedSets(train=6, held_out=4, seed=4))
    assert not set(fixed_rows(4, "held_out", space=other)) & set(fixed_rows(4, "held_out"))


def test_a_space_that_holds_nothing_out_says_so():
    none = replace(FIXED, fixed=FixedSets(train=6, held_out=0))
    assert FIXED.holds_out("held_out") and not none.holds_out("held_out")
    assert not FIXED.holds_out("train") and not FIXED.holds_out("unseen_choice")
    with pytest.raises(TaskSpaceError, match="'fixed' holds no task out"):
        none.sample(1, np.random.default_rng(0), "held_out")


def test_a_space_with_bands_has_no_fixed_sets_beside_them():
    band = Parameter("size", "1", -1, 1, held_out=((0.0, 0.5),))
    with pytest.raises(TaskSpaceError, match=r"\['size'\] need hold nothing out"):
        TaskSpace("both", (band,), fixed=FixedSets(1, 1))


def test_fixed_sets_come_back_from_their_file(tmp_path):
    FIXED.save(tmp_path / "space.yaml")
    assert TaskSpace.load(tmp_path / "space.yaml") == FIXED


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"train": 0, "held_out": 0}, "fixed: train and held_out must not both be 0"),
        ({"train": 1, "held_out": -1}, "fixed: held_out .* got -1"),
        ({"train": 1, "held_out": 1, "sed": 1}, "fixed: .*sed.* it has keys train, held_out, seed"),
        ([1, 2], "fixed: expected a mapping, got list"),
    ],
)
def test_fixed_sets_that_make_no_sense_are_refused_by_name(row, message):
    with pytest.raises(TaskSpaceError, match=message):
        TaskSpace.from_dict({**FIXED.to_dict(), "fixed": row})


def test_an_area_draw_is_uniform_over_the_disc():
    draws = FIXED["radius"].sample(4000, np.random.default_rng(0), "all")
    # A quarter of the disc's area lies within half its radius: standard error 0.007.
    assert abs((draws < 1.5).mean() - 0.25) < 0.03 and draws.max() <= 3.0
    assert FIXED["radius"].from_unit(FIXED["radius"].to_unit(draws)) == pytest.approx(draws)
    with pytest.raises(TaskSpaceError, match="area scale needs low ≥ 0, got -1"):
        Parameter("radius", "m", -1.0, 1.0, "area")

"""Schedules: what a task becomes within an episode, and what cannot change."""

import pytest

from adapt.errors import AcclimateError
from sim.core.schedule import Change, Schedule, changeable, read_schedule
from sim.locomotion.task import SPACE
from tests.support.toy_worlds import FAMILY as TOY

COURSE = Schedule(
    changes=(
        Change(2.0, {"ice": 0.5}, "ice"),
        Change(4.0, {"payload": 8.0, "terrain": "flat"}),
    ),
    start={"friction": 0.7},
)


def test_changes_add_up_and_leave_everything_else(tmp_path):
    task = SPACE.task(friction=0.3, ice=0.1, delay=0.02)
    (t0, first), (t1, icy), (t2, loaded) = COURSE.tasks(task)
    assert (t0, t1, t2) == (0.0, 2.0, 4.0)
    assert (first["friction"], first["ice"], first["delay"]) == (0.7, 0.1, 0.02)
    assert (icy["ice"], icy["payload"]) == (0.5, 0.0)
    assert (loaded["ice"], loaded["payload"], loaded["friction"]) == (0.5, 8.0, 0.7)
    COURSE.save(tmp_path / "course.yaml")
    assert read_schedule(tmp_path / "course.yaml") == COURSE


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("changes: [{at: 0, values: {}}]", r"course.yaml: .*> 0.0"),
        ("changes: [{at: 1, values: {}, by: me}]", r"unknown field `by`"),
        ("[1, 2", "course.yaml"),
        ("changes: [{at: 2, values: {}}, {at: 1, values: {}}]", "times that rise"),
        ("changes: [{at: 2, values: {glue: 1}}]", r"change at 2 s: .* has no 'glue'"),
        ("changes: [{at: 2, values: {payload: 99}}]", r"payload = 99 kg is outside"),
        ("start: {terrain: lava}", r"start: .* 'lava' is not one of"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_told_with_its_place(tmp_path, text, told):
    path = tmp_path / "course.yaml"
    path.write_text(text)
    with pytest.raises(AcclimateError, match=told):
        read_schedule(path).tasks(SPACE.task())
    with pytest.raises(AcclimateError, match=r"none.yaml: No such file"):
        read_schedule(tmp_path / "none.yaml")


def test_worlds_that_cannot_change_are_refused_by_their_familys_name():
    with pytest.raises(AcclimateError, match=r"'toy' cannot change its tasks within an episode"):
        changeable("toy", TOY.make(1, 0, 1))

"""The benchmark of the published table: its rows, how they are counted, and that the attempts of
scripts are the twin's."""

import numpy as np
import pytest

from benchmarks.bench_plugs import FAILED, PUBLISHED, TOUCHING, Row, found, sockets, whole
from benchmarks.support.scripted_attempts import attempts
from robot_bridge.protocol.messages import Command, Mode, ResetRequest
from sim.core.registry import family
from sim.insertion.parts.described import named_plugs
from sim.insertion.parts.spaces import CONDITIONS
from sim.insertion.scripted import Privileged
from sim.twin.twin import Twin, draw_tasks
from tests.robot_bridge.trial.test_probing import touched
from tests.robot_bridge.trial.test_report import HEADER, TrialWriter, episode


def test_every_plug_of_the_table_has_a_published_figure():
    assert sorted(PUBLISHED) == named_plugs()


def test_a_scripts_attempt_is_the_twins():
    (met, task) = sockets("eu_ac", "", 2)
    assert not np.array_equal(met.values, task.values)
    twin = Twin(Row("eu_ac", "", TOUCHING).family, "arm", {"held_out": 100})
    twin.reset(ResetRequest(0, 0, 0, True))
    assert twin._task is not None and np.array_equal(twin._task.values, met.values)
    scale = np.array([f.scale for f in twin.family.spec.action])
    steps = 0
    while True:
        action = Privileged().act(twin.worlds)[0]
        step = twin.follow(Command(1, 0, Mode.TRACK, action * scale))
        steps += 1
        if step.done[0]:
            break
    it = attempts("privileged", [met], 0)
    assert it.success[0] == step.success[0]
    assert it.seconds[0] == pytest.approx(steps * twin.family.spec.control_period)
    assert it.peak_force[0] == twin.worlds.peak_force[0]


def test_a_harder_conditions_family_has_its_sockets():
    for condition in CONDITIONS:
        row = Row("us_ac", condition, TOUCHING)
        (drawn,) = draw_tasks(family(row.family).space, {"held_out": 100}, 0)[:1]
        np.testing.assert_array_equal(drawn.values, sockets("us_ac", condition, 1)[0].values)
    with pytest.raises(AttributeError):
        from benchmarks.support import harder_plugs

        _ = harder_plugs.nothing


def tried(scratch, socket, wins, before=None):
    """A socket's folder: attempts that succeed or fail, touches before one of them."""
    row = Row("us_ac", "", TOUCHING)
    folder = row.folder(scratch, socket)
    with TrialWriter(folder, HEADER) as writer:
        for number, success in enumerate(wins):
            writer.add(episode(0, number, bool(success)))
        writer.summarise([])
    if before is not None:
        touched(folder, 0, before)
    return row, folder


def test_an_exploration_counts_as_an_episode_that_inserts_nothing(tmp_path):
    wins = [0, 1, 0, *[1] * 8]
    tried(tmp_path, 0, [1] * 11)
    row, folder = tried(tmp_path, 1, wins, before=1)
    it = found(row, tmp_path)
    assert it.success[0].all()
    assert it.success[1].tolist() == [False, False, True, False, *[True] * 7]
    assert it.touch_force == [8.0] and it.touch_seconds == [51.5]
    assert len(it.peak_force) == 22
    # A socket that was given up half way is tried again, and what follows it does not count.
    _, half = tried(tmp_path, 2, wins[:4])
    tried(tmp_path, 3, [1] * 11)
    assert not whole(half, row.episodes) and whole(folder, row.episodes)
    assert len(found(row, tmp_path).success) == 2
    # Unless touches told nothing there: then its other attempts are failures.
    (half / FAILED).write_text("no contact")
    it = found(row, tmp_path)
    assert it.no_prior == 1
    assert it.success[2].tolist() == [False, True, False, True, *[False] * 7]

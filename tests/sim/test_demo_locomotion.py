"""The walking demo over real processes, and what its page says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from adapt.bundle.policy_bundle import write_bundle
from adapt.errors import AcclimateError
from robot_bridge.protocol.messages import Outcome
from robot_bridge.protocol.operator_messages import BeliefPoint
from robot_bridge.trial.folder import EpisodeLine, read_about
from sim.demo_locomotion import COURSE, Walk, check_runs, describe
from sim.locomotion.spec import CONTROL_PERIOD, HORIZON, SPEC
from sim.locomotion.task import SPACE
from sim.render.takes import Take
from tests.support import tiny_bundle
from tests.support.bridge.local_bridge import ROOT


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    """A bundle whose weights are random but whose fields and factors are the quadruped's."""
    manifest, graphs, golden = tiny_bundle.build(
        observation_size=SPEC.observation_size,
        action_size=SPEC.action_size,
        control_period=SPEC.control_period,
    )
    latent = msgspec.structs.replace(manifest.latent, factors=[SPEC.factors[3]])
    latent = msgspec.structs.replace(
        latent, factors=[msgspec.structs.replace(SPEC.factors[3], index=0)]
    )
    manifest = msgspec.structs.replace(
        manifest,
        observation=list(SPEC.observation),
        action=list(SPEC.action),
        latent=latent,
        limits=list(SPEC.limits),
    )
    path = tmp_path_factory.mktemp("demo") / "bundle"
    write_bundle(path, manifest, graphs, golden)
    return path


def test_the_course_is_walked_twice_and_its_page_has_both(bundle: Path, tmp_path: Path) -> None:
    words = (f"bundle={bundle}", f"out={tmp_path}/out", "groups.held_out=1", "film=false")
    done = subprocess.run(
        [sys.executable, "-m", "acclimate", "demo", "family=locomotion", *words],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    text = Path(done.stdout.split()[-1]).read_text()
    assert "With its belief, and without" in text
    assert "a knee at 30 %" in text
    assert "Return of each run" in text
    assert "0 %" not in text.split("What was run")[0].replace("30 %", "")
    told = read_about(tmp_path / "out").changes[0]
    assert [change.step for change in told] == [0, 250, 500, 750]
    loads = [change.truth["payload"] for change in told]
    assert loads == pytest.approx([0.0, 8.0, 0.0, 0.0], abs=1e-6)
    assert told[2].truth["strength_FR_calf"] == pytest.approx(0.3, abs=1e-6)
    assert not list(tmp_path.glob("acclimate-*"))


def walk(name: str, folder: Path, ends: list[int]) -> Walk:
    """Runs of constant error that fall after so many periods."""
    lines, errors = [], []
    belief = BeliefPoint(0, 0, (0.0,), (1.0,))
    for number, end in enumerate(ends):
        values = SPACE.task(**COURSE.start).values
        gauge = np.full(end + 1, 0.1 * (number + 1))
        Take("locomotion", "", values, 0.02, np.zeros((end + 1, 19)), gauge, False).save(
            folder, number, 0
        )
        names = ["distance", "progress", "asked", "energy", "energy_per_weight", "return"]
        measures = dict.fromkeys(names, 2.0)
        reason = "time is up" if end == HORIZON else "fell"
        outcome = Outcome(False, end, end * CONTROL_PERIOD, reason, measures, "return")
        lines.append(EpisodeLine(number, 0, 0, outcome, {}, belief, belief, (), (), ""))
        errors.append(gauge)
    return Walk(name, lines, errors, folder)


def test_means_are_over_the_runs_that_are_still_on_their_feet(tmp_path: Path) -> None:
    ours, theirs = (walk(n, tmp_path / n, ends) for n, ends in (("a", [HORIZON, 300]), ("b", [9])))
    totals, course = describe([ours, theirs]).sections
    assert totals.rows[0] == ("falls", "1 of 2 runs", "1 of 1 runs")
    assert [row[1] for row in course.rows] == ["0.150", "0.117", "0.100", "0.100"]
    assert [row[2] for row in course.rows] == ["0.100", "–", "–", "–"]
    error, standing = course.charts
    assert error.lines[0].y[200] == pytest.approx(0.15)
    assert error.lines[0].y[HORIZON] == pytest.approx(0.1)
    assert error.lines[1].y[10:] == (None,) * (HORIZON + 1 - 10)
    assert (standing.lines[0].y[300], standing.lines[0].y[301]) == (2.0, 1.0)


def test_the_course_has_no_other_groups() -> None:
    assert check_runs({}) == 6
    with pytest.raises(AcclimateError, match=r"expected groups.held_out alone, got unseen_choice"):
        check_runs({"unseen_choice": 3})

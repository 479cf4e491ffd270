"""A published family from training to episodes on a twin, through the bridge."""

from pathlib import Path

import numpy as np
import pytest

import acclimate
from adapt.bundle import read_manifest
from sim.core.registry import family
from sim.render.film import frames
from sim.render.takes import Take
from tests.support.bridge.twin_trial import trial_on_a_twin

TINY = (
    *("experiment=cheetah_vel", "iterations=2", "script_iterations=1", "worlds=2"),
    *("run_steps=200", "train_tasks=2", "updates_per_iteration=1", "validation_tasks=2"),
    *("validation_every=2", "learner.tasks_per_batch=2", "threads=1", "device=cpu"),
)


@pytest.mark.slow
def test_cheetah_vel_runs_as_a_robot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert acclimate.main(["train", *TINY, "out=run"]) == 0
    assert acclimate.main(["export", "run=run", "out=bundle"]) == 0
    manifest, _ = read_manifest(tmp_path / "bundle")
    spec = family("cheetah-vel").spec
    assert (tuple(manifest.observation), tuple(manifest.action)) == (spec.observation, spec.action)
    assert manifest.reward == spec.reward
    takes = tmp_path / "takes"
    words = ("family=cheetah-vel", "groups.held_out=1", f"takes={takes}")
    lines = trial_on_a_twin(tmp_path / "bundle", tmp_path, 1, *words)
    assert [(line.task, line.episode) for line in lines] == [(0, 0), (0, 1)]
    for line in lines:
        outcome = line.outcome
        assert (outcome.steps, outcome.reason, outcome.success) == (200, "time is up", False)
        assert outcome.duration == pytest.approx(200 * spec.control_period)
        take = Take.load(takes / f"0000-{line.episode:02d}.npz")
        assert outcome.measures == {"return": pytest.approx(take.gauge.sum(), rel=1e-5)}
        assert take.joints.shape == (201, 9)
    first = next(frames([take], ["episode 2"]))
    assert first.dtype == np.uint8
    assert set(lines[0].truth) == {"velocity"}

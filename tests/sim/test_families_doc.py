"""The page on a family of one's own: its code trains, is judged and exported as the page says."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import acclimate
from adapt.bundle.policy_bundle import PolicyBundle
from sim.gym import FamilyEnv
from tests.support.bridge.twin_trial import trial_on_a_twin

PAGE = (Path(__file__).resolve().parents[2] / "docs/families.md").read_text()
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [shlex.split(line)[1:] for line in re.findall(r"^acclimate .*", PAGE, re.MULTILINE)]
# Later words win: the page's training, cut short.
SHORT = {
    "train": [
        *(
            "iterations=2",
            "script_iterations=1",
            "updates_per_iteration=2",
            "worlds=4",
            "threads=1",
        ),
        *("train_tasks=4", "validation_tasks=4", "validation_every=2", "learner.tasks_per_batch=2"),
    ],
    "evaluate": ["tasks=4", "episodes=1", "threads=1"],
    "export": [],
}


@pytest.fixture
def windy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (code,) = CODE
    (tmp_path / "windy.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_the_pages_commands_train_judge_export_and_try_it(windy: Path) -> None:
    assert [words[0] for words in COMMANDS] == [*SHORT, "bridge", "twin", "trial"]
    for command, *words in COMMANDS[:3]:
        assert acclimate.main([command, *words, *SHORT[command]]) == 0
    rows = json.loads((windy / "runs/windy-0/evaluation.json").read_text())["rows"]
    assert {row["group"] for row in rows} == {"held_out"}
    assert {p.name for p in (windy / "windy").glob("*.png")} == {
        "windy.py-FAMILY-adaptation.png",
        "windy.py-FAMILY-learning.png",
    }
    assert PolicyBundle.load(windy / "windy-bundle").manifest.action_size == 2
    twin = COMMANDS[4][1:]
    lines = trial_on_a_twin(windy / "windy-bundle", windy, 2, *twin)
    assert [line.outcome.steps for line in lines] == [40] * 4
    assert {name for line in lines for name in line.outcome.measures} == {"return"}
    assert set(lines[0].truth) == {"wind_x", "wind_y"}


def test_it_is_a_gymnasium_environment_with_factors_of_unit_variance(windy: Path) -> None:
    env = FamilyEnv("windy:FAMILY")
    check_env(env, skip_render_check=True)
    env.close()
    import windy as module  # pyright: ignore[reportMissingImports]

    tasks = module.SPACE.sample(4000, np.random.default_rng(0), "all")
    factors = np.stack([module.factors(task) for task in tasks])
    assert np.abs(factors.mean(0)).max() < 0.06
    assert np.abs(factors.std(0) - 1).max() < 0.05

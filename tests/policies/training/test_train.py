"""A training run: resumed exactly after kill -9, checkpoints whole, settings guarded."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from adapt.errors import AcclimateError
from policies.algorithms.pearl.config import PearlConfig, PearlSettings
from policies.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from policies.training.cli import train
from policies.training.files import OutputError
from policies.training.runs import RunFolder, load_best, read_log
from policies.training.trainer import Trainer

SMALL = {
    "worlds": 3,
    "run_steps": 12,
    "train_tasks": 5,
    "iterations": 4,
    "script_iterations": 1,
    "updates_per_iteration": 3,
    "refit_normalisers": True,
    "validation_tasks": 2,
    "validation_episodes": 1,
    "validation_every": 2,
    "checkpoint_every": 1,
    "threads": 1,
}


def settings(out: Path, **changes: object) -> PearlSettings:
    learner = PearlConfig(capacity=12, tasks_per_batch=2, rows_per_task=4)
    return PearlSettings(name="small", out=out, **{"learner": learner, **SMALL, **changes})


def numbers(folder: Path) -> list[dict[str, float]]:
    """The log without what a clock measured."""
    return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in read_log(folder)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without interruption."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    train(settings(out))
    return out


def test_a_killed_run_goes_on_to_the_same_numbers(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    words = [f"{k}={v}" for k, v in SMALL.items()]
    words += ["name=small", f"out={out}", "learner.capacity=12"]
    words += ["learner.tasks_per_batch=2", "learner.rows_per_task=4"]
    command = [sys.executable, "-m", "acclimate", "train", *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not (out / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (out / "checkpoint.pt").exists()
    train(settings(out))
    assert len(numbers(out)) == SMALL["iterations"]
    assert numbers(out) == numbers(whole)
    there, here = load_checkpoint(whole / "checkpoint.pt"), load_checkpoint(out / "checkpoint.pt")
    for module, weights in there["learner"]["modules"].items():
        for name, value in weights.items():
            assert torch.equal(value, here["learner"]["modules"][module][name]), (module, name)


def test_another_seed_gives_other_numbers(whole: Path, tmp_path: Path) -> None:
    train(settings(tmp_path / "other", seed=1))
    assert numbers(tmp_path / "other") != numbers(whole)


def test_one_iteration_after_a_restored_state_is_the_same_to_the_bit(tmp_path: Path) -> None:
    first = Trainer(settings(tmp_path))
    first.iterate()
    state = first.state_dict()
    save_checkpoint(tmp_path / "state.pt", state)
    expected = first.iterate()
    second = Trainer(settings(tmp_path))
    second.load_state_dict(load_checkpoint(tmp_path / "state.pt"))
    found = second.iterate()
    clock = ("time/collect", "time/learn", "time/validate")
    assert {k: v for k, v in found.items() if k not in clock} == {
        k: v for k, v in expected.items() if k not in clock
    }


def test_other_settings_in_the_same_folder_are_refused_by_name(whole: Path) -> None:
    with pytest.raises(AcclimateError, match=r"\(worlds: 3 there, 7 here\)"):
        RunFolder(settings(whole, worlds=7))
    other = replace(settings(whole), learner=PearlConfig(capacity=99))
    with pytest.raises(AcclimateError, match=r"learner\.capacity: 12 there, 99 here"):
        RunFolder(other)


def test_a_damaged_checkpoint_is_named(whole: Path, tmp_path: Path) -> None:
    data = (whole / "checkpoint.pt").read_bytes()
    for damaged in (data[: len(data) // 2], b"", b"not a checkpoint"):
        (tmp_path / "checkpoint.pt").write_bytes(damaged)
        with pytest.raises(CheckpointError, match="not a readable checkpoint"):
            load_checkpoint(tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        load_checkpoint(tmp_path / "absent.pt")


def test_a_failed_write_keeps_the_checkpoint_before(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"iteration": 1})

    class Unwritable:
        def __reduce__(self) -> object:
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left on device"):
        save_checkpoint(path, {"iteration": Unwritable()})
    assert load_checkpoint(path) == {"iteration": 1}
    assert os.listdir(tmp_path) == ["checkpoint.pt"]


def test_a_folder_explains_itself(whole: Path) -> None:
    facts = json.loads((whole / "run.json").read_text())
    assert {"command", "revision", "versions", "machine"} <= set(facts)
    assert (whole / "settings.yaml").read_text().startswith("name: small")
    assert list((whole / "tensorboard").iterdir())


def test_best_networks_load_for_evaluation(whole: Path) -> None:
    trainer, state = load_best(whole)
    assert 1 <= state["iteration"] <= SMALL["iterations"]
    assert not any(module.training for module in trainer.learner.modules().values())

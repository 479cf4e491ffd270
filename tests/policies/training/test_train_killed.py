"""A run that is killed five times ends with the numbers of an uninterrupted run."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.training.checkpoint import load_checkpoint
from policies.training.runs import read_log

# Six processes, each of which imports torch.
pytestmark = pytest.mark.slow

KILLS, ITERATIONS = 5, 50
WORDS = [
    "experiment=point_sparse",
    "worlds=4",
    "shards=2",
    "run_steps=40",
    # No number of whole passes over the tasks ends with a checkpoint.
    "train_tasks=7",
    f"iterations={ITERATIONS}",
    "script_iterations=1",
    "updates_per_iteration=4",
    "refit_normalisers=true",
    "validation_tasks=2",
    "validation_episodes=2",
    "validation_every=5",
    "checkpoint_every=3",
    "threads=1",
    "learner.capacity=40",
    "learner.actor_hidden=[16,16]",
    "learner.critic_hidden=[16,16]",
    "learner.encoder_hidden=[16]",
    "learner.tasks_per_batch=2",
    "learner.rows_per_task=4",
]


def start(out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "acclimate", "train", *WORDS, f"out={out}"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def finished(out: Path) -> int:
    """Iterations that the log has a whole line of."""
    file = out / "log.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def numbers(out: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in read_log(out)]


def assert_same(one: object, other: object, where: str) -> None:
    """Trees of tensors and numbers, equal to the bit."""
    if isinstance(one, dict):
        assert isinstance(other, dict) and one.keys() == other.keys(), where
        for key, value in one.items():
            assert_same(value, other[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert isinstance(other, list) and len(one) == len(other), where
        for number, value in enumerate(one):
            assert_same(value, other[number], f"{where}[{number}]")
    elif isinstance(one, torch.Tensor):
        assert isinstance(other, torch.Tensor) and torch.equal(one, other), where
    else:
        assert one == other, where


def test_a_run_killed_five_times_ends_as_one_left_alone(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    undisturbed = start(whole)
    rng = np.random.default_rng(0)
    # A random time after this many iterations, at any point of its work.
    moments = np.sort(rng.choice(np.arange(1, ITERATIONS // 2), KILLS, replace=False))
    resumed_from = []
    for moment in moments:
        process = start(killed)
        deadline = time.monotonic() + 300
        while finished(killed) < moment and time.monotonic() < deadline:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        # What a kill leaves is whole, or not there at all.
        file = killed / "checkpoint.pt"
        resumed_from.append(load_checkpoint(file)["iteration"] if file.exists() else 0)
    assert start(killed).wait(300) == 0 and undisturbed.wait(300) == 0
    assert resumed_from == sorted(resumed_from) and resumed_from[-1] < ITERATIONS
    assert len(numbers(killed)) == ITERATIONS
    assert numbers(killed) == numbers(whole)
    for name in ("checkpoint.pt", "best.pt"):
        one, other = load_checkpoint(whole / name), load_checkpoint(killed / name)
        for times in [k for k in one.get("metrics", {}) if k.startswith("time/")]:
            del one["metrics"][times], other["metrics"][times]
        assert_same(one, other, name)

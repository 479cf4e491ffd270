"""The same seed gives the numbers that it gave before trainers and roll-outs were made one.

tests/policies/same_numbers.json holds the logs of three short runs from then. On a processor whose
digests are known they must be equal to the bit; on others they are compared with a tolerance, for
processors add in different orders. For the same reason products run in one library here;
tests/policies/training/test_device.py holds a learner with the other to it, update by update.

"grounded" was stored anew when a critic's gain and shift became one operation, which rounds once
where two did: no number moved by more than 2e-7 of itself.
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import pytest

from policies.training import device
from policies.training.cli import main
from policies.training.runs import read_log

FILE = Path(__file__).with_name("same_numbers.json")
SMALL = [
    "threads=1",
    "train_tasks=6",
    "validation_every=2",
    "validation_tasks=3",
]
PEARL = [
    "device=cpu",
    "precision=float32",
    "iterations=3",
    "script_iterations=1",
    "worlds=4",
    "run_steps=60",
    "shards=2",
    "updates_per_iteration=4",
    "validation_episodes=2",
    "learner.actor_hidden=[16]",
    "learner.critic_hidden=[16]",
    "learner.encoder_hidden=[16]",
]
RUNS = {
    "grounded": ["experiment=point_sparse", *PEARL, "told_fraction=0.25", "learner.hold=7"],
    "published objective": [
        "experiment=cheetah_vel",
        *PEARL,
        "learner.objective=critic",
        "learner.told_rows=0",
        "learner.critic=crossq",
        "refit_normalisers=true",
    ],
    "maesn": [
        "experiment=point_maesn",
        "iterations=2",
        "validation_steps=2",
        "learner.tasks_per_batch=3",
        "learner.episodes=4",
        "learner.hold=7",
        "learner.hidden=[16]",
    ],
}


def numbers(folder: Path) -> list[dict[str, float]]:
    """The log without what a clock measured."""
    return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in read_log(folder)]


def digest(rows: list[dict[str, float]]) -> str:
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def machine() -> str:
    """What decides in which order numbers are added: the processor and the libraries."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = {line.partition(": ")[2] for line in lines if line.startswith(("model name", "flags"))}
    processor = hashlib.sha256("\n".join(sorted(models)).encode()).hexdigest()[:16]
    packages = [f"{name} {version(name)}" for name in ("torch", "numpy", "mujoco")]
    return ", ".join([processor, *packages])


@pytest.mark.parametrize("name", RUNS)
def test_a_seed_gives_the_numbers_that_it_gave(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "_fastest_exact", lambda: "highest")
    stored = json.loads(FILE.read_text())
    assert main([*RUNS[name], *SMALL, f"out={tmp_path}"]) == 0
    found, expected = numbers(tmp_path), stored["logs"][name]
    for row, then in zip(found, expected, strict=True):
        assert row == pytest.approx(then, rel=1e-3, abs=1e-4)
    if machine() in stored["machines"]:
        assert digest(found) == digest(expected)

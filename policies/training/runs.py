"""Run folders: what a run leaves behind, readable without us.

settings.yaml    the composed settings
space.yaml       the measured task space, of a run that was given one
run.json         revision, versions, hardware, command
log.jsonl        one line of metrics per iteration
checkpoint.pt    everything, to go on from
best.pt          networks of the iteration that validated best
tensorboard/     the same metrics as curves
"""

from __future__ import annotations

import glob
import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
import yaml

from adapt.errors import AcclimateError
from adapt.settings import flat, resolved
from policies.algorithms.contract import Metrics
from policies.algorithms.registry import settings_type
from policies.training.checkpoint import load_checkpoint, save_checkpoint
from policies.training.files import ensure_folder, output_error, write_atomically
from policies.training.settings import TrainSettings
from policies.training.space import FILE, measured_file, training_space
from policies.training.trainer import Trainer

PACKAGES = ("torch", "mujoco", "dm_control", "numpy", "onnx", "onnxruntime-gpu", "gymnasium")


COLLECTORS = {"collectors", "workers", "worker_threads", "ray_address"}
"""Settings that may differ from one life of a run to the next, for no number depends on them."""


def revision() -> str:
    """Git revision of the source, "-dirty" appended where files differ from it."""
    folder = Path(__file__).resolve().parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Installed versions of what a result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


class RunFolder:
    """One run on disk.

    Args:
        settings: of the run; `settings.out` is the folder.

    Raises:
        AcclimateError: the folder holds a run with other settings, and names them; or it cannot be
            written.
    """

    def __init__(self, settings: TrainSettings) -> None:
        self.path = settings.out
        ensure_folder(self.path)
        # Through JSON, so that a tuple here equals the list that YAML gives back.
        wanted = json.loads(json.dumps(resolved(settings)))
        file = self.path / "settings.yaml"
        if file.exists():
            # Decoded: what a run did not know of yet had its default.
            there = json.loads(json.dumps(resolved(load_settings(self.path))))
            _same(there, wanted, self.path)
        else:
            if settings.space is not None:
                training_space(settings)  # a file that is no good leaves no run
                write_atomically(self.path / FILE, measured_file(settings).read_bytes())
            text = yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True)
            write_atomically(file, text.encode())
        # On its own: a start may have ended between the two.
        if not (self.path / "run.json").exists():
            facts = {
                "command": " ".join(sys.argv),
                "revision": revision(),
                "versions": versions(),
                "machine": platform.processor() or platform.machine(),
            }
            write_atomically(self.path / "run.json", json.dumps(facts, indent=2).encode())

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def best(self) -> Path:
        return self.path / "best.pt"

    def save(self, trainer: Trainer) -> None:
        save_checkpoint(self.checkpoint, trainer.state_dict())

    def save_best(self, trainer: Trainer, metrics: Metrics) -> None:
        modules = {k: m.state_dict() for k, m in trainer.learner.modules().items()}
        state = {"modules": modules, "iteration": trainer.iteration, "metrics": metrics}
        save_checkpoint(self.best, state)

    def resume(self, trainer: Trainer) -> bool:
        """Continue from the checkpoint, if there is one; log lines after it are forgotten."""
        if not self.checkpoint.exists():
            (self.path / "log.jsonl").unlink(missing_ok=True)
            return False
        trainer.load_state_dict(load_checkpoint(self.checkpoint))
        kept = [row for row in self.log() if row["iteration"] <= trainer.iteration]
        lines = "".join(json.dumps(row) + "\n" for row in kept)
        write_atomically(self.path / "log.jsonl", lines.encode())
        return True

    def append(self, iteration: int, metrics: Metrics) -> None:
        file = self.path / "log.jsonl"
        try:
            with file.open("a") as stream:
                stream.write(json.dumps({"iteration": iteration, **metrics}) + "\n")
        except OSError as error:
            raise output_error(file, error, "; the latest checkpoint is whole") from error

    def log(self) -> list[dict[str, float]]:
        """Rows of log.jsonl; a line cut short by a crash is dropped."""
        return read_log(self.path)


def read_log(folder: Path) -> list[dict[str, float]]:
    file = folder / "log.jsonl"
    rows = []
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def run_folders(names: str | Sequence[str]) -> list[Path]:
    """Run folders by name, each once; a name with * or ? stands for all that are named so.

    Raises AcclimateError for a name that no run folder has, and for a run without best networks.
    """
    found: dict[Path, None] = {}
    for name in [names] if isinstance(names, str) else names:
        if glob.escape(name) == name:
            found[Path(name)] = None
            continue
        matches = [
            Path(m) for m in sorted(glob.glob(name)) if (Path(m) / "settings.yaml").is_file()
        ]
        if not matches:
            raise AcclimateError(f"{name}: no run folder is named so")
        found |= dict.fromkeys(matches)
    for folder in found:
        if not (folder / "settings.yaml").is_file():
            raise AcclimateError(f"{folder}: no settings.yaml; it is not a run folder")
        if not (folder / "best.pt").is_file():
            raise AcclimateError(f"{folder}: no best.pt; the run has not validated yet")
    return list(found)


def load_settings(folder: Path) -> TrainSettings:
    """The settings of a run folder."""
    file = folder / "settings.yaml"
    if not file.is_file():
        raise AcclimateError(f"{folder}: no settings.yaml; it is not a run folder")
    data = yaml.safe_load(file.read_text())

    def decode(wanted: type, value: object) -> object:
        return Path(str(value)) if wanted is Path else value

    try:
        return msgspec.convert(data, settings_type(data), dec_hook=decode)
    except msgspec.ValidationError as error:
        raise AcclimateError(f"{file}: {error}") from error


def load_best(folder: Path) -> tuple[Trainer, dict[str, Any]]:
    """A trainer with the networks of best.pt, for evaluation and export, and what best.pt says."""
    settings = load_settings(folder)
    state = load_checkpoint(folder / "best.pt")
    trainer = Trainer(settings)
    for name, module in trainer.learner.modules().items():
        module.load_state_dict(state["modules"][name])
        module.eval()
    return trainer, state


def _same(found: dict[str, Any], wanted: dict[str, Any], folder: Path) -> None:
    there, here = flat(found), flat(wanted)
    keys = [k for k in {**there, **here} if k not in COLLECTORS]
    differing = [k for k in keys if there.get(k) != here.get(k)]
    if differing:
        told = ", ".join(f"{k}: {there.get(k)!r} there, {here.get(k)!r} here" for k in differing)
        raise AcclimateError(
            f"{folder} holds a run with other settings ({told}); choose another out=, or the same "
            "settings to go on with it"
        )

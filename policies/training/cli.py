"""`acclimate train`: meta-train in simulation, or go on with a run that was interrupted."""

from __future__ import annotations

import json
import sys
from typing import Literal

from policies.algorithms.contract import Metrics
from policies.algorithms.registry import train_settings
from policies.training.curves import Curves
from policies.training.files import held, interrupted_later
from policies.training.runs import RunFolder, read_log
from policies.training.settings import TrainSettings
from policies.training.sweep import FLAGS, sweep
from policies.training.trainer import Trainer
from robot_bridge.system.progress import Progress

HELP = """acclimate train [experiment=NAME] [algorithm=pearl|maesn|ppo] [key=value ...]
acclimate train --multirun [experiment=NAME] seed=0,1,2 [key=value,value ...]

Meta-trains a policy and writes a run folder. Called again with the same settings it goes on from
the last checkpoint, to the same numbers as if it had never been interrupted; a run that has
finished is left as it is. With --multirun (or -m) every combination of the values is a run.

Examples:
  acclimate train experiment=insertion_pearl
  acclimate train experiment=cheetah_vel seed=1 learner.hold=5 out=runs/hold-5
  acclimate train -m experiment=point_sparse seed=0,1,2"""


def main(argv: list[str]) -> int:
    if not set(FLAGS).isdisjoint(argv):
        if not {"-h", "--help"}.isdisjoint(argv):
            argv = ["--help"]  # several values for a key are nothing that one run could show
        else:
            return sweep(argv, score)
    settings = train_settings(argv, HELP)
    try:
        summary = train(settings)
    except KeyboardInterrupt:
        print(f"\nacclimate train: stopped {_resumption(settings)}", file=sys.stderr)
        return 130
    print(json.dumps(summary, indent=2))
    return 0


def _resumption(settings: TrainSettings) -> str:
    """Where an interrupted run stands, and from where it goes on."""
    rows = read_log(settings.out)
    done = int(rows[-1]["iteration"]) if rows else 0
    kept = done - done % settings.checkpoint_every
    since = (
        f"goes on after iteration {kept}" if kept else "starts anew: no checkpoint is written yet"
    )
    return f"after iteration {done} of {settings.iterations}; the same command {since}"


def score(settings: TrainSettings) -> float:
    """Train to the end; returns the best `validate/score`, nan where there was no validation."""
    train(settings)
    found = [row["validate/score"] for row in read_log(settings.out) if "validate/score" in row]
    return max(found, default=float("nan"))


def train(settings: TrainSettings) -> Metrics:
    """Run to the end; returns the last iteration's metrics. Raises AcclimateError."""
    with held(settings.out):
        return _train(settings)


def _train(settings: TrainSettings) -> Metrics:
    folder = RunFolder(settings)
    trainer = Trainer(settings)
    resumed = folder.resume(trainer)
    if trainer.iteration >= settings.iterations:
        trainer.close()
        return folder.log()[-1]
    curves = Curves(folder.path / "tensorboard", trainer.iteration)
    title = f"{settings.name}{' (resumed)' if resumed else ''}"
    metrics: Metrics = {}
    with Progress(title, settings.iterations, trainer.iteration) as progress:
        try:
            while trainer.iteration < settings.iterations:
                metrics = trainer.iterate()
                # In the middle of it Ctrl-C could leave the curves' queue locked for good.
                with interrupted_later():
                    _keep(folder, trainer, metrics)
                    curves.add(metrics, trainer.iteration)
                    told = _told(metrics, trainer.family.judged_by)
                    progress.update(trainer.iteration, *told)
        finally:
            curves.close()
            trainer.close()
    return metrics


def _keep(folder: RunFolder, trainer: Trainer, metrics: Metrics) -> None:
    """Log first, then best, then checkpoint: after a crash between any two, resuming repeats the
    iteration and writes the same again."""
    settings = trainer.settings
    folder.append(trainer.iteration, metrics)
    if metrics.get("validate/improved"):
        folder.save_best(trainer, metrics)
    due = trainer.iteration % settings.checkpoint_every == 0
    if due or trainer.iteration == settings.iterations:
        folder.save(trainer)


def _told(metrics: Metrics, judged_by: Literal["success", "return"]) -> tuple[str, str]:
    """What an iteration collected, and how it validated, if it did."""
    text = f"return {metrics['collect/return']:.1f}"
    if judged_by == "success":
        text += f"  success {metrics['collect/success']:.2f}"
    shown, places = ("success", 2) if judged_by == "success" else ("measured", 1)
    found = [v for k, v in sorted(metrics.items()) if k.startswith(f"validate/{shown}_")]
    validated = " ".join(f"{value:.{places}f}" for value in found)
    return text, f"validation {validated}" if found else ""

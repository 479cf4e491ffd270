"""`acclimate train`: meta-train in simulation, or go on with a run that was interrupted."""

from __future__ import annotations

import json
from typing import Literal

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from policies.algorithms.contract import Metrics
from policies.algorithms.registry import train_settings
from policies.training.runs import RunFolder, read_log
from policies.training.settings import TrainSettings
from policies.training.sweep import FLAGS, sweep
from policies.training.trainer import Trainer

HELP = """acclimate train [experiment=NAME] [algorithm=pearl|maesn] [key=value ...]
acclimate train --multirun [experiment=NAME] seed=0,1,2 [key=value,value ...]

Meta-trains a policy and writes a run folder. Called again with the same settings it goes on from
the last checkpoint, to the same numbers as if it had never been interrupted; a run that has
finished is left as it is. With --multirun (or -m) every combination of the values is a run."""


def main(argv: list[str]) -> int:
    if not set(FLAGS).isdisjoint(argv):
        if not {"-h", "--help"}.isdisjoint(argv):
            argv = ["--help"]  # several values for a key are nothing that one run could show
        else:
            return sweep(argv, score)
    settings = train_settings(argv, HELP)
    summary = train(settings)
    print(json.dumps(summary, indent=2))
    return 0


def score(settings: TrainSettings) -> float:
    """Train to the end; returns the best `validate/score`, nan where there was no validation."""
    train(settings)
    found = [row["validate/score"] for row in read_log(settings.out) if "validate/score" in row]
    return max(found, default=float("nan"))


def train(settings: TrainSettings) -> Metrics:
    """Run to the end; returns the last iteration's metrics."""
    folder = RunFolder(settings)
    trainer = Trainer(settings)
    resumed = folder.resume(trainer)
    if trainer.iteration >= settings.iterations:
        trainer.close()
        return folder.log()[-1]
    writer = SummaryWriter(str(folder.path / "tensorboard"), purge_step=trainer.iteration + 1)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[news]}"),
    )
    metrics: Metrics = {}
    with Progress(*columns) as progress:
        bar = progress.add_task(
            f"{settings.name}{' (resumed)' if resumed else ''}",
            total=settings.iterations,
            completed=trainer.iteration,
            news="",
        )
        try:
            while trainer.iteration < settings.iterations:
                metrics = trainer.iterate()
                _keep(folder, trainer, metrics)
                for name, value in metrics.items():
                    writer.add_scalar(name, value, trainer.iteration)
                news = _news(metrics, trainer.family.judged_by)
                progress.update(bar, completed=trainer.iteration, news=news)
        finally:
            writer.close()
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


def _news(metrics: Metrics, judged_by: Literal["success", "return"]) -> str:
    words = [f"return {metrics['collect/return']:.1f}"]
    if judged_by == "success":
        words.append(f"success {metrics['collect/success']:.2f}")
    shown, places = ("success", 2) if judged_by == "success" else ("measured", 1)
    found = [v for k, v in sorted(metrics.items()) if k.startswith(f"validate/{shown}_")]
    if found:
        words.append("validation " + " ".join(f"{v:.{places}f}" for v in found))
    return "  ".join(words)

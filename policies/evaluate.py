"""`acclimate evaluate`: what a run's best networks do on held-out tasks, episode by episode."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from msgspec import Meta

from adapt.errors import AcclimateError
from adapt.settings import compose
from policies.adaptation import BatchAdapter
from policies.algorithms import AnyTrainer
from policies.checkpoint import write_atomically
from policies.maesn_trainer import MaesnTrainer, adapt_from_prior
from policies.rollout import Curve, adaptation_curve
from policies.runs import load_best
from policies.trainer import Trainer
from sim.tasks import Split, Task

HELP = """acclimate evaluate run=FOLDER [key=value ...]

Runs the best networks of a run on held-out tasks: so many consecutive episodes per task, success
or return after 0, 1, 2, … episodes of adaptation. Where a family holds no task out, it says so and
runs them on the training tasks. Writes evaluation.json into the run folder."""

GROUPS: tuple[Split, ...] = ("held_out", "unseen_choice")


@dataclass(frozen=True)
class EvaluateSettings:
    """What `acclimate evaluate` is told.

    run: a run folder. tasks: at most, in each group; a family's fixed set may be smaller.
    episodes: per task; of MAESN's as many as make whole steps. seed: of tasks and noise.
    frozen_prior: also run with the belief kept at the prior, for comparison.
    """

    run: Path
    tasks: Annotated[int, Meta(ge=1)] = 100
    episodes: Annotated[int, Meta(ge=1)] = 11
    seed: Annotated[int, Meta(ge=0)] = 1000
    threads: Annotated[int, Meta(ge=1)] = 2
    frozen_prior: bool = True


@dataclass(frozen=True)
class Row:
    """One group's results (K,), per episode, or per adaptation step where an algorithm adapts by
    steps.

    behind: episodes of adaptation behind each column.
    success, steps, returns, measured: means over tasks.
    worst: mean measured return over the worst 5 % of the tasks, at least one, each episode's own.
    """

    group: str
    belief: str
    tasks: int
    behind: list[int]
    success: list[float]
    steps: list[float]
    returns: list[float]
    measured: list[float]
    worst: list[float]


def main(argv: list[str]) -> int:
    settings = compose("policies/evaluate", EvaluateSettings, argv, HELP)
    trainer, state = load_best(settings.run)
    if isinstance(trainer, MaesnTrainer):
        rows = evaluate_maesn(trainer, settings)
    else:
        rows = evaluate(trainer, settings)
    print(f"iteration {state['iteration']} of {settings.run}, seed {settings.seed}")
    print(f"{'episodes behind':24} " + " ".join(f"{k:5d}" for k in rows[0].behind))
    for row in rows:
        if trainer.family.judged_by == "success":
            shown = "success " + " ".join(f"{v:5.2f}" for v in row.success)
        else:
            shown = "return " + " ".join(f"{v:7.1f}" for v in row.measured)
            shown += "\n" + " " * 25 + "worst  " + " ".join(f"{v:7.1f}" for v in row.worst)
        print(f"{row.group:14} {row.belief:9} {shown}")
    data = {"iteration": state["iteration"], "rows": [asdict(r) for r in rows]}
    write_atomically(settings.run / "evaluation.json", json.dumps(data, indent=2).encode())
    return 0


def evaluate(trainer: Trainer, settings: EvaluateSettings) -> list[Row]:
    """Every group, with the belief adapting and, if wanted, frozen at the prior."""
    rows = []
    held: list[Split] = [g for g in GROUPS if trainer.family.space.holds_out(g)]
    for group in held or ["train"]:
        tasks = held_out_tasks(trainer, group, settings.tasks, settings.seed)
        kinds = ["adapting"]
        if settings.frozen_prior and trainer.learner.encoder is not None:
            kinds.append("prior")
        for kind in kinds:
            episodes = settings.episodes if kind == "adapting" else 1
            curve = run_curve(
                trainer, tasks, episodes, settings.seed, settings.threads, kind == "adapting"
            )
            rows.append(
                Row(
                    group,
                    kind,
                    len(tasks),
                    list(range(episodes)),
                    curve.success.mean(0).tolist(),
                    curve.steps.mean(0).tolist(),
                    curve.returns.mean(0).tolist(),
                    curve.measured.mean(0).tolist(),
                    worst(curve.measured).tolist(),
                )
            )
    return rows


def evaluate_maesn(trainer: MaesnTrainer, settings: EvaluateSettings) -> list[Row]:
    """Every group, from the prior, acting by the policy's mean as a robot does; a column is the
    mean over the episodes that one adaptation step takes."""
    per_step = trainer.settings.learner.episodes
    steps = max(0, settings.episodes - 1) // per_step
    rows = []
    held: list[Split] = [g for g in GROUPS if trainer.family.space.holds_out(g)]
    for group in held or ["train"]:
        tasks = held_out_tasks(trainer, group, settings.tasks, settings.seed)
        curve = adapt_from_prior(trainer, tasks, steps, settings.seed, stochastic=False)
        rows.append(
            Row(
                group,
                "adapting",
                len(tasks),
                [k * per_step for k in range(steps + 1)],
                curve.success.mean(0).tolist(),
                curve.steps.mean(0).tolist(),
                curve.returns.mean(0).tolist(),
                curve.measured.mean(0).tolist(),
                worst(curve.measured).tolist(),
            )
        )
    return rows


def held_out_tasks(trainer: AnyTrainer, group: Split, n: int, seed: int) -> list[Task]:
    """n tasks of a group, the same for the same seed; none where nothing was held out that way.

    Of a fixed set, each task at most once: fewer than n where the set is smaller.
    """
    space = trainer.family.space
    if group not in ("train", "all") and not space.holds_out(group):
        return []
    if space.fixed is not None and group in ("train", "held_out"):
        n = min(n, space.fixed.size(group))
    return space.sample(n, np.random.default_rng(seed), group)


def worst(returns: np.ndarray) -> np.ndarray:
    """Means (K,) over the worst 5 % of the tasks, at least one, of returns (B, K)."""
    n = max(1, round(0.05 * len(returns)))
    return np.sort(returns, axis=0)[:n].mean(axis=0)


def run_curve(
    trainer: Trainer,
    tasks: list[Task],
    episodes: int,
    seed: int,
    threads: int = 2,
    adapting: bool = True,
    hold: int | None = None,
    stochastic: bool = False,
) -> Curve:
    """Consecutive episodes on every task, in as many worlds."""
    if not tasks:
        raise AcclimateError("no tasks to evaluate on")
    c, learner = trainer.settings.learner, trainer.learner
    worlds = trainer.family.make(len(tasks), seed, threads)
    worlds.assign(tasks)
    adapter = BatchAdapter(
        learner.actor,
        learner.encoder,
        len(tasks),
        learner.n_z,
        c.capacity,
        c.hold if hold is None else hold,
        torch.Generator().manual_seed(seed),
        c.exploration,
    )
    adapter.adapting = np.full(len(tasks), adapting)
    try:
        return adaptation_curve(
            worlds, adapter, episodes, c.reward_in_context, c.next_in_context, stochastic
        )
    finally:
        worlds.close()

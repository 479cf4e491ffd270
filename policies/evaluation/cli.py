"""`acclimate evaluate`: what a run's best networks do on held-out tasks, episode by episode."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from adapt.errors import AcclimateError
from adapt.settings import Count, WholeNumber, compose
from policies.algorithms.maesn.trainer import MaesnTrainer, StepCurve, adapt_from_prior
from policies.algorithms.registry import AnyTrainer
from policies.evaluation.comparison import EvaluatedRun
from policies.evaluation.measured import Belief, Measured, Row
from policies.rollout.adaptation_curve import Curve, adaptation_curve
from policies.rollout.batch_adapter import BatchAdapter
from policies.rollout.jobs import Networks
from policies.training.checkpoint import write_atomically
from policies.training.runs import load_best, read_log, run_folders
from policies.training.trainer import Trainer
from sim.core.task_space import Split, Task

HELP = """acclimate evaluate run=FOLDER [key=value ...]
acclimate evaluate run=[FOLDER,FOLDER,...] out=FOLDER
acclimate evaluate run=runs/NAME-* out=FOLDER

Runs the best networks of a run on held-out tasks: so many consecutive episodes per task, success
or return after 0, 1, 2, … episodes of adaptation. Where a family holds no task out, it says so and
runs them on the training tasks. Writes evaluation.json into the run folder. With out=, compares any
number of runs: over seeds, with the gap that adaptation closes to an oracle, what training cost,
and learning curves, as tables and pictures in that folder."""

GROUPS: tuple[Split, ...] = ("held_out", "unseen_choice")
PRIOR_EPISODES = 3
"""At the prior nothing changes from one episode to the next: a mean over a few is steadier."""


@dataclass(frozen=True)
class EvaluateSettings:
    """Settings of `acclimate evaluate`.

    run: a run folder, or a list of them; a name with * or ? means every run folder that matches.
    out: folder for tables and pictures that compare the runs; required for several runs.
    tasks: tasks of each group, at most; a family's fixed set may be smaller.
    episodes: consecutive episodes of each task; of MAESN as many as make whole adaptation steps.
    seed: of tasks and noise.
    threads: of the physics.
    frozen_prior: also run with the belief kept at the prior, for comparison.
    """

    run: str | tuple[str, ...]
    out: Path | None = None
    tasks: Count = 100
    episodes: Count = 11
    seed: WholeNumber = 1000
    threads: Count = 2
    frozen_prior: bool = True


def main(argv: list[str]) -> int:
    settings = compose("evaluate", EvaluateSettings, argv, HELP)
    folders = run_folders(settings.run)
    if len(folders) > 1 and settings.out is None:
        raise AcclimateError(f"{len(folders)} runs are compared in a folder of their own: add out=")
    runs = [evaluate_run(folder, settings) for folder in folders]
    if settings.out is not None:
        # Here and not above: pictures need matplotlib, and whoever looks at one run does not.
        from policies.evaluation.comparison_files import write_comparison

        write_comparison(runs, settings.out, settings.seed)
    return 0


def evaluate_run(folder: Path, settings: EvaluateSettings) -> EvaluatedRun:
    """Evaluate one run, print what came out and write its evaluation.json."""
    trainer, state = load_best(folder)
    if isinstance(trainer, MaesnTrainer):
        found = evaluate_maesn(trainer, settings)
    else:
        found = evaluate(trainer, settings)
    trainer.close()
    judged_by = trainer.family.judged_by
    rows = [each.row() for each in found]
    print(f"\niteration {state['iteration']} of {folder}, seed {settings.seed}")
    print("\n".join(shown(rows, judged_by)))
    data = {"iteration": state["iteration"], "rows": [asdict(r) for r in rows]}
    write_atomically(folder / "evaluation.json", json.dumps(data, indent=2).encode())
    return EvaluatedRun(
        folder, trainer.settings, judged_by, int(state["iteration"]), found, read_log(folder)
    )


def shown(rows: Sequence[Row], judged_by: Literal["success", "return"]) -> list[str]:
    """Lines for the screen, under headings that say what they are."""
    wide, places = (5, 2) if judged_by == "success" else (7, 1)

    def numbers(values: Sequence[float]) -> str:
        return " ".join(f"{v:{wide}.{places}f}" for v in values)

    lines = [
        f"{judged_by} of one episode, mean over the tasks, acting by the policy's mean; the belief",
        "adapts to the episodes behind it, or is kept at the prior, where every new task starts",
        f"{'tasks':14} {'belief':9} {'':{len(judged_by)}} after so many episodes of adaptation:",
        " " * (26 + len(judged_by)) + " ".join(f"{k:{wide}d}" for k in rows[0].behind),
    ]
    for row in rows:
        values = row.success if judged_by == "success" else row.measured
        lines.append(f"{row.group:14} {row.belief:9} {judged_by} {numbers(values)}")
        if judged_by == "return":
            lines.append(f"{'':14} {'':9} {'worst':6} {numbers(row.worst)}")
    if judged_by == "return":
        lines.append("worst: the mean over the worst 5 % of the tasks, at least one")
    return lines


def evaluate(trainer: Trainer, settings: EvaluateSettings) -> list[Measured]:
    """Every group, with the belief adapting and, if wanted, frozen at the prior."""
    found = []
    for group, tasks in groups(trainer, settings):
        kinds: list[Belief] = ["adapting"]
        if settings.frozen_prior and trainer.learner.encoder is not None:
            kinds.append("prior")
        for kind in kinds:
            adapting = kind == "adapting"
            episodes = settings.episodes if adapting else min(PRIOR_EPISODES, settings.episodes)
            curve = run_curve(trainer, tasks, episodes, settings.seed, settings.threads, adapting)
            behind = list(range(episodes)) if adapting else [0] * episodes
            found.append(_measured(group, kind, behind, tasks, curve))
    return found


def evaluate_maesn(trainer: MaesnTrainer, settings: EvaluateSettings) -> list[Measured]:
    """Every group, from the prior, acting by the policy's mean as a robot does; a column is the
    mean over the episodes that one adaptation step takes."""
    per_step = trainer.settings.learner.episodes
    steps = max(0, settings.episodes - 1) // per_step
    found = []
    for group, tasks in groups(trainer, settings):
        curve = adapt_from_prior(trainer, tasks, steps, settings.seed, stochastic=False)
        behind = [k * per_step for k in range(steps + 1)]
        found.append(_measured(group, "adapting", behind, tasks, curve))
    return found


def _measured(
    group: str, belief: Belief, behind: list[int], tasks: list[Task], curve: Curve | StepCurve
) -> Measured:
    return Measured(
        group=group,
        belief=belief,
        behind=behind,
        tasks=np.stack([task.values for task in tasks]),
        success=curve.success,
        steps=curve.steps,
        returns=curve.returns,
        measured=curve.measured,
    )


def groups(trainer: AnyTrainer, settings: EvaluateSettings) -> list[tuple[Split, list[Task]]]:
    """The family's groups of held-out tasks; where it has none, its training tasks."""
    held: list[Split] = [g for g in GROUPS if trainer.family.space.holds_out(g)]
    return [
        (group, held_out_tasks(trainer, group, settings.tasks, settings.seed))
        for group in held or ["train"]
    ]


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


def run_curve(
    trainer: Trainer,
    tasks: list[Task],
    episodes: int,
    seed: int,
    threads: int = 2,
    adapting: bool = True,
    hold: int | None = None,
    stochastic: bool = False,
    told: bool = False,
) -> Curve:
    """Consecutive episodes on every task, in as many worlds.

    told: the latent is the true factors, for objectives that define it so; raises AcclimateError
    for others.
    """
    if not tasks:
        raise AcclimateError("no tasks to evaluate on")
    c, learner = trainer.settings.learner, trainer.learner
    if told and c.objective not in ("posterior", "privileged"):
        raise AcclimateError(f"objective {c.objective!r}: its latent is no task's factors to tell")
    worlds = trainer.family.make(len(tasks), seed, threads)
    worlds.assign(tasks)
    networks = Networks(learner.actor, learner.encoder).on_cpu()
    adapter = BatchAdapter(
        networks.actor,
        None if told else networks.encoder,
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

"""`acclimate evaluate`: what a run's best networks do on held-out tasks, episode by episode."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from adapt.errors import AcclimateError
from adapt.settings import Count, WholeNumber, compose
from policies.evaluation.comparison import EvaluatedRun
from policies.evaluation.measured import Belief, Measured, Row
from policies.rollout.trials import Curve, try_policy
from policies.training.files import ensure_folder, write_atomically
from policies.training.runs import load_best, read_log, run_folders
from policies.training.trainer import Trainer
from sim.core.family import Family
from sim.core.registry import family as task_family
from sim.core.task_space import Split, Task

HELP = """acclimate evaluate RUN [key=value ...]

Runs the best networks of a run on held-out tasks, in consecutive episodes of each task, and prints
success or return after 0, 1, 2, … episodes of adaptation. Where a family holds no task out, the
training tasks are used, which is said. Writes evaluation.json into the run folder. With out=FOLDER,
compares any number of runs in tables and pictures: over seeds, with the gap to an oracle that
adaptation closes, the cost of training, and learning curves.

Examples:
  acclimate evaluate run=runs/insertion-pearl-0
  acclimate evaluate 'run=runs/point-*' out=runs/compared
  acclimate evaluate 'run=[runs/cheetah-vel-*,runs/oracle]' out=runs/compared episodes=4
  acclimate evaluate run=runs/insertion-pearl-0 'plug=[us_ac,my_plug.yaml]'"""

GROUPS: tuple[Split, ...] = ("held_out", "unseen_choice")
PRIOR_EPISODES = 3
"""At the prior nothing changes from one episode to the next: a mean over a few is steadier."""


@dataclass(frozen=True)
class EvaluateSettings:
    """Settings of `acclimate evaluate`.

    run: a run folder, or a list of them; a name with * or ? means every run folder that matches.
    out: folder for tables and pictures that compare the runs; required for several runs.
    plug: of insertion: plugs to try in place of held-out tasks, each a group of its own: a name of
        the published table, a file (docs/tasks.md), or a list of them. Empty takes held-out tasks.
    tasks: tasks of each group, at most; a family's fixed set may be smaller.
    episodes: consecutive episodes of each task; where a belief steps after several, as
        many as make whole steps.
    seed: of tasks and noise.
    threads: of the physics.
    frozen_prior: also run with the belief kept at the prior, for comparison.
    """

    run: str | tuple[str, ...]
    out: Path | None = None
    plug: str | tuple[str, ...] = ()
    tasks: Count = 100
    episodes: Count = 11
    seed: WholeNumber = 1000
    threads: Count = 2
    frozen_prior: bool = True


def main(argv: list[str]) -> int:
    settings = compose("evaluate", EvaluateSettings, argv, HELP, ["run"])
    folders = run_folders(settings.run)
    if len(folders) > 1 and settings.out is None:
        raise AcclimateError(f"{len(folders)} runs are compared in a folder of their own: add out=")
    for folder in (*folders, *([] if settings.out is None else [settings.out])):
        ensure_folder(folder)  # now, and not after minutes of evaluation
    runs = [evaluate_run(folder, settings) for folder in folders]
    if settings.out is not None:
        # Here and not above: only pictures need matplotlib.
        from policies.evaluation.comparison_files import write_comparison

        write_comparison(runs, settings.out, settings.seed)
    return 0


def evaluate_run(folder: Path, settings: EvaluateSettings) -> EvaluatedRun:
    """Evaluate one run, print what came out and write its evaluation.json."""
    trainer, state = load_best(folder)
    found = evaluate(trainer, settings)
    trainer.close()
    judged_by = trainer.family.judged_by
    rows = [each.row() for each in found]
    print(f"\niteration {state['iteration']} of {folder}, seed {settings.seed}")
    print("\n".join(shown(rows, judged_by)))
    data = {"iteration": state["iteration"], "rows": [asdict(r) for r in rows]}
    write_atomically(folder / "evaluation.json", json.dumps(data, indent=2).encode())
    return EvaluatedRun(
        folder,
        trainer.settings,
        judged_by,
        int(state["iteration"]),
        found,
        read_log(folder),
        trainer.learner.policy().privileged,
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
    policy, e = trainer.learner.policy(), trainer.learner.policy().episodes_per_step
    columns = max(0, settings.episodes - 1) // e + 1
    behind = [k * e for k in range(columns)]
    found = []
    for group, tasks in groups(trainer.family, settings):

        def curve(columns: int, adapting: bool, tasks: list[Task] = tasks) -> Curve:
            return try_policy(
                policy, trainer.family, tasks, columns, settings.seed, settings.threads, adapting
            )

        found.append(_measured(group, "adapting", behind, tasks, curve(columns, True)))
        if settings.frozen_prior and policy.adapts:
            n = -(-min(PRIOR_EPISODES, settings.episodes) // e)
            found.append(_measured(group, "prior", [0] * n, tasks, curve(n, False)))
    return found


def _measured(
    group: str, belief: Belief, behind: list[int], tasks: list[Task], curve: Curve
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


def groups(family: Family, settings: EvaluateSettings) -> list[tuple[str, list[Task]]]:
    """The family's groups of held-out tasks; where it has none, its training tasks; or plugs."""
    if settings.plug:
        return _plugs(family, settings)
    held: list[Split] = [g for g in GROUPS if family.space.holds_out(g)]
    return [
        (group, held_out_tasks(family, group, settings.tasks, settings.seed))
        for group in held or ["train"]
    ]


def _plugs(family: Family, settings: EvaluateSettings) -> list[tuple[str, list[Task]]]:
    """Tasks of the plugs that the settings name. Raises AcclimateError for a run without plugs."""
    from sim.insertion.parts.described import plug_file

    plugs = (settings.plug,) if isinstance(settings.plug, str) else settings.plug
    found = []
    for plug in plugs:
        theirs = task_family(str(plug_file(plug)))
        if theirs.spec.name != family.spec.name:
            raise AcclimateError(
                f"plug {plug!r} is for a run of family {theirs.spec.name!r}; this one's is "
                f"{family.spec.name!r}"
            )
        tasks = held_out_tasks(theirs, "held_out", settings.tasks, settings.seed)
        found.append((Path(plug).stem, tasks))
    return found


def held_out_tasks(family: Family, group: Split, n: int, seed: int) -> list[Task]:
    """n tasks of a group, the same for the same seed; none where nothing was held out that way.

    Of a fixed set, each task at most once: fewer than n where the set is smaller.
    """
    space = family.space
    if group not in ("train", "all") and not space.holds_out(group):
        return []
    if space.fixed is not None and group in ("train", "held_out"):
        n = min(n, space.fixed.size(group))
    return space.sample(n, np.random.default_rng(seed), group)

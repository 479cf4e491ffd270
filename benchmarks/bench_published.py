"""The published families: return after k episodes of adaptation, and with the task known.

    python -m benchmarks.bench_published [family ...]

Needs the runs that `acclimate train experiment=FAMILY seed=N` (with underscores there) left in
runs/FAMILY-N; every seed whose run has ended counts. Held-out tasks, or the training tasks where a
family holds none out; the policy acts by its mean. The first latent is drawn from the prior, and
held for the episode unless the family's settings draw anew within one (learner.hold).

told: the same networks with the task's true factors as their latent; a robot does not know them.
gap closed: (k = 2 - prior) / (told - prior), each a mean over the tasks.

Two more runs are reported if they have ended: runs/FAMILY-oracle, a policy that is trained with the
true factors only (learner.objective=privileged), and runs/FAMILY-critic, whose belief is trained
through the critic, as in PEARL's paper (learner.objective=critic):

    acclimate train experiment=FAMILY learner.objective=privileged told_fraction=0 \\
        out=runs/FAMILY-oracle
"""

from __future__ import annotations

import os

os.environ.setdefault("MUJOCO_GL", "disable")

import sys
from pathlib import Path
from typing import Protocol

import numpy as np

from adapt.errors import AcclimateError
from benchmarks.support.learners import best_of
from benchmarks.support.results import record
from policies.algorithms.pearl.learner import PearlLearner
from policies.evaluation.cli import held_out_tasks
from policies.evaluation.comparison import gap_closed
from policies.evaluation.measured import worst
from policies.rollout.trials import try_policy
from policies.training.runs import load_settings, read_log
from policies.training.trainer import Trainer
from sim.core.parameter import Split
from sim.core.task_space import Task

NAME = "published"
FAMILIES = ("cheetah-vel", "cheetah-dir", "ant-goal", "ant-dir", "walker-params", "point-sparse")
SEED = 1000
EPISODES = 3
TASKS = 100


def main(words: list[str]) -> int:
    for word in words:
        if word not in FAMILIES:
            raise SystemExit(f"{word!r}: expected {', '.join(FAMILIES)}")
    for family in words or FAMILIES:
        runs = Path("runs").glob(f"{family}-*")
        finished = [r for r in sorted(runs) if r.name[len(family) + 1 :].isdigit() and ended(r)]
        if words and not finished:
            raise AcclimateError(
                f"runs/{family}-0: no finished run; "
                f"acclimate train experiment={family.replace('-', '_')}"
            )
        for run in finished:
            judge(family, run)
        published = Path("runs") / f"{family}-critic"
        if ended(published):
            judge(family, published, "critic")
        oracle = Path("runs") / f"{family}-oracle"
        if ended(oracle):
            judge_oracle(family, oracle)
    return 0


def ended(run: Path) -> bool:
    """Whether a run has done all iterations of its settings."""
    if not (run / "best.pt").exists():
        return False
    return read_log(run)[-1]["iteration"] >= load_settings(run).iterations


def judge(family: str, run: Path, objective: str = "posterior") -> None:
    """One run on its family's held-out tasks."""
    trainer, tasks, tell = _prepare(family, run, objective)
    policy, kind = trainer.learner.policy(), trainer.family
    adapting = try_policy(policy, kind, tasks, EPISODES, SEED).measured
    for k in range(EPISODES):
        tell(f"return, k = {k}", adapting[:, k].mean())
    tell("worst 5 %, k = 2", worst(adapting)[-1])
    if objective == "posterior":
        prior = try_policy(policy, kind, tasks, EPISODES, SEED, adapting=False).measured.mean(1)
        told = try_policy(policy, kind, tasks, EPISODES, SEED, told=True).measured.mean(1)
        tell("told", told.mean())
        gap = gap_closed(adapting, prior, told).of_means[-1]
        # Without a gain from the true factors there is no gap.
        if np.isfinite(gap):
            tell("gap closed", gap)
    log = read_log(run)
    seconds = sum(v for row in log for k, v in row.items() if k.startswith("time/"))
    tell("training", seconds / 60, "min")
    tell("control periods", log[-1]["steps"])


def judge_oracle(family: str, run: Path) -> None:
    """Return of a policy that was trained with the true factors only, on the same tasks."""
    trainer, tasks, tell = _prepare(family, run, "privileged")
    policy, kind = trainer.learner.policy(), trainer.family
    tell("oracle", try_policy(policy, kind, tasks, EPISODES, SEED, told=True).measured.mean())


class Tell(Protocol):
    """Records a metric of a run."""

    def __call__(self, metric: str, value: float, unit: str = "1") -> None: ...


def _prepare(family: str, run: Path, objective: str) -> tuple[Trainer, list[Task], Tell]:
    """A run's best networks, the tasks it is judged on, and where to record what it does.

    Raises AcclimateError for a run with another objective than its folder's name says.
    """
    trainer, learner = best_of(run, PearlLearner)
    found = learner.settings.learner.objective
    if found != objective:
        raise AcclimateError(
            f"{run}: trained with learner.objective={found}; a folder of this name is for "
            f"learner.objective={objective}"
        )
    group: Split = "held_out" if trainer.family.space.holds_out("held_out") else "train"
    tasks = held_out_tasks(trainer.family, group, TASKS, SEED)
    parameters = {"family": family, "tasks": f"{len(tasks)} {group.replace('_', ' ')}"}
    if objective == "critic":
        parameters["family"] += ", published objective"

    def tell(metric: str, value: float, unit: str = "1") -> None:
        record(NAME, metric, float(value), unit, parameters, trainer.settings.seed)

    return trainer, tasks, tell


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""Insertion on held-out tasks: success against episodes of adaptation; what the belief knows.

    python -m benchmarks.bench_insertion [pearl=RUN[,RUN…]] [baseline=RUN]

Each run is one that `acclimate train experiment=insertion_pearl` or `=insertion_fixed` left behind;
the numbers are those of the bundle in bundles/, whose networks the first run's are.

Tasks come from the two held-out groups: sizes and clearances from bands that training never draws,
in trained families; and a family that training never saw. Every method meets the same tasks.
"""

from __future__ import annotations

import os

os.environ.setdefault("MUJOCO_GL", "disable")

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.support.learners import expect
from benchmarks.support.results import record
from policies.algorithms.pearl.learner import PearlLearner
from policies.evaluation.cli import GROUPS, held_out_tasks
from policies.rollout.trials import Curve, try_policy
from policies.training.runs import load_best, read_log
from policies.training.trainer import Trainer
from sim.core.parameter import Split
from sim.core.task_space import Task
from sim.insertion.scripted import Privileged, SpiralSearch
from sim.insertion.space import FACTORS
from sim.insertion.spec import CONTROL_PERIOD
from sim.insertion.worlds import InsertionWorlds

NAME = "insertion"
TASKS = 100
"""In each group."""
EPISODES = 11
SHOWN = (0, 1, 2, 3, 5, 10)
BELIEFS = ("seat_x", "seat_y", "seat_yaw", "clearance")
SEED = 1000


@dataclass(frozen=True)
class Outcome:
    """success, steps: (tasks, episodes); one episode where nothing changes between them."""

    success: np.ndarray
    steps: np.ndarray


def main(words: list[str]) -> int:
    given = {"pearl": "runs/insertion-pearl-0", "baseline": "runs/insertion-fixed-0"}
    for word in words:
        key, _, value = word.partition("=")
        if key not in given or not value:
            raise SystemExit(f"{word!r}: expected pearl=RUN[,RUN...] or baseline=RUN")
        given[key] = value
    folders = [Path(name) for name in given["pearl"].split(",")]
    for number, folder in enumerate(folders):
        pearl, _ = load_best(folder)
        training(folder, pearl)
        for group in GROUPS:
            tasks = held_out_tasks(pearl.family, group, TASKS, SEED)
            curve = try_policy(pearl.learner.policy(), pearl.family, tasks, EPISODES, SEED)
            seed = pearl.settings.seed
            report(group, "PEARL", tasks, _outcome(curve), seed)
            knowledge(group, curve, seed)
            prior = try_policy(pearl.learner.policy(), pearl.family, tasks, 1, SEED, adapting=False)
            report(group, "PEARL, belief kept at the prior", tasks, _outcome(prior), seed)
            if number == 0:
                references(group, tasks, Path(given["baseline"]))
    return 0


def references(group: Split, tasks: list[Task], folder: Path) -> None:
    """The policy without a latent, and both scripts, on the same tasks."""
    baseline, _ = load_best(folder)
    if group == GROUPS[0]:
        training(folder, baseline)
    fixed = try_policy(baseline.learner.policy(), baseline.family, tasks, 1, SEED)
    report(group, "no latent", tasks, _outcome(fixed), baseline.settings.seed)
    for name, script in (("spiral search", SpiralSearch()), ("privileged", Privileged())):
        report(group, name, tasks, scripted(script, tasks), SEED)


def _outcome(curve: Curve) -> Outcome:
    return Outcome(curve.success, curve.steps)


def scripted(script: SpiralSearch | Privileged, tasks: list[Task]) -> Outcome:
    """One episode of a scripted controller on every task."""
    worlds = InsertionWorlds(len(tasks), SEED)
    worlds.assign(tasks)
    worlds.reset(np.ones(len(tasks), bool))
    done = np.zeros(len(tasks), bool)
    success, steps = np.zeros((len(tasks), 1), bool), np.zeros((len(tasks), 1), int)
    while not done.all():
        step = worlds.step(script.act(worlds))
        success[step.success & ~done] = True
        steps[~done] += 1
        done |= step.done
    worlds.close()
    return Outcome(success, steps)


def report(group: str, method: str, tasks: list[Task], outcome: Outcome, seed: int) -> None:
    """Success by episode, for the group and for each of its families."""
    families = np.array([t.choice("family") for t in tasks])
    names = sorted({t.choice("family") for t in tasks})
    for family in ["all", *names] if len(names) > 1 else ["all"]:
        rows = np.ones(len(tasks), bool) if family == "all" else families == family
        for k in SHOWN[: 1 if outcome.success.shape[1] == 1 else len(SHOWN)]:
            parameters = {"group": group, "family": family, "method": method, "episodes": k}
            rate = outcome.success[rows, k].mean()
            record(NAME, "success", float(rate), "1", parameters, seed)
            won = rows & outcome.success[:, k]
            if family == "all" and won.any():
                seconds = outcome.steps[won, k].mean() * CONTROL_PERIOD
                record(NAME, "insertion time", float(seconds), "s", parameters, seed)


def knowledge(group: str, curve: Curve, seed: int) -> None:
    """R² from the belief's mean to the truth, after failures alone and after a success; how many
    standard deviations the truth lies away (root mean square; 1 is a calibrated belief); and the
    success of all later episodes in either state."""
    seen = np.cumsum(curve.success, axis=1)
    before = np.concatenate([np.zeros((len(seen), 1), int), seen[:, :-1]], axis=1)
    index = np.arange(before.shape[1])[None].repeat(len(before), 0)
    for state, where in {"failures alone": before == 0, "a success": before > 0}.items():
        later = where & (index > 0)
        if later.any():
            parameters = {"group": group, "after": state, "episodes counted": int(later.sum())}
            rate = float(curve.success[later].mean())
            record(NAME, "success of later episodes", rate, "1", parameters, seed)
    states = {
        "after failures alone": (before == 0) & (index > 0) & (index < 4),
        "after a success": (before > 0) & (index < 4),
    }
    for state, where in states.items():
        world, episode = np.nonzero(where)
        if len(world) < 5:
            continue
        for factor in FACTORS:
            if factor.name not in BELIEFS:
                continue
            truth = curve.truth[world, factor.index]
            error = curve.mean[world, episode, factor.index] - truth
            spread = ((truth - truth.mean()) ** 2).mean()
            parameters = {
                "group": group,
                "state": state,
                "factor": factor.name,
                "samples": len(world),
            }
            r2 = 1 - (error**2).mean() / spread
            record(NAME, "R2", float(r2), "1", parameters, seed)
            off = error / curve.std[world, episode, factor.index]
            record(
                NAME, "error in its own std", float(np.sqrt((off**2).mean())), "1", parameters, seed
            )


def training(run: Path, trainer: Trainer) -> None:
    """Wall-clock and throughput of the run, from its log."""
    rows = read_log(run)
    total = {
        part: sum(row[f"time/{part}"] for row in rows) for part in ("collect", "learn", "validate")
    }
    s = trainer.settings
    parameters = {"run": s.name, "worlds": expect(trainer.learner, PearlLearner).settings.worlds}
    record(NAME, "training wall-clock", sum(total.values()) / 60, "min", parameters, s.seed)
    steps, updates = rows[-1]["steps"], rows[-1]["updates"]
    record(NAME, "training policy steps", steps, "1", parameters, s.seed)
    record(NAME, "collection", steps / total["collect"], "policy steps/s", parameters, s.seed)
    record(NAME, "updates", updates / total["learn"], "updates/s", parameters, s.seed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

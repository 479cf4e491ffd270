"""Ours and the reference PEARL on cheetah-vel: the cost of each kind of step, and their sum.

    python -m benchmarks.bench_reference --reference ../oyster --run runs/cheetah-vel-0

The two take turns in one process, on the same threads, so that other work on the machine affects
both. Without --reference it says how to get the reference, and measures only ours. With --run, it
compares our runs' wall-clock time to a return with the reference's time, which is extrapolated from
its schedule.
"""

from __future__ import annotations

import os

# For both sides. Threads that sleep at once between small products wake slowly, and threads that
# never sleep leave no time to others. torch reads these when it is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
os.environ.setdefault("MUJOCO_GL", "disable")

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from adapt.errors import AcclimateError
from benchmarks.support.learners import expect
from benchmarks.support.reference import FAMILY, REVISION, SOURCE, Reference, published
from benchmarks.support.results import FOLDER, Scalar, record
from benchmarks.support.schedule import Cost, Schedule, hours, middle, ratios, seconds_to
from policies.algorithms.pearl.config import PearlSettings
from policies.algorithms.pearl.learner import PearlLearner
from policies.algorithms.registry import train_settings
from policies.training.runs import load_settings, read_log
from policies.training.trainer import Trainer
from sim.core.family import UniformActions
from sim.core.registry import family

NAME = "reference"
EXPERIMENT = "cheetah_vel"
MILLION = 1_000_000
LEVEL = -50.0
"""Return of the third episode; the paper's curve, read roughly, ends between -60 and -20."""


@dataclass(frozen=True)
class Plan:
    """How much of each step a turn has, and how many turns there are.

    steps: of the reference's bare environment; periods: of all of our worlds.
    fill: transitions per task that the reference's replay starts with.
    """

    repetitions: int = 15
    updates: int = 40
    reference_updates: int = 10
    steps: int = 2000
    periods: int = 100
    fill: int = 200
    threads: int = 2
    folder: Path = FOLDER


QUICK = Plan(2, 2, 1, 200, 4, 200)
Found = Sequence[tuple[str, float, str]]  # metrics, values and units


class Ours:
    """A trainer with the experiment's settings."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        chosen = [f"experiment={EXPERIMENT}", f"threads={plan.threads}", "out=unused"]
        settings = expect(train_settings(chosen), PearlSettings)
        # One more iteration than is measured, because the last one validates.
        iterations = settings.script_iterations + plan.repetitions + 2
        self.settings = replace(
            settings,
            updates_per_iteration=plan.updates,
            iterations=iterations,
            validation_every=iterations,
        )
        self.trainer = Trainer(self.settings)
        kind, count = family(settings.family), settings.worlds
        self.worlds = kind.make(count, 0, plan.threads)
        self.worlds.assign(kind.space.sample(count, np.random.default_rng(0), "train"))
        self.actions = UniformActions(self.worlds, np.random.default_rng(0))
        for _ in range(settings.script_iterations + 1):
            self.trainer.iterate()

    @property
    def name(self) -> str:
        bfloat16 = expect(self.trainer.learner, PearlLearner).networks.bfloat16
        return f"ours ({'bfloat16' if bfloat16 else 'float32'})"

    @property
    def rows(self) -> int:
        return self.settings.learner.tasks_per_batch * self.settings.learner.rows_per_task

    def turn(self) -> Cost:
        metrics, s = self.trainer.iterate(), self.settings
        return Cost(
            gradient=metrics["time/learn"] / s.updates_per_iteration,
            environment=self._environment(),
            collecting=metrics["time/collect"] / (s.worlds * s.run_steps),
        )

    def close(self) -> None:
        self.worlds.close()
        self.trainer.close()

    def _environment(self) -> float:
        observation = self.worlds.reset(np.ones(self.worlds.worlds, bool))
        actions = [self.actions.act(observation) for _ in range(self.plan.periods)]
        start = time.perf_counter()
        for action in actions:
            step = self.worlds.step(action)
            self.worlds.reset(step.done)
        return (time.perf_counter() - start) / (len(actions) * self.worlds.worlds)


def reference_turn(reference: Reference, plan: Plan) -> Cost:
    shape = (plan.steps, *reference.algorithm.env.action_space.shape)
    actions = reference.rng.uniform(-1.0, 1.0, shape)
    visit = _timed(reference.visit)
    return Cost(
        gradient=_timed(lambda: reference.learn(plan.reference_updates)) / plan.reference_updates,
        environment=_timed(lambda: reference.act(actions)) / plan.steps,
        collecting=visit / reference.visited,
    )


def _timed(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def tell(plan: Plan, parameters: dict[str, Scalar], found: Found, seed: int = 0) -> None:
    """Record the results, with the family and the number of threads."""
    parameters = {"family": FAMILY, "threads": plan.threads, **parameters}
    for metric, value, unit in found:
        record(NAME, metric, value, unit, parameters, seed, folder=plan.folder)


def tell_steps(plan: Plan, who: str, cost: Cost, rows: int) -> None:
    found = [
        ("gradient step", 1e3 * cost.gradient, "ms"),
        ("rows in it", rows, "1"),
        ("rows learnt from", rows / cost.gradient, "1/s"),
        ("environment alone", 1 / cost.environment, "steps/s"),
        ("collecting", 1 / cost.collecting, "steps/s"),
    ]
    tell(plan, {"code": who}, found)


def tell_schedule(plan: Plan, schedule: Schedule, cost: Cost) -> float:
    """The reference's schedule to a million steps and to its end; hours to a million."""
    total = 0.0
    for name, iterations in (
        ("the end of its schedule", schedule.iterations),
        ("a million environment steps", schedule.until(MILLION)),
    ):
        took = hours(schedule, cost, iterations)
        # Without the reference's evaluations, in its favour; ours are included.
        total = took["learning"] + took["collecting"]
        found = [
            ("environment steps", schedule.first + iterations * schedule.steps, "1"),
            ("gradient steps", iterations * schedule.updates, "1"),
            *((metric, value, "h") for metric, value in took.items()),
            ("learning and collecting", total, "h"),
        ]
        tell(plan, {"the reference until": name}, found)
    return total


def tell_runs(plan: Plan, runs: Sequence[Path], level: float, theirs: float) -> None:
    """theirs: the reference's hours to a million environment steps."""
    for run in runs:
        minutes = seconds_to(read_log(run), level) / 60
        found = [
            ("ours", minutes, "min"),
            ("the reference, a million steps", 60 * theirs, "min"),
            ("times faster", 60 * theirs / minutes, "1"),
        ]
        tell(plan, {"return": level}, found, load_settings(run).seed)


def measure(plan: Plan, checkout: Path | None, runs: Sequence[Path], level: float) -> None:
    if checkout is not None:  # what cannot be compared is found out before the long part
        published(checkout)
    for run in runs:
        if load_settings(run).family != FAMILY:
            raise AcclimateError(f"{run}: a run of another family; expected {FAMILY}")
        seconds_to(read_log(run), level)
    torch.set_num_threads(plan.threads)
    ours = Ours(plan)
    reference = Reference(checkout, plan.fill) if checkout else None
    if reference is not None:
        reference_turn(reference, plan)
    mine, theirs = [], []
    for _ in range(plan.repetitions):
        mine.append(ours.turn())
        if reference is not None:
            theirs.append(reference_turn(reference, plan))
    ours.close()
    if reference is not None:
        tell_steps(plan, "reference (float32)", middle(theirs), reference.rows)
    tell_steps(plan, ours.name, middle(mine), ours.rows)
    if reference is not None:
        for what, value in ratios(theirs, mine, reference.rows / ours.rows).items():
            tell(plan, {"of": what}, [("reference's time over ours", value, "1")])
        million = tell_schedule(plan, Schedule.of(reference.config), middle(theirs))
        tell_runs(plan, runs, level, million)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=Path, help=f"a checkout of {SOURCE}")
    parser.add_argument("--run", type=Path, nargs="+", default=[], help="run folders of ours")
    parser.add_argument("--level", type=float, default=LEVEL, help="the return to compare at")
    parser.add_argument("--quick", action="store_true", help="a smoke test; records nothing")
    options = parser.parse_args()
    if options.reference is None:
        print(
            "The reference is not part of this repository. To measure beside it:\n"
            f"    git clone {SOURCE} ../oyster && git -C ../oyster checkout {REVISION[:10]}\n"
            "    python -m benchmarks.bench_reference --reference ../oyster",
            flush=True,
        )
    if options.quick:
        with TemporaryDirectory() as scratch:
            plan = replace(QUICK, folder=Path(scratch))
            measure(plan, options.reference, options.run, options.level)
    else:
        measure(Plan(), options.reference, options.run, options.level)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Cost by number of worlds, tasks per batch and threads on cheetah-vel, each with its floor.

    python -m benchmarks.bench_scale [--quick]

Collecting is set beside a bare `mujoco.rollout` of the same worlds, learning beside the update's
own matrix products and nothing else, in turns within a process. Every line is a process of its own,
so that its memory is its own.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # see policies/__init__.py
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
os.environ.setdefault("MUJOCO_GL", "disable")

import argparse
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.bench_physics import Bare, runner
from benchmarks.support.learners import expect
from benchmarks.support.products import again, recorded
from benchmarks.support.results import FOLDER, Scalar, record
from policies.algorithms.pearl.config import PearlSettings
from policies.algorithms.pearl.learner import PearlLearner
from policies.algorithms.registry import train_settings
from policies.training.trainer import Trainer

NAME = "scale"
EXPERIMENT = "cheetah_vel"
WORLDS = (16, 64, 256)
TASKS = (4, 16, 64)
THREADS = (1, 2)
SCRIPTED = 2
"""Iterations that fill the replay by the script; with the second the updates begin."""


@dataclass(frozen=True)
class Plan:
    """repetitions: how often each is timed, in turns with its floor. updates: in each repetition of
    learning. run_steps: control periods of every run; 0 for the experiment's own."""

    repetitions: int = 7
    updates: int = 20
    run_steps: int = 0
    worlds: tuple[int, ...] = WORLDS
    tasks: tuple[int, ...] = TASKS
    folder: Path = FOLDER


QUICK = Plan(repetitions=2, updates=2, run_steps=20, worlds=(16,), tasks=(4,))


@dataclass(frozen=True)
class Cell:
    """One line of the table.

    what: "collecting", by worlds, or "learning", by tasks per batch: that is `size`.
    """

    what: str
    size: int
    threads: int

    @property
    def name(self) -> str:
        unit = "worlds" if self.what == "collecting" else "tasks per batch"
        return f"{self.what}, {self.size} {unit}, {self.threads} thread{'s' * (self.threads > 1)}"


@dataclass(frozen=True)
class Found:
    """Results of one process. rate, floor: rows/s (collected steps, or rows used for learning) of
    ours and of the floor; share: the floor's time over ours; updates/s or None. Bytes: largest
    resident memory, memory after the imports, and the replay at the experiment's end."""

    rate: float
    floor: float
    share: float
    updates: float | None
    memory: float
    imports: float
    replay: float


def composed(cell: Cell) -> PearlSettings:
    """The experiment's settings with a cell's size."""
    size = f"{'worlds' if cell.what == 'collecting' else 'learner.tasks_per_batch'}={cell.size}"
    chosen = [f"experiment={EXPERIMENT}", f"threads={cell.threads}", "out=unused", size]
    return expect(train_settings(chosen), PearlSettings)


def settings_of(cell: Cell, plan: Plan) -> PearlSettings:
    """The same with no more iterations than are measured."""
    settings = composed(cell)
    # The last iteration always validates; it is never reached.
    iterations = SCRIPTED + 1 + plan.repetitions + 1
    return replace(
        settings,
        script_iterations=SCRIPTED,
        run_steps=plan.run_steps or settings.run_steps,
        updates_per_iteration=plan.updates if cell.what == "learning" else 0,
        iterations=iterations,
        validation_every=iterations,
    )


def measure(cell: Cell, plan: Plan) -> Found:
    """Measure one cell, in a process that has done no other work."""
    imports = peak_memory()
    settings = settings_of(cell, plan)
    trainer = Trainer(settings)
    learner = expect(trainer.learner, PearlLearner)
    trainer.iterate()
    # The script still collects, so that only the updates' products are recorded.
    with recorded() if cell.what == "learning" else nullcontext([]) as products:
        trainer.iterate()
    trainer.iterate()
    memory = peak_memory()
    replay = sum(array.nbytes for array in learner.replay.arrays.values()) / settings.iterations
    if cell.what == "learning":
        floor, metric = again(products), "time/learn"
        rows = plan.updates * settings.learner.tasks_per_batch * settings.learner.rows_per_task
    else:
        floor, metric = bare_rollouts(settings), "time/collect"
        rows = settings.worlds * settings.run_steps
    floor()
    ours, bare = np.zeros(plan.repetitions), np.zeros(plan.repetitions)
    for turn in range(plan.repetitions):
        ours[turn] = trainer.iterate()[metric]
        start = time.perf_counter()
        floor()
        bare[turn] = time.perf_counter() - start
    trainer.close()
    return Found(
        rate=float(rows / np.median(ours)),
        floor=float(rows / np.median(bare)),
        share=float(np.median(bare / ours)),
        updates=float(plan.updates / np.median(ours)) if cell.what == "learning" else None,
        memory=memory,
        imports=imports,
        replay=replay * composed(cell).iterations,
    )


def bare_rollouts(settings: PearlSettings) -> Callable[[], None]:
    """A run of the same worlds in bare `mujoco.rollout`, control period by control period."""
    subject = runner(settings.family, settings.worlds, settings.threads, settings.seed)
    subject.worlds.reset(np.ones(settings.worlds, bool))
    bare, start = Bare(subject, settings.threads), subject.sim.state.copy()
    controls = [subject.act(start) for _ in range(settings.run_steps)]

    def run() -> None:
        state = start
        for control in controls:
            state = bare.run(state, control)[:, -1]

    return run


def peak_memory() -> float:
    """Largest resident memory of this program [bytes]. getrusage would include the program that
    started it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            return 1024.0 * int(value.split()[0])
    raise RuntimeError("/proc/self/status: no VmHWM; expected Linux")


def cells(plan: Plan) -> list[Cell]:
    sizes = {"collecting": plan.worlds, "learning": plan.tasks}
    return [Cell(what, n, t) for what, each in sizes.items() for n in each for t in THREADS]


def report(cell: Cell, found: Found, plan: Plan) -> None:
    parameters: dict[str, Scalar] = {"family": "cheetah-vel", "what": cell.name}
    for metric, value, unit in (
        ("rows", found.rate, "1/s"),
        ("floor", found.floor, "1/s"),
        ("share of the floor", found.share, "1"),
        ("updates", found.updates, "1/s"),
        ("peak memory", found.memory / 1e6, "MB"),
        ("of it imports", found.imports / 1e6, "MB"),
        ("replay at the end", found.replay / 1e6, "MB"),
    ):
        if value is not None:
            record(NAME, metric, value, unit, parameters, 0, folder=plan.folder)


def run(plan: Plan) -> None:
    # Spawned, because a forked process would begin with this one's memory and locks.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool:
        chosen = cells(plan)
        for cell, found in zip(chosen, pool.map(partial(measure, plan=plan), chosen), strict=True):
            report(cell, found, plan)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke test; records nothing")
    if parser.parse_args().quick:
        with TemporaryDirectory() as scratch:
            run(replace(QUICK, folder=Path(scratch)))
    else:
        run(Plan())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

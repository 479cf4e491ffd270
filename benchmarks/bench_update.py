"""Time of each part of PEARL's update, and of an iteration's other parts.

    python -m benchmarks.bench_update [family ...] [--quick]
    python -m benchmarks.bench_update EXPERIMENT [SETTING=VALUE ...] --tree PATH

Trains a published family with its experiment's settings for a few iterations, and times each part
of an update. Run it alone: another process changes the times more than the parts differ.

With --tree another checkout's updates are measured in turns with this one's, by processor time, and
nothing is recorded.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # see policies/__init__.py
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
os.environ.setdefault("MUJOCO_GL", "disable")

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.support.children import update_probe
from benchmarks.support.learners import expect
from benchmarks.support.results import FOLDER, ROOT, record
from policies.algorithms.pearl.config import PearlSettings
from policies.algorithms.pearl.learner import PearlLearner
from policies.algorithms.registry import train_settings
from policies.training.trainer import Trainer

NAME = "update"
FAMILIES = ("cheetah-vel", "walker-params", "ant-dir")
MEASURED = 2
"""Iterations with updates, after those that the script fills."""
WHOLE, REST = "the whole update", "actor's backward pass, its step, temperature, targets"
PARTS = {
    "rows": "gathering rows",
    "context": "gathering contexts",
    "_latents": "encoder and belief, forward",
    "_critic_loss": "critics and their targets, forward",
    "_step_critic": "critics and encoder, backward and step",
    "_actor_loss": "actor and critics, forward",
}


class Clock:
    """Seconds of each part in every update; a part within another is not counted twice."""

    def __init__(self) -> None:
        self.parts: dict[str, list[float]] = {}
        self._inner = 0.0

    def around(self, owner: Any, method: str, part: str) -> None:
        """Have `owner.method` timed as `part`."""
        inside: Callable[..., Any] = getattr(owner, method)

        def timed(*arguments: Any) -> Any:
            outer, self._inner = self._inner, 0.0
            start = time.perf_counter()
            try:
                return inside(*arguments)
            finally:
                seconds = time.perf_counter() - start
                self.parts.setdefault(part, []).append(seconds - self._inner)
                self._inner = outer + seconds

        setattr(owner, method, timed)


def measured(settings: PearlSettings) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds of an update's parts, and seconds of the last iteration's."""
    trainer, clock = Trainer(settings), Clock()
    learner = expect(trainer.learner, PearlLearner)
    for name, part in PARTS.items():
        owner = learner.replay if name in ("rows", "context") else learner.networks
        clock.around(owner, name, part)
    clock.around(learner.networks, "update", REST)
    metrics: dict[str, float] = {}
    try:
        for _ in range(settings.iterations - 1):
            metrics = trainer.iterate()
    finally:
        trainer.close()
    found = {part: float(np.median(clock.parts[part])) for part in (*PARTS.values(), REST)}
    return found, metrics


def composed(family: str, quick: bool) -> PearlSettings:
    """The experiment's settings, for as few iterations as are measured."""
    words = [f"experiment={family.replace('-', '_')}", "out=unused"]
    settings = expect(train_settings(words), PearlSettings)
    # The last iteration always validates; it is never reached.
    iterations = max(settings.script_iterations, 1) + MEASURED
    settings = replace(settings, iterations=iterations, validation_every=iterations)
    return replace(settings, worlds=4, updates_per_iteration=2) if quick else settings


def tell(family: str, parts: dict[str, float], metrics: dict[str, float], folder: Path) -> None:
    whole = sum(parts.values())
    for part, seconds in {**parts, WHOLE: whole}.items():
        parameters = {"part": part, "family": family}
        record(NAME, "median", 1e3 * seconds, "ms", parameters, 0, folder=folder)
    share = metrics["time/collect"] / metrics["time/learn"]
    record(NAME, "collecting / learning", share, "1", {"family": family}, 0, folder=folder)


@contextmanager
def _records(quick: bool) -> Iterator[Path]:
    """The folder for records; a smoke test's records are thrown away."""
    if not quick:
        yield FOLDER
        return
    with TemporaryDirectory() as folder:
        yield Path(folder)


def compare(tree: Path, experiment: str, changes: list[str], blocks: int) -> None:
    """Print both trees' processor times of an update, from blocks in turns."""
    command = [sys.executable, "-P", update_probe.__file__, experiment, *changes]
    probes = {
        root: subprocess.Popen(
            command,
            cwd=root,
            env=os.environ | {"PYTHONPATH": str(root)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for root in (tree, ROOT)
    }
    found: dict[Path, list[float]] = {root: [] for root in probes}
    try:
        for number in range(blocks):
            # Each tree comes first in every second turn.
            for root, probe in list(probes.items())[:: 1 if number % 2 else -1]:
                found[root].append(1e3 * _block(probe))
    finally:
        for probe in probes.values():
            probe.kill()
            probe.wait()
    for root, times in found.items():
        levels = ", ".join(f"p{q} {np.percentile(times, q):.2f}" for q in (0, 10, 50))
        print(f"{experiment}, {root}: {levels} ms of processor time an update")
    old, new = (np.median(times) for times in found.values())
    print(f"{experiment}: {old / new:.2f} times the updates per second, by the medians")


def _block(probe: subprocess.Popen[str], updates: int = 10) -> float:
    """Seconds of an update. Raises RuntimeError when the probe has ended."""
    if probe.stdin is None or probe.stdout is None:
        raise RuntimeError(f"{probe.args}: started without pipes")
    probe.stdin.write(f"{updates}\n")
    probe.stdin.flush()
    line = probe.stdout.readline()
    if not line:
        raise RuntimeError(f"{probe.args}: ended with {probe.wait()}")
    return float(line)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_update", description=__doc__)
    parser.add_argument(
        "family", nargs="*", help=f"some of {', '.join(FAMILIES)}; with --tree, see above"
    )
    parser.add_argument("--quick", action="store_true", help="a smoke test that records nothing")
    parser.add_argument("--tree", type=Path, help="another checkout, to compare this one with")
    parser.add_argument("--blocks", type=int, default=20, help="of ten updates, for each tree")
    chosen = parser.parse_args(words)
    if chosen.tree is not None:
        experiment, *changes = chosen.family or ["cheetah_vel"]
        compare(chosen.tree.resolve(), experiment, changes, chosen.blocks)
        return 0
    unknown = sorted(set(chosen.family) - set(FAMILIES))
    if unknown:
        parser.error(f"{unknown[0]!r}: expected {', '.join(FAMILIES)}")
    with _records(chosen.quick) as folder:
        for family in chosen.family or FAMILIES:
            tell(family, *measured(composed(family, chosen.quick)), folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

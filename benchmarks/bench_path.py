"""Time from a frame to its command within the bridge's process, without sockets.

    python -m benchmarks.bench_path [--tree PATH] [--blocks 20] [--quick]

Hot, one frame after the other, and after a sleep of 5 ms, as at 200 Hz; with and without the
adaptation worker; with and without a recording. In the same turns a bare run of the policy by
onnxruntime and a bare belief update are measured, so that other work on the machine affects all.
With --tree another checkout is measured in turns with this one, and nothing is recorded.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import msgspec
import numpy as np

from benchmarks.support.children import path_probe
from benchmarks.support.children.path_probe import Block, Case
from benchmarks.support.results import FOLDER, ROOT, record

NAME = "path"
BUNDLE = ROOT / "bundles" / "insertion-pearl"
PAUSES = (0.0, 0.005)  # before each frame [s]
CASES = tuple(
    Case(pause, learning, recording)
    for pause in PAUSES
    for learning in (False, True)
    for recording in (False, True)
)
# Answers in one block of a case, by pause: half a second each.
COUNTS = {0.0: 300, 0.005: 30}


@dataclass(frozen=True)
class Plan:
    """blocks: of each case and tree, in turns."""

    blocks: int = 20
    cases: tuple[Case, ...] = CASES
    folder: Path = FOLDER


class Worker:
    """A process that measures the path of one tree."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._requests = cast("BinaryIO", process.stdin)
        self._blocks = cast("BinaryIO", process.stdout)

    def measure(self, case: Case, count: int) -> Block:
        """One block. Raises RuntimeError when the process has ended."""
        self._requests.write(msgspec.json.encode((case, count)) + b"\n")
        self._requests.flush()
        line = self._blocks.readline()
        if not line:
            raise RuntimeError(f"{self._process.args}: ended with {self._process.wait()}")
        return msgspec.json.decode(line, type=Block)


@contextmanager
def worker(tree: Path) -> Iterator[Worker]:
    """The packages come from `tree`, the probe and the bundle from here."""
    environment = os.environ | {"PYTHONPATH": str(tree)}
    command = [sys.executable, path_probe.__file__, str(BUNDLE)]
    with subprocess.Popen(
        command, cwd=tree, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield Worker(process)


def measure(trees: list[Path], plan: Plan) -> dict[tuple[Path, Case], list[Block]]:
    """The blocks of every case of every tree, all taken in turns."""
    found: dict[tuple[Path, Case], list[Block]] = {}
    with ExitStack() as stack:
        workers = {tree: stack.enter_context(worker(tree)) for tree in trees}
        for number in range(plan.blocks):
            for case in plan.cases:
                # Each tree comes first in every second turn.
                for tree in trees if number % 2 else trees[::-1]:
                    block = workers[tree].measure(case, COUNTS[case.pause])
                    found.setdefault((tree, case), []).append(block)
    return found


def quantiles(blocks: list[Block], what: str) -> dict[str, float]:
    """By name [µs]."""
    values = np.concatenate([getattr(block, what) for block in blocks]) / 1e3
    levels = np.percentile(values, (10, 50, 99)).tolist()
    return dict(zip(("p10", "p50", "p99"), levels, strict=True))


def tell(case: Case, blocks: list[Block], plan: Plan) -> None:
    """Record one case."""
    parameters = {
        "sleep [ms]": case.pause * 1e3,
        "learning": case.learning,
        "recording": case.recording,
    }
    answer, bare = quantiles(blocks, "answer"), quantiles(blocks, "bare")
    rows = {f"answer, {name}": (value, "µs") for name, value in answer.items()}
    rows |= {f"bare run, {name}": (value, "µs") for name, value in bare.items()}
    rows["answer over bare run, p50"] = answer["p50"] / bare["p50"], "1"
    rows["whole turn, p50"] = quantiles(blocks, "turn")["p50"], "µs"
    rows["belief update, p50"] = quantiles(blocks, "update")["p50"], "µs"
    python, native, *_ = blocks[-1].calls
    rows["Python calls to the command"] = python, "1"
    rows["C calls to the command"] = native, "1"
    for metric, (value, unit) in rows.items():
        record(NAME, metric, value, unit, parameters, 0, folder=plan.folder)


def compare(trees: list[Path], found: dict[tuple[Path, Case], list[Block]], plan: Plan) -> None:
    """Print both trees' quantiles, case by case."""
    for case in plan.cases:
        print(f"\n{case}")
        for tree in trees:
            blocks = found[tree, case]
            cells = [
                f"{what} " + "/".join(f"{v:.1f}" for v in quantiles(blocks, what).values())
                for what in ("answer", "turn", "bare", "update")
            ]
            print(f"  {tree.name}: {'  '.join(cells)} µs p10/p50/p99; calls {blocks[-1].calls}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tree", type=Path, help="another checkout, to compare this one with")
    parser.add_argument("--blocks", type=int, default=Plan.blocks)
    parser.add_argument("--quick", action="store_true", help="a smoke test; records nothing")
    options = parser.parse_args()
    if options.tree is not None:
        trees, plan = [options.tree.resolve(), ROOT], Plan(options.blocks)
        compare(trees, measure(trees, plan), plan)
        return
    with tempfile.TemporaryDirectory() as scratch:
        plan = Plan(options.blocks)
        if options.quick:
            plan = Plan(1, CASES[:4], Path(scratch))
        found = measure([ROOT], plan)
        for case in plan.cases:
            tell(case, found[ROOT, case], plan)


if __name__ == "__main__":
    main()

"""Adaptation through the whole stack: bridge, real sockets, and a simulated arm that training did
not use, over several seeds of tasks and latents.

    python -m benchmarks.bench_twin [--seeds 3]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks.support.results import record
from robot_bridge.trial.folder import read_about, read_lines
from robot_bridge.trial.report import group_tasks
from sim.core.parameter import Split
from sim.demo import BodyName, DemoSettings, perform
from sim.twin.child_processes import Signals

NAME = "twin"
GROUPS: dict[Split, int] = {"held_out": 24, "unseen_choice": 16}
BODIES: tuple[BodyName, ...] = ("arm", "wrist")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, …")
    seeds = parser.parse_args().seeds
    for body in BODIES:
        for seed in range(seeds):
            with tempfile.TemporaryDirectory() as scratch:
                out = Path(scratch) / "demo"
                settings = DemoSettings(out=out, body=body, groups=GROUPS, seed=seed, film=False)
                with Signals() as signals:
                    perform(settings, Console(quiet=True), signals)
                groups = group_tasks(read_lines(out), read_about(out))
            for split, group in zip(GROUPS, groups, strict=True):
                for row in group.rows:
                    parameters = {"body": body, "group": split, "episodes": row.episode}
                    record(NAME, "success", row.rate, "1", parameters, seed)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

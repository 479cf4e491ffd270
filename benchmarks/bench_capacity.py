"""What one bridge carries: robots × rate, each in an episode, with recording on.

    python -m benchmarks.bench_capacity [--seconds 5] [--quick]

One process sends the observations of all robots, each at its rate, without waiting for answers; the
bridge is a process of its own on the same machine, over ipc. A robot counts as served if at least
90 % of its observations are answered with TRACK within one control period. Where the sending
process does not keep up, fewer observations than scheduled are sent, and recorded so. Fairness: the
largest 99th percentile of one robot's answers, also over that of a robot alone at the same rate.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.bench_overload import Attack, run
from benchmarks.support.results import FOLDER, record

NAME = "capacity"
ROBOTS = (1, 4, 16, 64)
RATES = (20, 50, 100, 200, 500)
WARM_UP = 1.0
"""That robots send before the measured time, see `bench_overload.run` [s]."""


@dataclass(frozen=True)
class Plan:
    seconds: float = 5.0
    robots: tuple[int, ...] = ROBOTS
    rates: tuple[int, ...] = RATES
    folder: Path = FOLDER


def measure(plan: Plan) -> None:
    """Measure and record every cell."""
    alone: dict[int, float] = {}
    for robots in plan.robots:
        for rate in plan.rates:
            found = run(Attack(robots, rate), plan.seconds)
            ages = np.array(found.ages) * 1e3
            p50, p99 = np.percentile(ages, [50, 99]) if len(ages) else (-1.0, -1.0)
            print(f"{robots} × {rate} Hz: {found.served} served {found.fault}", flush=True)
            worst = found.worst * 1e3
            # Of a robot alone; the first row of every rate.
            alone.setdefault(rate, worst)
            scheduled = robots * rate * (plan.seconds + WARM_UP)
            parameters = {"robots": robots, "rate": rate}
            for metric, value, unit in (
                ("served", found.served, "1"),
                ("told to stop", found.refused, "1"),
                ("answer p50", p50, "ms"),
                ("answer p99", p99, "ms"),
                ("worst robot's p99", worst, "ms"),
                ("worst robot's p99 over alone", worst / alone[rate], "1"),
                ("sent of scheduled", found.sent / scheduled, "1"),
            ):
                record(NAME, metric, float(value), unit, parameters, 0, folder=plan.folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=Plan.seconds)
    parser.add_argument("--quick", action="store_true", help="two cells; records nothing")
    options = parser.parse_args()
    # The robots' own sockets.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if not options.quick:
        measure(Plan(options.seconds))
        return
    with tempfile.TemporaryDirectory() as scratch:
        measure(Plan(1.0, (1, 2), (20,), Path(scratch)))


if __name__ == "__main__":
    main()

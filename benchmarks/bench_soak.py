"""Half an hour at 500 Hz, with adaptation and recording: missed periods, memory, the recording.

    python -m benchmarks.bench_soak [--minutes 30] [--rate 500] [--priority P] [--quick]

A bridge, a robot and a floor (bare pyzmq and onnxruntime), each a process of its own, over ipc. For
a quiet machine, or with `--beside "two training runs"` or the like, which is kept with the results.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adapt.bundle.policy_bundle import PolicyBundle
from benchmarks.bench_bridge import BUNDLE, at_rate
from benchmarks.support.processes import started
from benchmarks.support.results import FOLDER, ROOT, record
from robot_bridge.cli.replay import describe, replay
from robot_bridge.recording.reader import RecordingReader, parts

NAME = "soak"
SETTLED = 0.2  # share of the run after which memory is looked at: buffers have grown by then
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Plan:
    """rate [Hz]. settings: more settings of the bridge. priority: of all processes under
    SCHED_FIFO; 0 for ordinary scheduling. beside: other work on the machine."""

    minutes: float = 30.0
    rate: int = 500
    folder: Path = FOLDER
    settings: tuple[str, ...] = ()
    priority: int = 0
    beside: str = "nothing"


class Memory:
    """Samples a process's resident memory once a second, on a thread. samples: (time [s], bytes)"""

    def __init__(self, process: int) -> None:
        self.samples: list[tuple[float, int]] = []
        self._process = process
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def slope(self) -> float:
        """Growth after SETTLED of the run [bytes/s], by least squares; 0 for too few samples."""
        times, sizes = np.array(self.samples, np.float64).T
        late = times >= times[0] + SETTLED * (times[-1] - times[0])
        if late.sum() < 3:
            return 0.0
        return float(np.polyfit(times[late], sizes[late], 1)[0])

    def _run(self) -> None:
        while not self._over.wait(1.0):
            words = Path(f"/proc/{self._process}/statm").read_text().split()
            self.samples.append((time.monotonic(), int(words[1]) * PAGE))


def soak(plan: Plan, scratch: Path) -> bool:
    """Run once and record the results; returns whether all requirements were met."""
    bundle, endpoint, floor = scratch / "bundle", f"ipc://{scratch}/b", f"ipc://{scratch}/f"
    at_rate(BUNDLE, bundle, 1 / plan.rate)
    words = [
        "-m",
        "acclimate",
        "bridge",
        f"bundle={bundle}",
        f"endpoint={endpoint}",
        f"record={scratch / 'recording'}",
        f"state={scratch / 'state'}",
        # Late answers are counted; they must not end the measurement.
        "pace.slipping=1",
        "pace.lost=1",
        f"priority={plan.priority}",
        *plan.settings,
    ]
    idle = ["-m", "benchmarks.support.servers", "floor", str(bundle), floor]
    before = steal()
    with started(idle), started(words) as bridge:
        memory = Memory(bridge.pid)
        try:
            account = drive(plan, endpoint, floor, bundle, bridge.pid)
        finally:
            memory.close()
    stolen = steal() - before
    settings = " ".join(plan.settings) or "none"
    said = {
        "rate": plan.rate,
        "minutes": plan.minutes,
        "priority": plan.priority,
        "settings": settings,
        "beside": plan.beside,
    }
    missed = ["missed_first_second", "missed_system", "missed_unclear", "missed_ours"]
    for metric in (*missed, "periods", "floor_missed", "floor_periods", "stops"):
        record(NAME, metric.replace("_", " "), account[metric], "1", said, 0, folder=plan.folder)
    tell = {
        "worst answer": (account["worst"] * 1e3, "ms"),
        "floor's worst answer": (account["floor_worst"] * 1e3, "ms"),
        "stolen by the hypervisor": (stolen, "s"),
        "memory at the end": (memory.samples[-1][1] / 2**20, "MiB"),
        "memory grows by": (memory.slope() * 3600 / 2**20, "MiB/h"),
    }
    for metric, (value, unit) in tell.items():
        record(NAME, metric, value, unit, said, 0, folder=plan.folder)
    print(f"reason of the last mode: {account['reason'] or 'none'}", file=sys.stderr)
    for miss in account["misses"]:
        print(f"missed: {miss}", file=sys.stderr)
    kept = check(scratch / "recording", bundle, account["periods"])
    record(NAME, "steps replayed", kept, "1", said, 0, folder=plan.folder)
    whole = kept > 0
    return whole and not account["missed_ours"] and not account["stops"]


def drive(plan: Plan, endpoint: str, floor: str, bundle: Path, bridge: int) -> dict[str, Any]:
    """Run the robot; returns its counts. Raises RuntimeError if it fails."""
    seconds = 60.0 * plan.minutes
    command = [sys.executable, "-m", "benchmarks.support.children.soak_robot"]
    words = [*command, endpoint, floor, str(bundle), str(bridge), str(seconds)]
    done = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, timeout=120 + 2 * seconds
    )
    lines = done.stdout.splitlines()
    if done.returncode or len(lines) != 2:
        raise RuntimeError(f"the robot ended with {done.returncode}: {done.stdout}{done.stderr}")
    return json.loads(lines[1])


def check(folder: Path, bundle: Path, periods: int) -> int:
    """Read and replay the recording. Returns how many steps gave the same bits; 0 if any differed,
    was missing or could not be read."""
    first = min(folder.glob("*.mcap"))
    files = parts(first)
    steps = 0
    for path in files:
        reader = RecordingReader(path)
        steps += sum(hasattr(entry.row, "sequence") for entry in reader.entries())
        if reader.cut:
            print(f"cut: {path.name}: {reader.cut}", file=sys.stderr)
            return 0
    report = replay(files, PolicyBundle.load(bundle))
    print(describe(report), file=sys.stderr)
    if report.different or report.losses or steps < periods:
        return 0
    return report.replayed


def steal() -> float:
    """Time that the hypervisor has given to other machines [s]."""
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return int(words[8]) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=Plan.minutes)
    parser.add_argument("--rate", type=int, default=Plan.rate, help="[Hz]")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="for the results")
    parser.add_argument("--priority", type=int, default=0, help="SCHED_FIFO for all of it")
    parser.add_argument("--beside", default=Plan.beside, help="what else the machine does")
    parser.add_argument("--quick", action="store_true", help="ten seconds; records nothing")
    parser.add_argument("settings", nargs="*", help="of the bridge's, e.g. loop=polling core=1")
    options = parser.parse_args()
    if options.priority:
        # Inherited by all processes, so the comparison does not depend on the scheduler.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(options.priority))
    with tempfile.TemporaryDirectory() as scratch:
        where = Path(scratch)
        plan = Plan(
            1 / 6 if options.quick else options.minutes,
            options.rate,
            where / "results" if options.quick else options.folder,
            tuple(options.settings),
            options.priority,
            options.beside,
        )
        return 0 if soak(plan, where) else 1


if __name__ == "__main__":
    raise SystemExit(main())

"""The nine plugs of a published table, none of which training draws: success of the shipped policy
after so many episodes at each socket, with and without touches after a failure, beside scripts, and
under harder conditions.

    python -m benchmarks.bench_plugs run [--sockets 20] [--harder 0] [--plugs NAME ...]
                                         [--methods NAME ...] [--folder FOLDER]
    python -m benchmarks.bench_plugs record [--sockets 20] [--folder FOLDER]

`run` has the simulated arm try sockets through a bridge by `acclimate trial`, and leaves a folder
for each socket; it may be stopped and started again. --harder: so many sockets under each harder
condition as well. `record` counts what is there and runs the scripts on the same sockets, with the
same starts, in this process.
"""

from __future__ import annotations

import os

os.environ.setdefault("MUJOCO_GL", "disable")

import argparse
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.support.results import Scalar, record
from benchmarks.support.scripted_attempts import SCRIPTS, attempts
from robot_bridge.errors import ProbeError
from robot_bridge.trial.folder import read_lines
from robot_bridge.trial.probing import read_probes
from robot_bridge.trial.runner import Probing, TrialSettings, run
from sim.core.task_space import Task
from sim.demo import SHIPPED
from sim.insertion.parts.described import described_plug, named_plugs, plug_file
from sim.insertion.parts.spaces import CONDITIONS, plug_space
from sim.twin.child_processes import Children, Signals
from sim.twin.twin import draw_tasks

NAME = "plugs"
PUBLISHED = {
    "us_ac": 1.0, "nema_14_30p": 1.0, "metal_peg_rectangular": 1.0, "metal_peg_round": 1.0,
    "metal_peg_square": 0.99, "uk_ac": 1.0, "car_4_pin": 1.0, "car_3_pin": 0.75, "eu_ac": 0.99,
}  # fmt: skip
"""Success after fine-tuning with demonstrations on a real arm: Zhao et al. 2021, arXiv 2110.04276,
as printed in a lecture of 2026."""
SHOWN = (0, 1, 2, 3, 5, 10)
"""Episodes before the attempt that counts."""
EPISODES, HARDER_EPISODES = 11, 6
SOCKETS = 100
"""That a twin draws; a benchmark takes the first ones."""
SEED = 0
REACH = 0.08
"""The bridge's limit on probing [m]: offsets × 1.5 take it to 71 mm."""
START = 60.0
"""For bridge and twin to appear [s]."""
PATIENCE = 600.0
"""For one episode, or one probing, on a busy machine [s]."""
SCRATCH = Path("runs/bench_plugs")
FAILED = "no_prior.txt"
"""In a socket's folder: why touches told no prior."""


class Method(NamedTuple):
    """How the shipped policy tries. longest: most episodes."""

    probe: Probing
    adapting: bool
    longest: int


TOUCHING, UNTOUCHED = "shipped policy, touches after a failure", "shipped policy"
METHODS = {
    TOUCHING: Method("after_failure", True, EPISODES),
    UNTOUCHED: Method("never", True, EPISODES),
    "shipped policy, belief at the prior": Method("never", False, 1),
}
HARDER_METHODS = [TOUCHING, UNTOUCHED]


@dataclass(frozen=True)
class Row:
    """One method on one plug. condition: of `CONDITIONS`; "" for none."""

    plug: str
    condition: str
    method: str

    @property
    def episodes(self) -> int:
        most = HARDER_EPISODES if self.condition else EPISODES
        return min(METHODS[self.method].longest, most)

    @property
    def family(self) -> str:
        """As a twin takes it."""
        if self.condition:
            return f"benchmarks.support.harder_plugs:{self.plug}, {self.condition}"
        return str(plug_file(self.plug))

    def folder(self, scratch: Path, socket: int) -> Path:
        return scratch / (self.condition or "as described") / self.plug / self.method / str(socket)


def sockets(plug: str, condition: str, count: int) -> list[Task]:
    """The first ones that the twin has."""
    return draw_tasks(plug_space(plug_file(plug), condition), {"held_out": SOCKETS}, SEED)[:count]


def whole(folder: Path, episodes: int) -> bool:
    """Whether a socket has been tried to the end."""
    if (folder / FAILED).exists():
        return True
    return (folder / "summary.json").exists() and len(read_lines(folder)) == episodes


@contextmanager
def running_bridge() -> Iterator[Callable[[Sequence[Row], int, Path], None]]:
    """A bridge for as long as the context lasts; what tries sockets on it."""
    with (
        tempfile.TemporaryDirectory() as place,
        Signals() as signals,
        Children(Path(place), signals) as children,
    ):
        endpoint = f"ipc://{place}/bridge.ipc"
        children.start(
            "bridge", f"bundle={SHIPPED}", f"endpoint={endpoint}", f"probe.reach={REACH}"
        )

        def try_sockets(rows: Sequence[Row], count: int, scratch: Path) -> None:
            left = [
                (row, socket)
                for row in rows
                for socket in range(count)
                if not whole(row.folder(scratch, socket), row.episodes)
            ]
            if left:
                with Children(Path(place), signals) as robot:
                    groups = f"groups.held_out={SOCKETS}"
                    words = (f"endpoint={endpoint}", f"wait={START:g}", "body=arm", groups)
                    robot.start("twin", *words, f"family={rows[0].family}")
                    for row, socket in left:
                        _try(row, socket, endpoint, scratch)
                print(f"{rows[0].plug} {rows[0].condition}: {len(left)} trials", flush=True)

        yield try_sockets


def _try(row: Row, socket: int, endpoint: str, scratch: Path) -> None:
    method, out = METHODS[row.method], row.folder(scratch, socket)
    same = replace(row, method=TOUCHING).folder(scratch, socket)
    if row.method == UNTOUCHED and whole(same, row.episodes) and not (same / FAILED).exists():
        # Where no touches were due, the same seeds gave this trial.
        if not read_probes(same):
            shutil.copytree(same, out, dirs_exist_ok=True)
            return
    settings = TrialSettings(
        endpoint=endpoint,
        out=out,
        first_task=socket,
        tasks=1,
        episodes=row.episodes,
        seed=SEED,
        probe=method.probe,
        adapting=method.adapting,
        overwrite=True,
        wait=START,
        patience=PATIENCE,
    )
    try:
        run(settings)
    except ProbeError as error:
        # A person would have to look: the socket's other attempts count as failed.
        (out / FAILED).write_text(f"{error}\n")


@dataclass
class Found:
    """N sockets × E episodes. success: False of an exploration, which inserts nothing. peak_force:
    of each attempt [N]. touch_force, touch_seconds: of each exploration [N, s]. no_prior: how many
    explorations told nothing."""

    success: np.ndarray
    peak_force: list[float]
    seconds: list[float]
    touch_force: list[float]
    touch_seconds: list[float]
    no_prior: int


def found(row: Row, scratch: Path) -> Found:
    """All sockets that have been tried, the first ones up to a gap."""
    folders = []
    for socket in range(SOCKETS):
        folder = row.folder(scratch, socket)
        if not whole(folder, row.episodes):
            break
        folders.append(folder)
    result = Found(np.zeros((len(folders), row.episodes), bool), [], [], [], [], 0)
    for number, folder in enumerate(folders):
        lines, probes = read_lines(folder), read_probes(folder)
        explored = [line.episode for line in probes]
        for line in lines:
            # An exploration counts as an episode.
            at = line.episode + sum(before <= line.episode for before in explored)
            if at < row.episodes:
                result.success[number, at] = line.outcome.success
            result.peak_force.append(line.outcome.measures["peak_force"])
            if line.outcome.success:
                result.seconds.append(line.outcome.duration)
        result.touch_force += [line.outcome.measures["peak_force"] for line in probes]
        result.touch_seconds += [line.report.seconds for line in probes]
        result.no_prior += (folder / FAILED).exists()
    return result


def report_forces(parameters: dict[str, Scalar], forces: Sequence[float]) -> None:
    for name, value in (
        ("peak force, median", np.median(forces)),
        ("peak force, 95th percentile", np.quantile(forces, 0.95)),
    ):
        record(NAME, name, float(value), "N", parameters, SEED)


def report(row: Row, it: Found) -> None:
    """Success by episodes before, peak forces of attempts, and what explorations cost."""
    place: dict[str, Scalar] = {"plug": row.plug, "method": row.method}
    if row.condition:
        place = {"condition": row.condition, **place}
    for k in (k for k in SHOWN if k < row.episodes):
        rate = float(it.success[:, k].mean())
        record(NAME, "success", rate, "1", {**place, "episodes": k}, SEED)
    record(NAME, "sockets", len(it.success), "1", place, SEED)
    report_forces(place, it.peak_force)
    if it.seconds:
        record(NAME, "time of a success", float(np.mean(it.seconds)), "s", place, SEED)
    if it.touch_force or it.no_prior:
        touched: dict[str, Scalar] = {k: v for k, v in place.items() if k != "method"}
        told = len(it.touch_force)
        for name, value, unit in (
            ("sockets touched", told + it.no_prior, "1"),
            ("touches that told no prior", it.no_prior, "1"),
            ("touching, mean", np.mean(it.touch_seconds or [0.0]), "s"),
            ("peak force of touches, largest", max(it.touch_force, default=0.0), "N"),
        ):
            record(NAME, name, float(value), unit, touched, SEED)


def record_all(scratch: Path, scripted: int) -> None:
    """scripted: sockets for each script."""
    for plug in PUBLISHED:
        for method in METHODS:
            row = Row(plug, "", method)
            it = found(row, scratch)
            if not len(it.success):
                continue
            report(row, it)
            if row.episodes > SHOWN[-1]:
                gap = float(it.success[:, SHOWN[-1]].mean()) - PUBLISHED[plug]
                place: dict[str, Scalar] = {"plug": plug, "method": method}
                record(NAME, "success above the published", gap, "1", place, SEED)
        _record_scripts(plug, scripted)
    for condition in CONDITIONS:
        for plug in PUBLISHED:
            for method in HARDER_METHODS:
                row = Row(plug, condition, method)
                it = found(row, scratch)
                if len(it.success):
                    report(row, it)


def _record_scripts(plug: str, count: int) -> None:
    """One attempt of each at every socket."""
    met = sockets(plug, "", count)
    for method in SCRIPTS if met else ():
        it = attempts(method, met, SEED)
        place: dict[str, Scalar] = {"plug": plug, "method": method}
        record(NAME, "success", float(it.success.mean()), "1", {**place, "episodes": 0}, SEED)
        record(NAME, "sockets", count, "1", place, SEED)
        report_forces(place, it.peak_force.tolist())
        if it.success.any():
            seconds = float(it.seconds[it.success].mean())
            record(NAME, "time of a success", seconds, "s", place, SEED)
        if method == "privileged" and it.inside:
            clearance = described_plug(plug_file(plug)).description.clearances[0]
            for name, share in (("median", 0.5), ("95th percentile", 0.95)):
                value = float(np.quantile(it.inside, share)) / clearance
                metric = f"penetration over clearance, {name}"
                record(NAME, metric, value, "1", {"plug": plug}, SEED)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["run", "record"])
    parser.add_argument("--sockets", type=int, default=20, help="for each plug, and each script")
    parser.add_argument("--harder", type=int, default=0, help="sockets under each condition")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--plugs", nargs="+", choices=named_plugs(), default=list(PUBLISHED))
    parser.add_argument("--folder", type=Path, default=SCRATCH)
    words = parser.parse_args()
    if words.what == "record":
        record_all(words.folder, words.sockets)
        return 0
    with running_bridge() as try_sockets:
        for plug in words.plugs:
            rows = [Row(plug, "", method) for method in words.methods]
            try_sockets(rows, words.sockets, words.folder)
        for condition in CONDITIONS:
            for plug in words.plugs:
                rows = [Row(plug, condition, m) for m in HARDER_METHODS if m in words.methods]
                try_sockets(rows, words.harder, words.folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

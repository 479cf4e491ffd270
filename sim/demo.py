"""`acclimate demo`: a policy meets unknown plugs on a simulated robot, and adapts."""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from adapt.bundle.policy_bundle import PolicyBundle
from adapt.errors import AcclimateError
from adapt.settings import compose
from robot_bridge.errors import BridgeError
from robot_bridge.protocol.operator_messages import EpisodeRecord
from robot_bridge.trial.folder import EpisodeLine, clear, read_lines
from robot_bridge.trial.report import ReportSettings, write_report
from robot_bridge.trial.runner import TrialSettings, run
from robot_bridge.trial.statistics import Row, table
from sim.core.task_space import Split
from sim.render.takes import Take, take_path
from sim.twin.child_processes import Children, Signals

HELP = """acclimate demo [bundle=PATH] [out=FOLDER] [seed=N]

Starts a bridge that serves the bundle and a simulated robot, each a process of its own; runs a few
episodes on each of some plugs that the policy has never met; prints success against the number of
adaptation episodes, films one task and writes everything into one HTML page."""

BodyName = Literal["arm", "wrist"]
SHIPPED = Path(__file__).resolve().parents[1] / "bundles" / "insertion-pearl"
START = 60.0
"""For bridge and robot to appear [s]."""
TITLES: dict[Split, str] = {
    "train": "trained tasks",
    "held_out": "unseen sizes and clearances",
    "unseen_choice": "a family never seen",
    "all": "all tasks",
}


@dataclass(frozen=True)
class DemoSettings:
    """bundle: folder or .zip, "" for the shipped one. out: folder to write. body: what carries the
    plug. groups: tasks, split → how many. episodes: of each task. seed: of tasks and latents.
    film: whether to film one task."""

    bundle: str = ""
    out: Path = Path("runs/demo")
    body: BodyName = "arm"
    groups: dict[Split, Annotated[int, Meta(ge=0)]] | None = None
    episodes: Annotated[int, Meta(ge=1)] = 4
    seed: Annotated[int, Meta(ge=0)] = 0
    film: bool = True


def perform(settings: DemoSettings, console: Console, signals: Signals) -> Path:
    """Run the demo; returns the page's path. Nothing that it started outlives it."""
    groups: dict[Split, int] = {s: n for s, n in (settings.groups or {}).items() if n}
    if not groups:
        raise AcclimateError("the demo has no tasks; say groups.held_out=16, for example")
    bundle = Path(settings.bundle) if settings.bundle else SHIPPED
    # In this process first: a bad bundle or folder is told at once.
    manifest = PolicyBundle.load(bundle).manifest
    clear(settings.out, overwrite=True)
    count = sum(groups.values())
    console.print(
        f"{manifest.name} on a simulated {settings.body}: {count} tasks × {settings.episodes} "
        "episodes",
        highlight=False,
    )
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="acclimate-")))
        endpoint = f"ipc://{scratch}/bridge.ipc"
        takes = scratch / "takes"
        with Children(scratch, signals) as children:
            children.start("bridge", f"bundle={bundle}", f"endpoint={endpoint}")
            children.start(
                "twin",
                f"endpoint={endpoint}",
                f"body={settings.body}",
                f"takes={takes}",
                f"wait={START:g}",
                *(
                    f"groups.{split}={groups.get(split, 0)}"
                    for split in ("held_out", "unseen_choice")
                ),
            )
            trial = TrialSettings(
                endpoint=endpoint,
                out=settings.out,
                tasks=count,
                episodes=settings.episodes,
                seed=settings.seed,
                overwrite=True,
                wait=START,
            )
            try:
                _run(trial, console)
            except BridgeError as error:
                raise AcclimateError(f"{error}{children.last_words()}") from error
        lines = read_lines(settings.out)
        console.print(group_table(lines, groups))
        if settings.film:
            film(lines, takes, settings.out, console)
    return write_report(ReportSettings(settings.out))


def _run(trial: TrialSettings, console: Console) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        job = bar.add_task("episodes", total=trial.tasks * trial.episodes)

        def count(record: EpisodeRecord) -> None:
            bar.advance(job)

        run(trial, count)


def group_rows(lines: list[EpisodeLine], groups: dict[Split, int]) -> dict[Split, list[Row]]:
    """The trial's table for each group; tasks are numbered group after group."""
    rows: dict[Split, list[Row]] = {}
    first = 0
    for split, count in groups.items():
        chosen = [line for line in lines if first <= line.task < first + count]
        rows[split] = table((line.episode, line.outcome) for line in chosen)
        first += count
    return rows


def group_table(lines: list[EpisodeLine], groups: dict[Split, int]) -> Table:
    """Success, with Wilson's 95 % interval, and mean time of insertion, against adaptation."""
    shown = Table(title="success against adaptation")
    shown.add_column("episodes before", justify="right")
    by_group = group_rows(lines, groups)
    for split in by_group:
        shown.add_column(TITLES[split], justify="right")
        shown.add_column("time", justify="right")
    for cells in zip(*by_group.values(), strict=True):
        words = [str(cells[0].episode)]
        for row in cells:
            words.append(
                f"{row.successes}/{row.tasks} = {row.rate:.0%} ({row.low:.0%}–{row.high:.0%})"
            )
            words.append("–" if row.duration is None else f"{row.duration:.2f} s")
        shown.add_row(*words)
    return shown


def choose(lines: list[EpisodeLine]) -> tuple[int, int, int] | None:
    """The task that shows adaptation best, its first and its last episode; None without episodes.

    One that failed at first and came home quickly in the end; else the greatest gain of time.
    """
    best: tuple[tuple[bool, bool, float], tuple[int, int, int]] | None = None
    for task in sorted({line.task for line in lines}):
        own = sorted((line for line in lines if line.task == task), key=lambda line: line.episode)
        before, after = own[0].outcome, own[-1].outcome
        gain = before.duration - after.duration
        rank = (after.success, after.success and not before.success, gain)
        if best is None or rank > best[0]:
            best = rank, (task, own[0].episode, own[-1].episode)
    return best[1] if best else None


def film(lines: list[EpisodeLine], takes: Path, out: Path, console: Console) -> None:
    """Film one task; without a film, which is said, the page still stands."""
    from sim.render.film import frames, save_film

    chosen = choose(lines)
    if chosen is None:
        return
    task, *episodes = chosen
    console.print(f"filming task {task}", highlight=False)
    path = out / "film.mp4"
    try:
        shots = [Take.load(take_path(takes, task, episode)) for episode in dict.fromkeys(episodes)]
        titles = [f"episode {episode + 1}" for episode in dict.fromkeys(episodes)]
        save_film(path, frames(shots, titles), shots[0].period)
    except Exception as error:  # encoders and drivers raise anything; the page needs no film
        path.unlink(missing_ok=True)
        console.print(f"no film: {error}", highlight=False)


def main(argv: list[str]) -> int:
    """`acclimate demo`; returns 0."""
    settings = compose("sim/demo", DemoSettings, argv, HELP)
    started = time.monotonic()
    console = Console()
    with Signals() as signals:
        page = perform(settings, console, signals)
    console.print(f"took {time.monotonic() - started:.0f} s; open this page in a browser:")
    print(page.resolve(), file=sys.stdout)
    return 0

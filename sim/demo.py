"""`acclimate demo`: a policy meets unknown tasks on a simulated robot, and adapts."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Literal

import msgspec
from rich.console import Console

from adapt.bundle.policy_bundle import PolicyBundle
from adapt.errors import AcclimateError
from adapt.settings import Count, WholeNumber, compose
from robot_bridge.trial.about import About, FilmNote, TaskGroup
from robot_bridge.trial.folder import (
    EpisodeLine,
    clear,
    write_about,
)
from robot_bridge.trial.probing import read_probes
from robot_bridge.trial.report import ReportSettings, group_tasks, write_report
from robot_bridge.trial.runner import Probing, summary_table
from robot_bridge.trial.tasks import Task as TaskLines
from robot_bridge.trial.tasks import by_task, kind, ranked
from sim.core.parameter import Split
from sim.core.registry import family, on_robot
from sim.core.task_space import Task, TaskSpace
from sim.insertion.parts.catalogue import plug_title
from sim.insertion.parts.described import plug_file
from sim.insertion.space import SPACE
from sim.insertion.spec import FORCE_LIMIT
from sim.insertion.worlds import FORCE_COMFORT
from sim.render.takes import Take, take_path
from sim.twin.child_processes import Signals
from sim.twin.stage import stage

HELP = """acclimate demo [key=value ...]

Starts a bridge that serves the bundle and a simulated robot, each a process of its own; runs a few
episodes on each of some plugs that the policy has never met; prints success against the number of
adaptation episodes, films one task and writes everything into one HTML page. With
family=locomotion a quadruped walks a course on which ground and body change, with its belief
following and, for comparison, kept at the prior.

Examples:
  acclimate demo
  acclimate demo family=locomotion
  acclimate demo groups.held_out=4 groups.unseen_choice=4 seed=1 film=false
  acclimate demo plug=my_plug.yaml
  acclimate demo plug=nema_14_30p
  acclimate demo plug=metal_peg_square probe=after_failure"""

BodyName = Literal["arm", "wrist"]
SHIPPED = Path(__file__).resolve().parents[1] / "bundles" / "insertion-pearl"
SHIPPED_WALK = SHIPPED.with_name("locomotion-ppo")
REACH = 0.07
"""The bridge's limit on probing an 80 mm plate [m]."""
GROUPS: dict[Split, int] = {"held_out": 16, "unseen_choice": 8}
"""Of insertion, where none are asked for."""
LEARNS: dict[Probing, str] = {
    "never": "From attempt to attempt it infers where the socket is.",
    "first": "It touches the plate around the socket before it tries.",
    "after_failure": "After a failure it touches the plate around the socket, and tries again.",
}
TITLES: dict[Split, str] = {
    "train": "tasks of training",
    "held_out": "trained families in unseen sizes and clearances",
    "unseen_choice": "a family never seen in training",
    "all": "all tasks",
}


@dataclass(frozen=True)
class DemoSettings:
    """family: insertion meets unknown plugs; locomotion walks a course that changes.
    bundle: folder or .zip of the bundle; empty takes the one that is shipped.
    out: folder for the trial, its film and its page; an older demo there is replaced.
    body: of insertion: arm is a whole six-joint arm; wrist is the rig that policies are trained on.
    plug: of insertion: one plug in place of the groups': a file (docs/tasks.md), or a name of the
        published table; it meets groups.held_out sockets. Empty takes the groups'.
    robot: of locomotion: joint map of a quadruped of your own (docs/robots.md); null takes ours.
    groups: tasks of each group. Of insertion, held_out: trained families in sizes and clearances
        never trained on, unseen_choice: a family never seen; empty takes 16 and 8. Of locomotion,
        held_out: runs of the course; empty takes 6.
    episodes: of insertion: of each task, one after another; the belief is kept from one to the
        next.
    probe: of insertion: when the robot touches the plate around the socket, and starts its belief
        anew from what that tells: never; first, before the first episode; after_failure, once,
        when an episode has failed.
    seed: draws the tasks and the latents.
    film: false leaves out the film.
    """

    family: Literal["insertion", "locomotion"] = "insertion"
    bundle: str = ""
    out: Path = Path("runs/demo")
    body: BodyName = "arm"
    plug: str = ""
    robot: Path | None = None
    groups: dict[Split, WholeNumber] = field(default_factory=dict)
    episodes: Count = 4
    probe: Probing = "never"
    seed: WholeNumber = 0
    film: bool = True


def perform(settings: DemoSettings, console: Console, signals: Signals) -> Path:
    """Run the demo; returns the page's path. Nothing that it started outlives it."""
    asked: dict[Split, int] = {s: n for s, n in settings.groups.items() if n}
    if settings.groups and not asked:
        raise AcclimateError("the demo has no tasks; say groups.held_out=16, for example")
    walks = settings.family == "locomotion"
    probes = settings.probe != "never"
    foreign = {"robot": not walks and settings.robot, "plug": walks and settings.plug}
    for key, given in {**foreign, "probe": walks and probes}.items():
        if given:
            raise AcclimateError(f"{key} is no setting of family={settings.family}")
    shipped = SHIPPED_WALK if walks else SHIPPED
    bundle = Path(settings.bundle) if settings.bundle else shipped
    if bundle is shipped and not bundle.exists():
        raise AcclimateError(
            "the shipped bundle is in Acclimate's repository: run the demo from a checkout, or "
            "name a bundle: bundle=PATH"
        )
    # In this process first: a bad bundle, robot, plug or folder is told at once.
    manifest = PolicyBundle.load(bundle).manifest
    if walks:
        return _walk(settings, asked, bundle, manifest.name, console, signals)
    shown = str(plug_file(settings.plug)) if settings.plug else "insertion"
    space, groups = family(shown).space, asked or GROUPS
    if settings.plug:
        sockets: dict[Split, int] = {"held_out": groups.get("held_out", GROUPS["held_out"])}
        groups = sockets
    clear(settings.out, overwrite=True)
    count = sum(groups.values())
    console.print(
        f"{manifest.name} on a simulated {settings.body}: {count} tasks × {settings.episodes} "
        "episodes",
        highlight=False,
    )
    words = [f"probe.reach={REACH:g}"] if probes else []
    with stage(bundle, signals, *words) as found:
        found.twin(groups, f"family={shown}", f"body={settings.body}")
        lines = found.trial(
            settings.out, count, settings.episodes, settings.seed, console, probe=settings.probe
        )
        about = describe(settings, lines, groups, found.takes, space)
        for group in group_tasks(lines, about, read_probes(settings.out)):
            console.print(summary_table(group.rows, group.title))
        if settings.film and lines:
            note = film(lines, about.names, found.takes, settings.out, console)
            about = msgspec.structs.replace(about, film=note)
        write_about(settings.out, about)
    return write_report(ReportSettings(settings.out))


def _walk(
    settings: DemoSettings,
    groups: dict[Split, int],
    bundle: Path,
    name: str,
    console: Console,
    signals: Signals,
) -> Path:
    """The demo of the walking robot."""
    # Here and not above: insertion needs none of it.
    from sim.demo_locomotion import check_runs, show

    runs = check_runs(groups)
    family(on_robot(settings.family, settings.robot))
    clear(settings.out, overwrite=True)
    console.print(f"{name}: {runs} runs × 20 s, with and without adaptation", highlight=False)
    with stage(bundle, signals) as found:
        return show(
            found, settings.out, runs, settings.seed, settings.robot, settings.film, console
        )


def describe(
    settings: DemoSettings,
    lines: list[EpisodeLine],
    groups: dict[Split, int],
    takes: Path,
    space: TaskSpace = SPACE,
) -> About:
    """What the page says of the tasks: their names, and the groups in which they are counted."""
    names = {line.task: plug_name(takes, line.task, space) for line in lines}
    count, titles = sum(groups.values()), dict(TITLES)
    title = f"{count} unknown plugs, {settings.episodes} attempts each"
    if settings.plug:
        plug = plug_title(str(plug_file(settings.plug)))
        title = f"{plug}: {count} tasks × {settings.episodes} attempts"
        titles["held_out"] = f"{plug}, each time before another socket"
    ends = accumulate(groups.values())
    counted = [
        TaskGroup(titles[split], tuple(range(end - groups[split], end)))
        for split, end in zip(groups, ends, strict=True)
    ]
    body = "A simulated six-joint arm" if settings.body == "arm" else "A simulated wrist"
    many = "; ".join(f"{n} of {titles[split]}" for split, n in groups.items())
    shown = f"The plug: {titles['held_out']}" if settings.plug else f"Plugs: {many}"
    return About(
        title=title,
        sentence=f"{body} that feels and does not see brings a plug into a socket whose place it "
        f"knows only to 3 mm and 5°. {LEARNS[settings.probe]} {shown}.",
        names=names,
        groups=tuple(counted),
    )


def plug_name(takes: Path, task: int, space: TaskSpace) -> str:
    """The plug of a task, from the first take of it."""
    drawn = Task(space, Take.load(take_path(takes, task, 0)).task)
    return f"{plug_title(drawn.choice('family'))}, clearance {drawn['clearance'] * 1e3:.2f} mm"


def choose(lines: list[EpisodeLine]) -> TaskLines:
    """The task that shows adaptation best, of those that succeeded in the end if there are any."""
    ordered = ranked([by_task(lines)])
    return next((task for task in ordered if task[-1].outcome.success), ordered[0])


def film(
    lines: list[EpisodeLine], names: dict[int, str], takes: Path, out: Path, console: Console
) -> FilmNote | None:
    """Film one task's first and last episode; what the page says of it. Without a film, which is
    said, the page still stands."""
    from sim.render.film import frames, save_film

    task = choose(lines)
    shown = [task[0], task[-1]][: len(task)]
    number = task[0].task
    console.print(f"filming task {number}", highlight=False)
    path = out / "film.mp4"
    try:
        shots = [Take.load(take_path(takes, number, line.episode)) for line in shown]
        save_film(
            path, frames(shots, [f"attempt {line.episode + 1}" for line in shown]), shots[0].period
        )
    except Exception as error:  # encoders and drivers raise anything; the page needs no film
        path.unlink(missing_ok=True)
        console.print(f"no film: {error}", highlight=False)
        return None
    ends = " and ".join(
        f"attempt {line.episode + 1} {'succeeds' if line.outcome.success else 'fails'} after "
        f"{line.outcome.duration:.2f} s"
        for line in shown
    )
    return FilmNote(
        names[number],
        f"Task {number}: {ends}. It is shown because it {kind(task)}, with the greatest gain in "
        "time among such tasks. Above, the whole robot; below, the socket, cut open along the "
        f"plug's pins. The bar is the contact force: it ends at {FORCE_LIMIT:g} N, which ends an "
        f"episode, and its mark is at {FORCE_COMFORT:g} N, above which training counts a cost.",
        f"Film of two attempts side by side with a {names[number]}: {ends}",
    )


def main(argv: list[str]) -> int:
    """`acclimate demo`; returns 0."""
    settings = compose("demo", DemoSettings, argv, HELP)
    started = time.monotonic()
    console = Console()
    with Signals() as signals:
        page = perform(settings, console, signals)
    console.print(f"took {time.monotonic() - started:.0f} s; open this page in a browser:")
    print(page.resolve(), file=sys.stdout)
    return 0

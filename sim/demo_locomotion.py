"""The demo of the walking robot: ground and body change under it, and its belief follows.

Every run is 20 s on one course. The same runs, with the same commands, noise and robots, are walked
twice: by the policy as it is, and with its belief kept at the prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console

from adapt.errors import AcclimateError
from robot_bridge.trial.about import About, Chart, FilmNote, Line, Section
from robot_bridge.trial.about import Change as Told
from robot_bridge.trial.folder import EpisodeLine, write_about
from robot_bridge.trial.report import ReportSettings, write_report
from sim.core.schedule import Change, Schedule
from sim.core.task_space import Task
from sim.locomotion.spec import CONTROL_PERIOD, HORIZON
from sim.locomotion.task import SPACE, task_factors
from sim.locomotion.worlds import LocomotionWorlds
from sim.render.takes import Take, take_path
from sim.twin.stage import Stage
from sim.twin.twin import physical

COURSE = Schedule(
    start={
        "terrain": "flat",
        "case": "all",
        "softness": 0.0,
        "slope": 0.0,
        "friction": 0.8,
        "ice": 0.0,
        "payload": 0.0,
        "payload_x": 0.0,
        "weak_joint": "FR_calf",
        "strength": 1.0,
    },
    changes=(
        Change(5.0, {"payload": 8.0, "payload_y": 0.06}, "8 kg on the left"),
        Change(10.0, {"payload": 0.0, "strength": 0.3}, "a knee at 30 %"),
        Change(15.0, {"strength": 1.0, "ice": 0.6}, "ice"),
    ),
)
"""Level ground; 8 kg set down on one side; a knee at 30 % of its strength; ice, which is hardest,
last, so that a robot that falls there has walked the rest."""
ADAPTING, FROZEN = "adapting", "belief kept at the prior"
SMOOTH = 25
"""Control periods over which a chart's speed error is averaged: half a second."""
FILM_STEP = 3
"""A film shows every third control period."""


class Walk(NamedTuple):
    """One course, walked by both. lines, errors: of each run, its outcome, and the difference of
    velocity and command in every period until its end [m/s]."""

    name: str
    lines: list[EpisodeLine]
    errors: list[np.ndarray]
    takes: Path


def show(
    stage: Stage, out: Path, runs: int, seed: int, robot: Path | None, film: bool, console: Console
) -> Path:
    """Walk the course so many times, adapting and not; returns the path of the page."""
    path = stage.scratch / "course.yaml"
    COURSE.save(path)
    words = ["family=locomotion", f"schedule={path}"]
    stage.twin({"held_out": runs}, *words, *([f"robot={robot.resolve()}"] if robot else []))
    walks = []
    for name, folder in ((ADAPTING, out), (FROZEN, stage.scratch / "frozen")):
        lines = stage.trial(folder, runs, 1, seed, console, adapting=name == ADAPTING)
        takes = stage.takes.rename(stage.scratch / f"takes-{len(walks)}")
        walks.append(Walk(name, lines, [_errors(takes, line) for line in lines], takes))
    about = describe(walks)
    if film:
        about = _with_film(about, walks, out, console)
    write_about(out, about)
    return write_report(ReportSettings(out, beliefs=1))


def _errors(takes: Path, line: EpisodeLine) -> np.ndarray:
    """The take's gauge, which is the speed error, without what follows the episode's end."""
    return Take.load(take_path(takes, line.task, line.episode)).gauge[: line.outcome.steps + 1]


def describe(walks: Sequence[Walk]) -> About:
    """What the page says: both in numbers and over time, and what was true when."""
    first = walks[0]
    tasks = {
        line.task: Task(SPACE, Take.load(take_path(first.takes, line.task, line.episode)).task)
        for line in first.lines
    }
    changes = {
        number: tuple(
            Told(round(at / CONTROL_PERIOD), text, physical(LocomotionWorlds.spec, factors))
            for (at, factors), text in zip(
                ((at, task_factors(become)) for at, become in COURSE.tasks(task)),
                ("", *(change.text for change in COURSE.changes)),
                strict=True,
            )
        )
        for number, task in tasks.items()
    }
    names = {
        number: f"delay {1e3 * task['delay']:.0f} ms, gain {task['gain']:.2f}, damping "
        f"{task['damping']:.2f}"
        for number, task in tasks.items()
    }
    told = ", ".join(f"{change.text} from {change.at:g} s" for change in COURSE.changes)
    return About(
        title="One policy, ground and body that change under it",
        sentence=f"A simulated quadruped follows velocity commands for 20 s, {len(tasks)} times. "
        f"It starts on level ground; then come {told}. It is told none of it. Each run has a robot "
        "of its own: delay, gains and damping differ.",
        names=names,
        changes=changes,
        sections=(_totals(walks), _over_time(walks)),
    )


def _totals(walks: Sequence[Walk]) -> Section:
    """Both walks in numbers."""

    def total(walk: Walk, name: str) -> float:
        return sum(line.outcome.measures[name] for line in walk.lines)

    def falls(walk: Walk) -> int:
        return sum(line.outcome.reason == "fell" for line in walk.lines)

    def per(walk: Walk, name: str, digits: int = 0) -> str:
        distance = total(walk, "distance")
        return f"{total(walk, name) / distance:.{digits}f}" if distance > 0.0 else "–"

    def asked(walk: Walk) -> str:
        share = total(walk, "progress") / max(total(walk, "asked"), 1e-9)
        return f"{share:.0%}"

    rows = [
        ("falls", *(f"{falls(w)} of {len(w.lines)} runs" for w in walks)),
        ("return of a run", *(f"{total(w, 'return') / len(w.lines):.0f}" for w in walks)),
        ("speed error [m/s]", *(f"{np.concatenate(w.errors).mean():.3f}" for w in walks)),
        ("progress along the command", *(asked(w) for w in walks)),
        ("distance [m]", *(f"{total(w, 'distance'):.0f}" for w in walks)),
        ("energy per metre [J/m]", *(per(w, "energy") for w in walks)),
        ("cost of transport", *(per(w, "energy_per_weight", 2) for w in walks)),
    ]
    return Section(
        "With its belief, and without",
        "The same runs, commands and noise, walked by the policy as it is and with its belief kept "
        "at the prior. A fall ends a run, so what follows it is in no mean.",
        ("", *(walk.name for walk in walks)),
        tuple(rows),
    )


def _over_time(walks: Sequence[Walk]) -> Section:
    """Speed error and runs on their feet, over the course."""
    times = tuple((CONTROL_PERIOD * np.arange(HORIZON + 1)).tolist())
    marks = {change.text: change.at for change in COURSE.changes}
    tracks = [_stacked(walk.errors) for walk in walks]
    errors = [Line(w.name, times, _smoothed(t)) for w, t in zip(walks, tracks, strict=True)]
    standing = [
        Line(w.name, times, tuple((~np.isnan(t)).sum(axis=0).astype(float).tolist()))
        for w, t in zip(walks, tracks, strict=True)
    ]
    starts = [0, *(round(change.at / CONTROL_PERIOD) for change in COURSE.changes), HORIZON + 1]
    texts = ["level ground", *(change.text for change in COURSE.changes)]
    rows = [
        (text, *(_mean(track[:, start:end]) for track in tracks))
        for text, start, end in zip(texts, starts, starts[1:], strict=False)
    ]
    return Section(
        "Tracking over the course",
        "Difference of the horizontal velocity from the command [m/s], a mean over the runs that "
        "are still on their feet. A new command comes every 5 s, with the changes.",
        ("", *(walk.name for walk in walks)),
        tuple(rows),
        (
            Chart("speed error [m/s]", "time [s]", tuple(errors), marks),
            Chart("runs on their feet", "time [s]", tuple(standing), marks),
        ),
        "The error is averaged over half a second.",
    )


def _stacked(errors: Sequence[np.ndarray]) -> np.ndarray:
    """(runs, periods) with NaN behind each run's end."""
    found = np.full((len(errors), HORIZON + 1), np.nan)
    for row, values in zip(found, errors, strict=True):
        row[: len(values)] = values
    return found


def _mean(values: np.ndarray) -> str:
    return "–" if np.isnan(values).all() else f"{np.nanmean(values):.3f}"


def _smoothed(track: np.ndarray) -> tuple[float | None, ...]:
    """Mean over the runs that go on and over the last SMOOTH periods; None where none goes on."""
    count = (~np.isnan(track)).sum(axis=0)
    total = np.nan_to_num(track).sum(axis=0)
    window = np.ones(SMOOTH)
    sums, counts = (np.convolve(x, window)[: len(count)] for x in (total, count))
    return tuple(
        float(s / c) if now else None for s, c, now in zip(sums, counts, count, strict=True)
    )


def _with_film(about: About, walks: Sequence[Walk], out: Path, console: Console) -> About:
    """The run in which adapting gained most, beside the same without; no film where none can be
    made, which is said."""
    from msgspec import structs

    from sim.render.film import frames, save_film

    gains = [
        ours.outcome.measures["return"] - theirs.outcome.measures["return"]
        for ours, theirs in zip(walks[0].lines, walks[1].lines, strict=True)
    ]
    line = walks[0].lines[int(np.argmax(gains))]
    path = out / "film.mp4"
    console.print(f"filming run {line.task}", highlight=False)
    try:
        takes = [_thinned(Take.load(take_path(w.takes, line.task, 0))) for w in walks]
        notes = [(round(c.at / takes[0].period), c.text) for c in COURSE.changes]
        pictures = frames(takes, [w.name for w in walks], notes)
        save_film(path, pictures, takes[0].period)
    except Exception as error:  # encoders and drivers raise anything; the page needs no film
        path.unlink(missing_ok=True)
        console.print(f"no film: {error}", highlight=False)
        return about
    ends = " and ".join(
        f"{w.name}: {found.outcome.reason} after {found.outcome.duration:.1f} s"
        for w in walks
        for found in w.lines
        if found.task == line.task
    )
    note = FilmNote(
        f"run {line.task}",
        f"{ends}. It is shown because adapting gains most in it. A robot that fell lies under "
        "damping. The bar is the speed error, its mark at 0.1 m/s. Loads are not drawn.",
        f"Film of run {line.task} side by side: {ends}",
    )
    return structs.replace(about, film=note)


def _thinned(take: Take) -> Take:
    """Every FILM_STEP-th frame."""
    from dataclasses import replace

    return replace(
        take,
        period=FILM_STEP * take.period,
        joints=take.joints[::FILM_STEP],
        gauge=take.gauge[::FILM_STEP],
    )


def check_runs(groups: dict) -> int:
    """How many runs the demo's groups ask for. Raises AcclimateError for other groups."""
    if not set(groups) <= {"held_out"}:
        raise AcclimateError(
            f"the course of family=locomotion sets what its tasks are; expected groups.held_out "
            f"alone, got {', '.join(sorted(groups))}"
        )
    return int(groups.get("held_out", 6))

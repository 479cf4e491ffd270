"""`acclimate report`: a trial folder as one HTML page that needs nothing beside it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from adapt.atomic_file import write_atomically
from adapt.settings import WholeNumber, compose
from robot_bridge.errors import TrialError
from robot_bridge.trial.about import About
from robot_bridge.trial.figures import Figures
from robot_bridge.trial.folder import (
    FILMS,
    EpisodeLine,
    TrialHeader,
    read_about,
    read_header,
    read_lines,
)
from robot_bridge.trial.place_figures import draw_places, moments
from robot_bridge.trial.probing import ProbeLine, found_rows, read_probes
from robot_bridge.trial.statistics import Row, other_measures, table
from robot_bridge.trial.svg import SERIES
from robot_bridge.trial.tasks import Task, by_task, judged_by, kind, ranked, scores

PAGE = "report.html"
FILM_BYTES = 30 * 1024 * 1024
"""A larger film would keep a browser loading for too long."""
EVENTS = 50
"""Events listed; more are counted."""


HELP = """acclimate report FOLDER [key=value ...]

Draws a trial as one HTML page that needs no other file.

Example:
  acclimate report runs/trial out=trial.html"""


@dataclass(frozen=True)
class ReportSettings:
    """folder: of the trial.
    out: file to write; empty makes it report.html in that folder.
    title: of the page; empty takes the trial's own.
    beliefs: tasks whose belief is drawn, first those that failed before they succeeded.
    forces: tasks whose contact force is drawn.
    """

    folder: Path
    out: str = ""
    title: str = ""
    beliefs: WholeNumber = 3
    forces: WholeNumber = 6


class Group(NamedTuple):
    """Tasks that are counted apart from others. title: "" where there is only one group."""

    title: str
    tasks: list[Task]
    rows: list[Row]


def write_report(settings: ReportSettings) -> Path:
    """Draw the trial and write the page; returns its path.

    Raises TrialError for a folder that holds no whole trial, without matplotlib, or when the page
    cannot be written.
    """
    folder = settings.folder
    header, lines, about = read_header(folder), read_lines(folder), read_about(folder)
    probes = read_probes(folder)
    if not lines:
        raise TrialError(f"{folder}: the trial has no finished episode to report")
    with Figures() as figures:
        page = _template().render(**_content(settings, figures, header, lines, about, probes))
    path = Path(settings.out) if settings.out else folder / PAGE
    try:
        write_atomically(path, page.encode())
    except OSError as error:
        raise TrialError(f"{path}: {error.strerror or error}") from error
    return path


def group_tasks(
    lines: Sequence[EpisodeLine], about: About, probes: Sequence[ProbeLine] = ()
) -> list[Group]:
    """The groups that have episodes; all tasks together where none are declared."""
    tasks = by_task(lines)
    found = []
    for declared in about.groups:
        own = [task for task in tasks if task[0].task in declared.tasks]
        if own:
            found.append(Group(declared.title, own, _table(own, probes)))
    return found or [Group("", tasks, _table(tasks, probes))]


def _table(tasks: Sequence[Task], probes: Sequence[ProbeLine]) -> list[Row]:
    own = {task[0].task for task in tasks}
    touched = [line.episode for line in probes if line.task in own]
    return table(((line.episode, line.outcome) for task in tasks for line in task), touched)


def _content(
    settings: ReportSettings,
    figures: Figures,
    header: TrialHeader,
    lines: list[EpisodeLine],
    about: About,
    probes: Sequence[ProbeLine],
) -> dict[str, Any]:
    groups = group_tasks(lines, about, probes)
    tasks = [task for group in groups for task in group.tasks]
    shown = ranked([group.tasks for group in groups])
    believed = shown[: settings.beliefs] if header.latent.factors else []
    force = figures.forces(header, settings.folder, shown[: settings.forces])
    judged = groups[0].rows[0].judged_by
    if any(row.judged_by != judged for group in groups for row in group.rows):
        judged = ""
    rows = [group.rows for group in groups]
    touches = {(line.task, line.episode) for line in probes}
    peaks = [line.outcome.measures.get("peak_force", 0.0) for line in lines]
    return {
        "title": settings.title or about.title or header.bundle,
        "about": about,
        "header": header,
        "groups": groups,
        "tasks": tasks,
        "episodes": max(len(task) for task in tasks),
        "series": len(SERIES),
        "kind": kind,
        "judged_by": judged,
        "columns": other_measures([row for group in rows for row in group]) if judged else [],
        "success": _safe(figures.scores(rows) if judged else figures.success(rows)),
        "sections": [
            (section, _safe([figures.chart(chart) for chart in section.charts]))
            for section in about.sections
        ],
        "beliefs": [
            (task, _safe(figures.belief(header, task, about.changes.get(task[0].task, ()))))
            for task in believed
        ],
        "places": _places(figures, header, believed, touches),
        "errors": _safe(figures.errors(header, tasks)),
        "forces": _safe(force.svgs),
        "cut": force.cut,
        "peak": max(peaks),
        "probes": found_rows(probes, lines),
        "touches": touches,
        "touched_first": any(line.episode == 0 for line in probes),
        "film": _film(settings.folder),
        "events": [(line, text) for line in lines for text in line.events],
        "listed": EVENTS,
    }


def _places(
    figures: Figures, header: TrialHeader, shown: Sequence[Task], touches: set[tuple[int, int]]
) -> list[tuple[Task, list[Markup], int]]:
    """Of each task that failed: itself, charts of where the belief still placed what it seeks, and
    how many are left out."""
    found = []
    for task in shown:
        held = [] if judged_by(task) else moments(task, touches)
        if charts := _safe(draw_places(figures, header.latent, held)):
            found.append((task, charts, len(held) - len(charts)))
    return found


def _safe(drawn: Sequence[str]) -> list[Markup]:
    """Charts are drawn here, and their words escaped."""
    return [Markup(svg) for svg in drawn]  # noqa: S704


def _film(folder: Path) -> dict[str, str] | None:
    """The film as a data URL, and whether it is a video or a picture."""
    path = next((folder / name for name in FILMS if (folder / name).is_file()), None)
    if path is None:
        return None
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TrialError(f"{path}: {error.strerror or error}") from error
    if len(data) > FILM_BYTES:
        raise TrialError(f"{path}: {len(data)} bytes; a page takes at most {FILM_BYTES}")
    kind = "video/mp4" if path.suffix == ".mp4" else "image/gif"
    url = f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
    return {"kind": kind.split("/")[0], "url": url}


def _template() -> Any:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = lambda value: f"{value:.0%}"
    environment.filters["seconds"] = lambda value: "–" if value is None else f"{value:.2f} s"
    environment.filters["number"] = lambda value: f"{value:.4g}"
    environment.filters["words"] = lambda name: name.replace("_", " ")
    environment.filters["outcomes"] = _outcomes
    environment.globals["style"] = page_style()
    source = resources.files("robot_bridge") / "templates" / "report.html"
    return environment.from_string(source.read_text(encoding="utf-8"))


def _outcomes(task: Task) -> str:
    """What became of a task's episodes, in order."""
    if judged_by(task):
        return ", ".join(f"{score:.4g}" for score in scores(task))
    return ", ".join("success" if line.outcome.success else "failure" for line in task)


def page_style() -> Markup:
    """The style sheet of every report, to stand within the page."""
    source = resources.files("robot_bridge") / "templates" / "page.css"
    return Markup(source.read_text(encoding="utf-8"))  # noqa: S704  our own file


def main(argv: list[str]) -> int:
    """`acclimate report`; returns 0."""
    settings = compose("report", ReportSettings, argv, HELP, ["folder"])
    print(f"written to {write_report(settings)}")
    return 0

"""`acclimate report`: a trial folder as one HTML page that needs nothing beside it."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from msgspec import Meta

from adapt.settings import compose
from robot_bridge.errors import TrialError
from robot_bridge.trial.figures import Figures
from robot_bridge.trial.folder import FILMS, EpisodeLine, TrialHeader, read_header, read_lines
from robot_bridge.trial.statistics import table

PAGE = "report.html"
# Beyond this a page takes longer to open than anyone waits [bytes].
FILM_BYTES = 30 * 1024 * 1024


@dataclass(frozen=True)
class ReportSettings:
    """folder: of the trial. out: file to write, "" for report.html in that folder. beliefs, forces:
    tasks to draw in detail. title: of the page, "" for the bundle's name."""

    folder: Path
    out: str = ""
    title: str = ""
    beliefs: Annotated[int, Meta(ge=0)] = 3
    forces: Annotated[int, Meta(ge=0)] = 6


def write_report(settings: ReportSettings) -> Path:
    """Draw the trial and write the page; returns its path.

    Raises TrialError for a folder that holds no whole trial, or without matplotlib.
    """
    header, lines = read_header(settings.folder), read_lines(settings.folder)
    if not lines:
        raise TrialError(f"{settings.folder}: the trial has no finished episode to report")
    tasks = by_task(lines)
    with Figures() as figures:
        page = _template().render(**_content(settings, figures, header, lines, tasks))
    path = Path(settings.out) if settings.out else settings.folder / PAGE
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise TrialError(f"{path}: {error.strerror or error}") from error
    return path


def by_task(lines: list[EpisodeLine]) -> list[list[EpisodeLine]]:
    """The episodes of each task, in order."""
    ordered = sorted(lines, key=lambda line: (line.task, line.episode))
    return [list(group) for _, group in groupby(ordered, key=lambda line: line.task)]


def _content(
    settings: ReportSettings,
    figures: Figures,
    header: TrialHeader,
    lines: list[EpisodeLine],
    tasks: list[list[EpisodeLine]],
) -> dict[str, Any]:
    rows = table((line.episode, line.outcome) for line in lines)
    named = bool(header.latent.factors)
    telling = _telling(tasks)
    shown = telling[: settings.beliefs] if named else []
    return {
        "title": settings.title or header.bundle,
        "header": header,
        "rows": rows,
        "tasks": tasks,
        "episodes": max(len(task) for task in tasks),
        "success": Markup(figures.success(rows)),  # noqa: S704  drawn here
        "beliefs": [(task, Markup(figures.belief(header, task))) for task in shown],  # noqa: S704
        "errors": Markup(figures.errors(header, tasks)) if named else "",  # noqa: S704
        "forces": Markup(  # noqa: S704
            figures.forces(header, settings.folder, telling[: settings.forces])
        )
        if settings.forces
        else "",
        "film": _film(settings.folder),
        "events": [(line, text) for line in lines for text in line.events][:50],
    }


def _telling(tasks: list[list[EpisodeLine]]) -> list[list[EpisodeLine]]:
    """Tasks in the order in which they tell something: first those that failed before they
    succeeded, the longest first, then those that always failed, then those that were easy."""

    def rank(task: list[EpisodeLine]) -> tuple[int, int, int]:
        wins = [line.outcome.success for line in task]
        group = 0 if any(wins) and not wins[0] else 1 if not any(wins) else 2
        return group, -len(task), task[0].task

    return sorted(tasks, key=rank)


def _film(folder: Path) -> dict[str, str] | None:
    """The film as a data URL, and whether it is a video or a picture."""
    for name in FILMS:
        path = folder / name
        if not path.is_file():
            continue
        if path.stat().st_size > FILM_BYTES:
            raise TrialError(
                f"{path}: {path.stat().st_size} bytes; a page takes at most {FILM_BYTES}"
            )
        kind = "video/mp4" if path.suffix == ".mp4" else "image/gif"
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        return {"kind": kind.split("/")[0], "url": f"data:{kind};base64,{data}"}
    return None


def _template() -> Any:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = lambda value: f"{value:.0%}"
    source = resources.files("robot_bridge") / "templates" / "report.html"
    return environment.from_string(source.read_text(encoding="utf-8"))


def main(argv: list[str]) -> int:
    """`acclimate report folder=FOLDER [out=FILE]`; returns 0."""
    settings = compose("robot_bridge/report", ReportSettings, argv, __doc__ or "")
    print(f"written to {write_report(settings)}")
    return 0

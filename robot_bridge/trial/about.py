"""What a report says of a trial beyond its numbers, written by the program that set the tasks."""

from __future__ import annotations

import msgspec


class TaskGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tasks that a report counts apart from others. tasks: their numbers."""

    title: str
    tasks: tuple[int, ...]


class FilmNote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the film shows, and what of it a reader must know. alternative: the same for readers who
    cannot see it."""

    title: str
    caption: str
    alternative: str


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A task's change within its episodes.

    step: control periods from the episode's start. text: in a few words. truth: the factors from
    then on, by name [SI].
    """

    step: int
    text: str
    truth: dict[str, float]


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a chart: y against x, of equal length; None where there is no value."""

    name: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]


class Chart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lines over one axis. marks: x → what happened there, drawn as vertical lines with words."""

    title: str
    across: str
    lines: tuple[Line, ...]
    marks: dict[str, float] = {}


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the page. head: of the table's columns, none for no table. rows: its cells."""

    title: str
    text: str
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    charts: tuple[Chart, ...] = ()
    caption: str = ""


class About(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """title, sentence: at the top of the page. names: of tasks, by number. groups: in the order
    shown; a task in none of them is counted in none. changes: of tasks, by number. sections: before
    the tables."""

    title: str = ""
    sentence: str = ""
    names: dict[int, str] = {}
    groups: tuple[TaskGroup, ...] = ()
    film: FilmNote | None = None
    changes: dict[int, tuple[Change, ...]] = {}
    sections: tuple[Section, ...] = ()

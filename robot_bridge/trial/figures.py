"""A trial's charts: one small SVG each, so that a page arranges them for its width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from adapt.bundle.fields import Factor, Field
from robot_bridge.trial.about import Change, Chart
from robot_bridge.trial.folder import EpisodeLine, TrialHeader, read_arrays
from robot_bridge.trial.statistics import Row
from robot_bridge.trial.svg import SERIES, SOFT, TRUTH, Drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Float64 = npt.NDArray[np.float64]

# From which size on [unit] a prefix is taken: a tenth of a millimetre is read in millimetres.
_PREFIXES = ((5e2, 1e3, "k"), (5e-1, 1.0, ""), (5e-6, 1e-3, "m"), (0.0, 1e-6, "µ"))
SMALL, LARGE = (2.4, 1.75), (4.6, 2.7)
"""Sizes of a chart [inch]."""


class Force(NamedTuple):
    """Measured contact force of some tasks. svgs: one for each task. cut: sizes at which readings
    end, where some did [N]; empty where none did."""

    svgs: list[str]
    cut: str


class Figures(Drawing):
    """The charts of a trial's page."""

    def success(self, groups: Sequence[Sequence[Row]]) -> list[str]:
        """Success rate with its interval, and mean time of success, against adaptation: one line
        for each group of tasks."""
        rate, rate_axes = self.new(LARGE)
        time, time_axes = self.new(LARGE)
        for index, rows in enumerate(groups):
            colour = SERIES[index % len(SERIES)]
            at = [row.episode for row in rows]
            low, high = ([100 * getattr(row, key) for row in rows] for key in ("low", "high"))
            rate_axes.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
            rate_axes.plot(at, [100 * row.rate for row in rows], "o-", color=colour)
            durations = [np.nan if row.duration is None else row.duration for row in rows]
            time_axes.plot(at, durations, "o-", color=colour)
        episodes = sorted({row.episode for rows in groups for row in rows})
        for axes in (rate_axes, time_axes):
            axes.set(xlabel="adaptation episodes before", xticks=episodes)
        rate_axes.set(title="success [%], with its 95 % interval", ylim=(0, 103))
        time_axes.set(title="mean time of success [s]", ylim=(0, None))
        shown = "Line chart against adaptation episodes; the table above has its numbers:"
        return [
            self.svg(rate, f"{shown} success rate"),
            self.svg(time, f"{shown} mean time of success"),
        ]

    def scores(self, groups: Sequence[Sequence[Row]]) -> list[str]:
        """The measure by which episodes are judged, mean and its interval, against adaptation: one
        line for each group of tasks. Nothing for a single episode of each task."""
        name = groups[0][0].judged_by
        episodes = sorted({row.episode for rows in groups for row in rows})
        if len(episodes) < 2:
            return []
        figure, axes = self.new(LARGE)
        for index, rows in enumerate(groups):
            colour = SERIES[index % len(SERIES)]
            at, spreads = [row.episode for row in rows], [row.measures[name] for row in rows]
            low, high = [each.low for each in spreads], [each.high for each in spreads]
            axes.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(at, [each.mean for each in spreads], "o-", color=colour)
        axes.set(xlabel="adaptation episodes before", xticks=episodes)
        axes.set(title=f"{_words(name)}, with the mean's 95 % interval")
        shown = "Line chart against adaptation episodes; the table above has its numbers:"
        return [self.svg(figure, f"{shown} {_words(name)}")]

    def chart(self, chart: Chart) -> str:
        """Lines over one axis, with marks."""
        figure, axes = self.new(LARGE)
        label = f"{chart.title}, over {chart.across}."
        for index, line in enumerate(chart.lines):
            y = np.array([np.nan if value is None else value for value in line.y])
            axes.plot(line.x, y, color=SERIES[index % len(SERIES)])
            if np.isfinite(y).any():
                label += f" {line.name}: mean {np.nanmean(y):.3g}, at most {np.nanmax(y):.3g}."
        self._mark(axes, chart.marks)
        axes.set(title=chart.title, xlabel=chart.across, ylim=(min(0.0, axes.get_ylim()[0]), None))
        along = [x for line in chart.lines for x in line.x]
        axes.set_xlim(min(along, default=0.0), max(along, default=1.0))
        label += "".join(f" At {at:g}: {what}." for what, at in chart.marks.items())
        return self.svg(figure, label)

    def _mark(self, axes: Axes, marks: Mapping[str, float]) -> None:
        """Vertical lines, each with its words beside it."""
        top = axes.get_ylim()[1]
        for text, at in marks.items():
            axes.axvline(at, color=SOFT, linewidth=0.7)
            axes.annotate(
                text, (at, top), (3, -2), textcoords="offset points", rotation=90, va="top",
                fontsize=7, color=SOFT,
            )  # fmt: skip

    def belief(
        self, header: TrialHeader, lines: Sequence[EpisodeLine], changes: Sequence[Change] = ()
    ) -> list[str]:
        """One task, one chart for each named factor: mean and ± 2σ over transitions, and the
        truth, which changes give anew within each episode."""
        starts = _starts(lines)
        return [self._belief(factor, lines, starts, changes) for factor in header.latent.factors]

    def _belief(
        self,
        factor: Factor,
        lines: Sequence[EpisodeLine],
        starts: list[int],
        changes: Sequence[Change],
    ) -> str:
        figure, axes = self.new(SMALL)
        at, mean, deviation = _course(lines, starts, factor)
        bounds = [_natural(factor, mean + side * deviation) for side in (-2, 0, 2)]
        ratio, unit = _prefixed(factor, float(np.abs(bounds[1]).max() + np.ptp(bounds[0]) / 2))
        low, middle, high = (bound / ratio for bound in bounds)
        axes.fill_between(at, low, high, color=SERIES[0], alpha=0.18, linewidth=0, step="post")
        axes.plot(at, middle, color=SERIES[0], drawstyle="steps-post")
        label = f"{_words(factor.name)}: the belief ends at {middle[-1]:.3g} {unit}, two standard "
        label += f"deviations from {low[-1]:.3g} to {high[-1]:.3g}"
        if any(factor.name in told.truth for told in (*lines, *changes)):
            when, values = _truth(factor, lines, starts, changes)
            axes.plot(
                when, values / ratio, color=TRUTH, linewidth=1.4, dashes=(4, 2),
                drawstyle="steps-post",
            )  # fmt: skip
            known = values[np.isfinite(values)]
            distinct = dict.fromkeys(f"{value / ratio:.3g}" for value in known)
            label += f"; the truth is {', then '.join(distinct)}"
        for start in starts[1:]:
            axes.axvline(start, color=SOFT, linewidth=0.7, alpha=0.6)
        for start in starts[:-1]:
            for change in (each for each in changes if each.step):
                axes.axvline(start + change.step, color=SOFT, linewidth=0.7, linestyle=":")
        axes.set(title=_titled(factor, unit), xlim=(0, max(starts[-1], at[-1], 1)))
        return self.svg(figure, label)

    def errors(self, header: TrialHeader, tasks: Sequence[Sequence[EpisodeLine]]) -> list[str]:
        """All tasks, one chart for each factor whose truth is known: |belief mean − truth| before
        each episode, median and quartiles."""
        drawn = []
        lines = [line for task in tasks for line in task]
        episodes = sorted({line.episode for line in lines})
        if len(episodes) < 2:
            return []  # the prior's distance alone says nothing of adaptation
        for factor in header.latent.factors:
            misses = {episode: [] for episode in episodes}
            for line in lines:
                if factor.name in line.truth:
                    believed = factor.offset + factor.scale * line.belief_before.mean[factor.index]
                    ends = _natural(factor, np.array([believed, line.truth[factor.name]]))
                    misses[line.episode].append(abs(float(ends[0] - ends[1])))
            if all(misses.values()):
                drawn.append(self._error(factor, misses))
        return drawn

    def _error(self, factor: Factor, misses: dict[int, list[float]]) -> str:
        figure, axes = self.new(SMALL)
        quartiles = np.array([np.percentile(miss, (25, 50, 75)) for miss in misses.values()])
        ratio, unit = _prefixed(factor, float(quartiles.max()))
        low, middle, high = quartiles.T / ratio
        episodes = list(misses)
        axes.fill_between(episodes, low, high, color=SERIES[2], alpha=0.18, linewidth=0)
        axes.plot(episodes, middle, "o-", color=SERIES[2], markersize=4)
        axes.set(title=_titled(factor, unit), xticks=episodes, ylim=(0, None))
        label = f"{_words(factor.name)}: median distance of the belief's mean from the truth, from "
        return self.svg(figure, f"{label}{middle[0]:.3g} to {middle[-1]:.3g} {unit}")

    def forces(
        self, header: TrialHeader, folder: Path, tasks: Sequence[Sequence[EpisodeLine]]
    ) -> Force:
        """Size of the observed contact force over time: one chart for each task, one line for each
        episode. Nothing where no field of the observation is a force."""
        found = _force(header.observation)
        if found is None:
            return Force([], "")
        where, field = found
        charts, most, cut = [], 0.0, False
        for lines in tasks:
            figure, axes = self.new(SMALL)
            peak = 0.0
            for line in lines:
                arrays = read_arrays(folder, line)
                if not len(arrays["steps"]):
                    continue
                vectors = arrays["observations"][:, where]
                cut |= bool(((vectors <= field.low) | (vectors >= field.high)).any())
                force = np.linalg.norm(vectors, axis=1)
                peak = max(peak, float(force.max()))
                colour = SERIES[line.episode % len(SERIES)]
                axes.plot(
                    arrays["steps"] * header.control_period, force, color=colour, linewidth=1.2
                )
            charts.append((figure, axes, lines[0].task, peak))
            most = max(most, peak)
        for _, axes, task, _ in charts:
            axes.set(title=f"task {task}", ylim=(0, 1.05 * most or 1.0), xlim=(0, None))
        return Force(
            [
                self.svg(figure, f"task {task}: observed contact force up to {peak:.0f} N")
                for figure, _, task, peak in charts
            ],
            f"{field.low:g} to {field.high:g} {field.unit}" if cut else "",
        )


def _natural(factor: Factor, values: Float64 | float) -> Float64:
    """The quantity itself, of a factor that may be its logarithm (unit "log m", for example)."""
    return np.exp(values) if factor.unit.startswith("log ") else np.asarray(values)


def _truth(
    factor: Factor, lines: Sequence[EpisodeLine], starts: Sequence[int], changes: Sequence[Change]
) -> tuple[Float64, Float64]:
    """Steps at which the truth is told or changes, and the natural values from each on; of a change
    that an episode did not reach, nothing."""
    points: list[tuple[int, float]] = []
    for line, start, end in zip(lines, starts, starts[1:], strict=False):
        points.append((start, line.truth.get(factor.name, np.nan)))
        points += [
            (start + change.step, change.truth.get(factor.name, np.nan))
            for change in changes
            if start + change.step < end
        ]
    points.append((starts[-1], points[-1][1]))
    at, values = np.array(points, float).T
    return at, _natural(factor, values)


def _starts(lines: Sequence[EpisodeLine]) -> list[int]:
    """Where each episode of a task begins, counted in steps, and where the last one ends."""
    return np.concatenate([[0], np.cumsum([line.belief_after.step for line in lines])]).tolist()


def _course(
    lines: Sequence[EpisodeLine], starts: Sequence[int], factor: Factor
) -> tuple[Float64, Float64, Float64]:
    """Steps, and the factor's mean and standard deviation at each, over all episodes of a task."""
    points = [
        (start + point.step, point.mean[factor.index], point.variance[factor.index])
        for start, line in zip(starts, lines, strict=False)
        for point in (*line.belief_trace, line.belief_after)
    ]
    at, mean, variance = np.array(points, float).T
    return at, factor.offset + factor.scale * mean, abs(factor.scale) * np.sqrt(variance)


def _prefixed(factor: Factor, size: float) -> tuple[float, str]:
    """What to divide by, and the unit then: (1e-3, "mm") for half a millimetre. A plain unit such
    as m, N or rad takes a prefix; a compound one stays."""
    unit = factor.unit.removeprefix("log ")
    unit = "" if unit == "1" else unit
    if not unit.isalpha() or unit == "kg":
        return 1.0, unit
    ratio, prefix = next((ratio, prefix) for least, ratio, prefix in _PREFIXES if size >= least)
    return ratio, prefix + unit


def _titled(factor: Factor, unit: str) -> str:
    return f"{_words(factor.name)} [{unit}]" if unit else _words(factor.name)


def _force(fields: Sequence[Field]) -> tuple[slice, Field] | None:
    """Where an observation holds the contact force, at most (3,): its first field in newtons."""
    start = 0
    for field in fields:
        if field.unit.split("/")[0].split(",")[0].strip() == "N":
            return slice(start, start + min(3, field.size)), field
        start += field.size
    return None


def _words(name: str) -> str:
    return name.replace("_", " ")

"""A trial's pictures as SVG text that takes its colours from the page, in light and in dark."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from adapt.bundle.manifest import Factor, Field
from robot_bridge.errors import TrialError
from robot_bridge.trial.folder import EpisodeLine, TrialHeader, read_arrays
from robot_bridge.trial.statistics import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that nobody would choose stand for the page's variables until the SVG is written.
INK, SOFT, FAINT = "#010101", "#020202", "#030303"
SERIES = ("#040401", "#040402", "#040403", "#040404", "#040405", "#040406")
TRUTH = "#050505"
_VARIABLES = {INK: "--ink", SOFT: "--soft", FAINT: "--faint", TRUTH: "--truth"} | {
    colour: f"--series-{index}" for index, colour in enumerate(SERIES)
}
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: it can be found, copied, and follows the page's font
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": SOFT,
    "axes.titlecolor": INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}
# SI prefixes for axes: a belief about half a millimetre is not read in metres.
_PREFIXES = ((1e-6, "µ"), (1e-3, "m"), (1.0, ""), (1e3, "k"))


class Figures:
    """Draws with matplotlib, which is imported here alone. Raises TrialError without it.

    A context: within it the house style holds, for matplotlib keeps its style in one global.
    """

    def __init__(self) -> None:
        try:
            import matplotlib
            from matplotlib.figure import Figure
        except ModuleNotFoundError as error:
            raise TrialError(
                "a report needs matplotlib: pip install '.[report]' in Acclimate's repository"
            ) from error
        self._figure = Figure
        self._style = matplotlib.rc_context(_STYLE)
        self._matplotlib = matplotlib
        self._drawn = 0

    def __enter__(self) -> Self:
        self._style.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._style.__exit__(kind, error, trace)

    def success(self, rows: Sequence[Row]) -> str:
        """Success rate with its interval, and mean time of success, against adaptation."""
        figure = self._new(2, 1, 3.0)
        left, right = figure.axes
        at = [row.episode for row in rows]
        rates = np.array([row.rate for row in rows]) * 100
        low, high = (np.array([getattr(row, key) for row in rows]) * 100 for key in ("low", "high"))
        left.fill_between(at, low, high, color=SERIES[0], alpha=0.18, linewidth=0)
        left.plot(at, rates, "o-", color=SERIES[0])
        left.set(title="success [%], with its 95 % interval", ylim=(0, 103))
        timed = [(row.episode, row.duration) for row in rows if row.duration is not None]
        right.plot(*(np.array(timed).reshape(-1, 2).T), "o-", color=SERIES[1])
        right.set(title="mean time of success [s]", ylim=(0, None))
        for axes in (left, right):
            axes.set(xlabel="adaptation episodes before", xticks=at, xlim=(-0.15, max(at) + 0.15))
        return self._svg(figure)

    def belief(self, header: TrialHeader, lines: Sequence[EpisodeLine]) -> str:
        """One task: each named factor, mean ± 2σ over transitions, against the truth."""
        factors = header.latent.factors
        columns = min(4, len(factors))
        figure = self._new(columns, -(-len(factors) // columns), 2.3)
        starts = _starts(lines)
        for axes, factor in zip(figure.axes, factors, strict=False):
            at, mean, deviation = _course(lines, starts, factor)
            truth = lines[0].truth.get(factor.name)
            size = max(np.abs(mean) + deviation) if mean.size else 1.0
            ratio, unit = _prefixed(factor.unit, size)
            mean, deviation = mean / ratio, deviation / ratio
            band = {"color": SERIES[0], "linewidth": 0, "step": "post"}
            axes.fill_between(at, mean - 2 * deviation, mean + 2 * deviation, alpha=0.18, **band)
            axes.plot(at, mean, color=SERIES[0], drawstyle="steps-post")
            if truth is not None:
                axes.axhline(truth / ratio, color=TRUTH, linewidth=1.4, dashes=(4, 2))
            for start in starts[1:]:
                axes.axvline(start, color=SOFT, linewidth=0.7, alpha=0.6)
            axes.set(title=f"{_words(factor.name)} [{unit}]", xlim=(0, max(starts[-1], at[-1], 1)))
        for axes in figure.axes[len(factors) :]:
            axes.remove()
        figure.supxlabel("transitions", color=SOFT, fontsize=9.5)
        return self._svg(figure)

    def errors(self, header: TrialHeader, tasks: Sequence[Sequence[EpisodeLine]]) -> str:
        """All tasks: |belief mean − truth| before each episode, median and quartiles."""
        factors = [
            factor
            for factor in header.latent.factors
            if any(factor.name in lines[0].truth for lines in tasks)
        ]
        if not factors:
            return ""
        columns = min(4, len(factors))
        figure = self._new(columns, -(-len(factors) // columns), 2.1)
        for axes, factor in zip(figure.axes, factors, strict=False):
            episodes = sorted({line.episode for lines in tasks for line in lines})
            misses = [
                [
                    abs(_physical(factor, line.belief_before.mean) - line.truth[factor.name])
                    for lines in tasks
                    for line in lines
                    if line.episode == episode and factor.name in line.truth
                ]
                for episode in episodes
            ]
            quartiles = np.array([np.percentile(miss, (25, 50, 75)) for miss in misses])
            ratio, unit = _prefixed(factor.unit, float(quartiles.max()))
            low, middle, high = quartiles.T / ratio
            axes.fill_between(episodes, low, high, color=SERIES[2], alpha=0.18, linewidth=0)
            axes.plot(episodes, middle, "o-", color=SERIES[2], markersize=4)
            axes.set(title=f"{_words(factor.name)} [{unit}]", xticks=episodes, ylim=(0, None))
        for axes in figure.axes[len(factors) :]:
            axes.remove()
        figure.supxlabel("adaptation episodes before", color=SOFT, fontsize=9.5)
        return self._svg(figure)

    def forces(
        self, header: TrialHeader, folder: Path, tasks: Sequence[Sequence[EpisodeLine]]
    ) -> str:
        """Size of the contact force over time, one panel per task, one line per episode."""
        where = _force(header.observation)
        if where is None:
            return ""
        columns = min(3, len(tasks))
        figure = self._new(columns, -(-len(tasks) // columns), 2.1, share=True)
        for axes, lines in zip(figure.axes, tasks, strict=False):
            for line in lines:
                arrays = read_arrays(folder, line)
                if not len(arrays["steps"]):
                    continue
                force = np.linalg.norm(arrays["observations"][:, where], axis=1)
                time = arrays["steps"] * header.control_period
                shade = 0.35 + 0.65 * (line.episode + 1) / len(lines)
                colour = SERIES[line.episode % len(SERIES)]
                label = f"{line.episode} before"
                axes.plot(time, force, color=colour, alpha=shade, linewidth=1.2, label=label)
            axes.set(title=f"task {lines[0].task}", ylim=(0, None))
        for axes in figure.axes[len(tasks) :]:
            axes.remove()
        figure.supxlabel("time [s]", color=SOFT, fontsize=9.5)
        figure.supylabel("force [N]", color=SOFT, fontsize=9.5)
        handles, labels = _legend(figure.axes)
        figure.legend(
            handles,
            labels,
            loc="outside upper right",
            ncols=len(labels),
            fontsize=8.5,
            labelcolor=SOFT,
            title_fontsize=8.5,
        )
        return self._svg(figure)

    def _new(self, columns: int, rows: int, height: float, share: bool = False) -> Figure:
        """height of one row [inch]; all figures are equally wide, so that their text is too."""
        figure = self._figure(figsize=(9.4, height * rows), layout="constrained")
        figure.subplots(rows, columns, squeeze=False, sharey=share)
        return figure

    def _svg(self, figure: Figure) -> str:
        """One <svg> element. Ids differ from figure to figure, and not from run to run."""
        self._drawn += 1
        text = io.StringIO()
        with self._matplotlib.rc_context({"svg.hashsalt": f"figure-{self._drawn}"}):
            figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
        svg = text.getvalue()
        svg = svg[svg.index("<svg") :]
        for colour, variable in _VARIABLES.items():
            svg = svg.replace(colour, f"var({variable})")
        # The page sets the size; ids such as figure_1 would be the same in every figure.
        svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
        svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
        svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
        return re.sub(r'<g id="[^"]*">', "<g>", svg)


def _physical(factor: Factor, latent: Sequence[float]) -> float:
    return factor.offset + factor.scale * latent[factor.index]


def _starts(lines: Sequence[EpisodeLine]) -> list[int]:
    """Where each episode of a task begins, counted in steps, and where the last one ends."""
    return np.concatenate([[0], np.cumsum([line.belief_after.step for line in lines])]).tolist()


def _course(
    lines: Sequence[EpisodeLine], starts: Sequence[int], factor: Factor
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps, and the factor's mean and standard deviation at each, over all episodes of a task."""
    at: list[float] = []
    mean: list[float] = []
    deviation: list[float] = []
    for start, line in zip(starts, lines, strict=False):
        for point in (*line.belief_trace, line.belief_after):
            at.append(start + point.step)
            mean.append(_physical(factor, point.mean))
            deviation.append(abs(factor.scale) * point.variance[factor.index] ** 0.5)
    return np.array(at), np.array(mean), np.array(deviation)


def _prefixed(unit: str, size: float) -> tuple[float, str]:
    """What to divide by, and the unit then: (1e-3, "mm") for half a millimetre. A plain unit such
    as m, N or rad takes a prefix; a compound one stays."""
    if not (unit.isalpha() and 0 < size < 1e6) or unit == "kg":
        return 1.0, unit or "–"
    for ratio, prefix in reversed(_PREFIXES):
        if size >= 0.5 * ratio:
            return ratio, prefix + unit
    return 1.0, unit


def _force(fields: Sequence[Field]) -> slice | None:
    """Where an observation holds the contact force: its first field in newtons, at most (3,)."""
    start = 0
    for field in fields:
        if field.unit.split("/")[0].split(",")[0].strip() == "N":
            return slice(start, start + min(3, field.size))
        start += field.size
    return None


def _legend(panels: Sequence[Axes]) -> tuple[list, list[str]]:
    found: dict[str, object] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return list(found.values()), list(found)


def _words(name: str) -> str:
    return name.replace("_", " ")

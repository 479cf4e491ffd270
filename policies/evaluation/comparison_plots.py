"""Pictures of a comparison: return against adaptation, and learning curves, with seed bands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from policies.evaluation.comparison import Comparison, EvaluatedRun, Line

STYLE: Any = {
    "font.size": 9.5,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
}
COLOURS = matplotlib.color_sequences["tab10"]
POINTS = 200
"""Of a learning curve over seeds, whose own points lie at other times."""


def draw(comparisons: Sequence[Comparison], folder: Path) -> list[Path]:
    """Two PNGs for each family, FAMILY-adaptation.png and FAMILY-learning.png; returns them."""
    drawn = []
    with matplotlib.rc_context(STYLE):
        for family in dict.fromkeys(c.family for c in comparisons):
            groups = [c for c in comparisons if c.family == family]
            # "module:NAME" of a family from elsewhere: some file systems take no colon.
            plain = family.replace(":", "-")
            drawn.append(folder / f"{plain}-adaptation.png")
            _adaptation(groups, drawn[-1])
            drawn.append(folder / f"{plain}-learning.png")
            _learning(groups[0], drawn[-1])
    return drawn


def _adaptation(groups: Sequence[Comparison], path: Path) -> None:
    """A panel per group of tasks: mean over seeds, band from the smallest to the largest."""
    figure = Figure(figsize=(4.7 * max(len(groups), 1), 3.4), layout="constrained")
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    for axes, c in zip(panels, groups, strict=True):
        for at, line in enumerate(c.lines):
            colour = COLOURS[at % len(COLOURS)]
            axes.fill_between(
                line.behind, line.value.min(0), line.value.max(0), color=colour, alpha=0.18, lw=0
            )
            axes.plot(
                line.behind, line.value.mean(0), "o-", ms=3.5, color=colour, label=_name(line)
            )
            if line.prior is not None:
                axes.axhline(line.prior.mean(), color=colour, lw=0.9, ls=":")
        if c.oracle is not None:
            axes.axhline(c.oracle.mean(), color="0.4", lw=1.2, ls="--", label="oracle")
        axes.set(
            title=f"{c.family}: {c.judged_by} on {len(c.tasks)} tasks ({c.group})",
            xlabel="adaptation episodes before (dotted: belief kept at the prior)",
        )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
    _save(figure, path)


def _learning(c: Comparison, path: Path) -> None:
    """Validation on training tasks, in the last validation episode, against steps and time."""
    figure = Figure(figsize=(9.4, 3.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, clock in zip(panels, ("steps", "minutes"), strict=True):
        for at, line in enumerate(c.lines):
            curves = [learning_curve(run, clock) for run in line.runs]
            _band(axes, curves, COLOURS[at % len(COLOURS)], _name(line))
    panels[0].set(
        title=f"{c.family}: {c.judged_by} in validation, most adapted episode",
        xlabel="environment steps",
    )
    panels[1].set(xlabel="wall-clock of training [min]")
    for axes in panels:
        axes.set_xlim(left=0)
    panels[0].legend()
    _save(figure, path)


def learning_curve(run: EvaluatedRun, clock: str) -> tuple[np.ndarray, np.ndarray]:
    """(n,) steps or minutes of training at each validation, and (n,) what it found."""
    stem = "validate/success_" if run.judged_by == "success" else "validate/measured_"
    minutes = run.seconds / 60
    at, found = [], []
    for row, minute in zip(run.log, minutes, strict=True):
        episodes = [int(k.removeprefix(stem)) for k in row if k.startswith(stem)]
        if episodes:
            at.append(row["steps"] if clock == "steps" else minute)
            found.append(row[f"{stem}{max(episodes)}"])
    return np.array(at), np.array(found)


def _band(
    axes: Axes, curves: Sequence[tuple[np.ndarray, np.ndarray]], colour: Any, label: str
) -> None:
    """Mean and range over seeds, as far as all of them reach; a single seed as it is."""
    curves = [curve for curve in curves if len(curve[0])]
    if not curves:
        return
    if len(curves) == 1:
        axes.plot(*curves[0], "o-", ms=3, color=colour, label=label)
        return
    start, end = max(at[0] for at, _ in curves), min(at[-1] for at, _ in curves)
    grid = np.linspace(start, max(start, end), POINTS)
    values = np.stack([np.interp(grid, at, found) for at, found in curves])
    axes.fill_between(grid, values.min(0), values.max(0), color=colour, alpha=0.18, lw=0)
    axes.plot(grid, values.mean(0), color=colour, label=label)


def _name(line: Line) -> str:
    n = len(line.runs)
    return f"{line.variant}, {n} seed{'s' if n > 1 else ''}"


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=130, metadata={"Software": ""})

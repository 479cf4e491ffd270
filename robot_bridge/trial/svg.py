"""Drawing with matplotlib: SVG text that takes its colours from the page, in light and in dark."""

from __future__ import annotations

import html
import io
import re
from typing import TYPE_CHECKING, Any, Self

from robot_bridge.errors import TrialError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that no chart uses stand for the page's variables until the SVG is written.
INK, SOFT, FAINT = "#010101", "#020202", "#030303"
SERIES = ("#040401", "#040402", "#040403", "#040404", "#040405", "#040406")
TRUTH = "#050505"
_VARIABLES = {INK: "--ink", SOFT: "--soft", FAINT: "--faint", TRUTH: "--truth"} | {
    colour: f"--series-{index}" for index, colour in enumerate(SERIES)
}
_STYLE: Any = {
    "svg.fonttype": "none",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": SOFT,
    "axes.titlecolor": INK,
    "axes.titlesize": 9,
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


class Drawing:
    """Draws with matplotlib, which is imported here alone. Raises TrialError without it.

    A context: within it the house style holds, because matplotlib keeps its style in one global.
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

    def __exit__(self, *error: object) -> None:
        self._style.__exit__(None, None, None)

    def new(self, size: tuple[float, float]) -> tuple[Figure, Axes]:
        figure = self._figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        axes.locator_params(nbins=4)
        return figure, axes

    def svg(self, figure: Figure, label: str) -> str:
        """One <svg> element that tells the same in words. Ids differ from figure to figure, and not
        from run to run."""
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
        svg = svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1)
        return re.sub(r'<g id="[^"]*">', "<g>", svg)

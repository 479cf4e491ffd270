"""A calibration's charts, in the style of a trial's report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from calibration.joints.block import HeldOut
from calibration.joints.robot import TIMESTEP
from calibration.posterior import Z90, Posterior, autocorrelation
from robot_bridge.trial.figures import SMALL
from robot_bridge.trial.svg import FAINT, SERIES, SOFT, TRUTH, Drawing

POINTS = 400
"""Of a drawn curve: a page has room for no more."""
LAGS = 1.0
"""How far the autocorrelation is drawn [s]."""


def label(name: str) -> str:
    """A quantity's name as people read it: "friction, wrist 1"."""
    return name.replace("_", " ").replace(".", ", ")


class CalibrationFigures(Drawing):
    """Draws with matplotlib. A context: within it the house style holds."""

    def intervals(self, posteriors: Sequence[Posterior]) -> str:
        """Every reported quantity: its 90 % interval before and after, in standard deviations of
        its prior."""
        bars = [
            (label(p.name), found.mean[i], np.sqrt(found.reported[i, i]), bool(found.identified[i]))
            for found in posteriors
            for i, p in enumerate(found.priors.items)
            if not p.nuisance
        ]  # fmt: skip
        figure, axes = self.new((7.2, 0.4 + 0.17 * len(bars)))
        for row, (_, mean, std, told) in enumerate(bars):
            axes.plot([-Z90, Z90], [row, row], color=FAINT, linewidth=5, solid_capstyle="butt")
            if told:
                ends = [mean - Z90 * std, mean + Z90 * std]
                axes.plot(ends, [row, row], color=SERIES[0], linewidth=3, solid_capstyle="butt")
                axes.plot([mean], [row], "o", color=SERIES[0], markersize=3)
        axes.set_yticks(range(len(bars)), [bar[0] for bar in bars], fontsize=7)
        axes.set(ylim=(len(bars) - 0.4, -0.6), xlabel="standard deviations of the prior")
        axes.grid(axis="y", visible=False)
        return self.svg(figure, "Intervals of every quantity; the table has their numbers")

    def errors(self, joints: Sequence[str], held_out: HeldOut) -> list[str]:
        """Each joint: error of its reading over time on a held-out recording, both models."""
        every = max(1, len(held_out.nominal) // POINTS)
        time = held_out.recording.time[::every] - held_out.recording.time[0]
        charts = []
        for j, joint in enumerate(joints):
            figure, axes = self.new(SMALL)
            axes.plot(time, 1e3 * held_out.nominal[::every, j], color=TRUTH, linewidth=0.8)
            axes.plot(time, 1e3 * held_out.calibrated[::every, j], color=SERIES[0], linewidth=0.8)
            axes.set_title(f"{label(joint)} [mrad]")
            axes.set_xlabel("s", color=SOFT)
            charts.append(self.svg(figure, f"Errors of {joint} on a held-out recording"))
        return charts

    def whiteness(self, joints: Sequence[str], errors: np.ndarray) -> list[str]:
        """Each joint: autocorrelation of its reading's error (T, 2n) on held-out recordings, and
        the band in which that of white noise lies."""
        lags = min(round(LAGS / TIMESTEP), len(errors) - 1)
        every = max(1, lags // POINTS)
        band = Z90 / np.sqrt(len(errors))
        charts = []
        for j, joint in enumerate(joints):
            figure, axes = self.new(SMALL)
            values = autocorrelation(errors[:, j])[:lags:every]
            axes.axhspan(-band, band, color=FAINT)
            axes.plot(np.arange(len(values)) * every * TIMESTEP, values, color=SERIES[0])
            axes.set(title=label(joint), ylim=(-1, 1))
            axes.set_xlabel("s", color=SOFT)
            charts.append(self.svg(figure, f"Autocorrelation of the errors of {joint}"))
        return charts

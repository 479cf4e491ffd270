"""Where a belief still places what it seeks, after each failed episode: x and y as ellipses, the
yaw as a bar below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from adapt.bundle.fields import Factor, Latent
from robot_bridge.protocol.operator_messages import BeliefPoint
from robot_bridge.trial.folder import EpisodeLine
from robot_bridge.trial.svg import FAINT, SERIES, SOFT, TRUTH, Drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (2.4, 2.3)
"""Of a chart [inch]."""
MOST = 8
"""Charts for a task."""
SHOWN = 2.4
"""Prior standard deviations that a chart shows to either side."""
MILLI = 1e3


class Place(NamedTuple):
    """The factors that say where: x and y [m], and yaw [rad] where there is one."""

    x: Factor
    y: Factor
    yaw: Factor | None


class Moment(NamedTuple):
    """A belief to be drawn. said: when it was held. truth: as of an episode."""

    said: str
    belief: BeliefPoint
    truth: Mapping[str, float]


def place_of(latent: Latent) -> Place | None:
    """The first factors NAME_x and NAME_y in metres, with NAME_yaw; None where there are none."""
    factors = {factor.name: factor for factor in latent.factors}
    for name, x in factors.items():
        y = factors.get(f"{name.removesuffix('_x')}_y")
        if name.endswith("_x") and y is not None and (x.unit, y.unit) == ("m", "m"):
            return Place(x, y, factors.get(f"{name.removesuffix('_x')}_yaw"))
    return None


def moments(lines: Sequence[EpisodeLine], touches: set[tuple[int, int]]) -> list[Moment]:
    """Of one task whose episodes succeed or fail: what was believed at first, after each failure,
    and after touches. Nothing where no episode failed. touches: (task, episode that followed)."""
    found = [Moment("before the first episode", lines[0].belief_before, lines[0].truth)]
    for line in lines:
        if line.episode and (line.task, line.episode) in touches:
            found.append(Moment("after touches", line.belief_before, line.truth))
        if not line.outcome.success:
            said = f"after episode {line.episode + 1} failed"
            found.append(Moment(said, line.belief_after, line.truth))
    return found if len(found) > 1 else []


def draw_places(drawing: Drawing, latent: Latent, held: Sequence[Moment]) -> list[str]:
    """One chart for each of at most `MOST` moments."""
    place = place_of(latent)
    if place is None:
        return []
    reach = SHOWN * MILLI * max(_std(f, latent.prior_variance) for f in (place.x, place.y))
    return [_draw(drawing, place, latent, moment, reach) for moment in held[:MOST]]


def _draw(drawing: Drawing, place: Place, latent: Latent, moment: Moment, reach: float) -> str:
    from matplotlib.patches import Ellipse

    figure, axes = drawing.new(SIZE)
    belief, truth = moment.belief, moment.truth
    x, y = (MILLI * _mean(factor, belief.mean) for factor in (place.x, place.y))
    wide, high = (MILLI * _std(factor, belief.variance) for factor in (place.x, place.y))
    for deviations, alpha in ((2, 0.18), (1, 0.3)):
        size = 2 * deviations * wide, 2 * deviations * high
        axes.add_patch(Ellipse((x, y), *size, color=SERIES[0], alpha=alpha, linewidth=0))
    axes.plot(x, y, ".", color=SERIES[0], markersize=5, zorder=4)
    said = f"x {x:.2f} ± {wide:.2f} mm, y {y:.2f} ± {high:.2f} mm"
    if place.x.name in truth and place.y.name in truth:
        at = MILLI * truth[place.x.name], MILLI * truth[place.y.name]
        axes.plot(*at, "x", color=TRUTH, markersize=7, markeredgewidth=1.6)
        said += f"; the truth is {at[0]:.2f}, {at[1]:.2f} mm"
        reach = max(reach, *(1.1 * abs(value) for value in at))
    tick = float(f"{0.55 * reach:.1g}")
    axes.set(xlim=(-reach, reach), ylim=(-1.35 * reach, reach), aspect="equal")
    axes.set(xticks=(-tick, 0, tick), yticks=(-tick, 0, tick))
    axes.set_title(moment.said, fontsize=8)
    if place.yaw is not None:
        said += _draw_yaw(axes, place.yaw, latent, moment)
    return drawing.svg(figure, f"The place that the belief holds, {moment.said}: {said}.")


def _draw_yaw(axes: Axes, yaw: Factor, latent: Latent, moment: Moment) -> str:
    """A bar within the chart: mean, two standard deviations, truth. Returns it in words."""
    bar = axes.inset_axes((0.2, 0.03, 0.76, 0.09))
    mean, std = (MILLI * value for value in (
        _mean(yaw, moment.belief.mean), _std(yaw, moment.belief.variance)
    ))  # fmt: skip
    reach = SHOWN * MILLI * _std(yaw, latent.prior_variance)
    bar.axvspan(mean - 2 * std, mean + 2 * std, color=SERIES[2], alpha=0.3, linewidth=0)
    bar.axvline(mean, color=SERIES[2], linewidth=1.4)
    said = f"; yaw {mean:.0f} ± {std:.0f} mrad"
    if yaw.name in moment.truth:
        bar.axvline(MILLI * moment.truth[yaw.name], color=TRUTH, linewidth=1.6, dashes=(2, 1))
        said += f", in truth {MILLI * moment.truth[yaw.name]:.0f}"
    bar.set(xlim=(-reach, reach), xticks=[], yticks=[])
    bar.patch.set_alpha(0)
    bar.grid(visible=False)
    for spine in bar.spines.values():
        spine.set(visible=True, color=FAINT)
    axes.text(
        0.03, 0.075, "yaw", transform=axes.transAxes, fontsize=7, color=SOFT, va="center"
    )  # fmt: skip
    return said


def _mean(factor: Factor, mean: Sequence[float]) -> float:
    return factor.offset + factor.scale * mean[factor.index]


def _std(factor: Factor, variance: Sequence[float]) -> float:
    return float(abs(factor.scale) * np.sqrt(variance[factor.index]))

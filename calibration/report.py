"""A calibration as one HTML page that an engineer reads and signs: what was measured, how surely,
what was not, and what it predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from adapt.prior import MeasuredPrior
from calibration.figures import CalibrationFigures, label
from calibration.joints.block import JointsResult
from calibration.joints.robot import TIMESTEP
from calibration.posterior import Z90, Posterior, rms
from calibration.touches import Touched
from robot_bridge.probing.pose import GAP, at_rest


@dataclass(frozen=True)
class Report:
    """name: of the robot. joints: of the blocks air and payload, where they ran. posteriors: of
    every block that ran. prior: what is written. locomotion: of legs, the same in that family's
    words. findings: why the model is not this robot's. touched: of the
    blocks socket and contact, where they ran."""

    name: str
    joints: JointsResult | None
    posteriors: Sequence[Posterior]
    prior: MeasuredPrior
    locomotion: MeasuredPrior | None
    findings: Sequence[str]
    touched: Touched | None = None


class TouchRow(NamedTuple):
    """place: where contact begins, x, y, z [mm]. forces [N]: light and firm. yields: between them
    [µm/N]. missed: of the fitted pose [mm]; None without block socket."""

    surface: str
    place: str
    forces: tuple[float, float]
    yields: float
    missed: float | None


class Row(NamedTuple):
    """A quantity as the table shows it. share: of the prior's width that is left; None where the
    prior was kept."""

    name: str
    unit: str
    nominal: str
    value: str
    low: str
    high: str
    share: float | None


class Joint(NamedTuple):
    """Root mean square errors on held-out recordings, nominal and calibrated: readings [mrad],
    torques [N·m]. inside: share of samples within the stated 90 %."""

    name: str
    reading: tuple[float, float]
    torque: tuple[float, float]
    inside: float


def render(report: Report) -> str:
    """The page. Raises TrialError without matplotlib."""
    with CalibrationFigures() as figures:
        content = _content(report, figures)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style = resources.files("robot_bridge") / "templates" / "page.css"
    environment.globals["style"] = _safe(style.read_text(encoding="utf-8"))
    source = resources.files("calibration") / "templates" / "report.html"
    return environment.from_string(source.read_text(encoding="utf-8")).render(**content)


def table(posteriors: Sequence[Posterior]) -> list[Row]:
    """All reported quantities."""
    rows = []
    for found in posteriors:
        values = found.priors.to_physical(found.mean)
        for i, p in enumerate(found.priors.items):
            if not p.nuisance:
                low, high = found.interval(i)
                share = float(np.sqrt(found.reported[i, i])) if found.identified[i] else None
                nominal, value, first, last = (f"{v:.4g}" for v in (p.mean, values[i], low, high))
                rows.append(Row(label(p.name), p.unit, nominal, value, first, last, share))
    return rows


def family_table(prior: MeasuredPrior) -> list[Row]:
    """A family's quantities; those that were not measured have no share."""
    rows = []
    for q in prior.parameters:
        value = float(np.exp(q.mean)) if q.scale == "log" else q.mean
        shown, low, high = (f"{v:.4g}" for v in (value, q.low or 0.0, q.high or 0.0))
        share = 0.0 if q.measured else None
        rows.append(Row(label(q.name), q.unit, "", shown, low, high, share))
    return rows


def held_out_table(result: JointsResult) -> list[Joint]:
    """How far both models miss held-out recordings, joint by joint."""
    nominal = rms([h.nominal for h in result.held_out])
    missed = np.concatenate([h.calibrated for h in result.held_out])
    calibrated = rms([missed])
    # What one sample may be off by: the noise of a single reading, without its correlation.
    single = np.maximum(result.robot.layout.noise, rms(result.fit.errors))
    inside = np.mean(np.abs(missed) < Z90 * single, axis=0)
    n = len(result.robot.joints)
    return [
        Joint(
            label(name),
            (1e3 * nominal[j], 1e3 * calibrated[j]),
            (nominal[n + j], calibrated[n + j]),
            float(inside[j]),
        )
        for j, name in enumerate(result.robot.joints)
    ]


def touch_table(touched: Touched) -> list[TouchRow]:
    """Touch by touch."""
    rows = []
    for i, touch in enumerate(touched.report.touches):
        towards = np.array(touch.direction)
        light, firm = (float(np.array(v.force) @ towards) for v in (touch.light, touch.firm))
        way = float((np.array(touch.firm.pose[:3]) - touch.light.pose[:3]) @ towards)
        place = ", ".join(f"{1e3 * v:.2f}" for v in at_rest(touch)[:3])
        missed = 1e3 * GAP * float(touched.seat.residuals[i]) if touched.seat else None
        yields = 1e6 * way / (firm - light)
        rows.append(TouchRow(touch.surface, place, (light, firm), yields, missed))
    return rows


def _content(report: Report, figures: CalibrationFigures) -> dict[str, Any]:
    rows = table(report.posteriors)
    joints = report.joints
    charts: tuple[list[str], list[str]] = [], []
    if joints:
        errors = np.concatenate([h.calibrated for h in joints.held_out])
        names = joints.robot.joints
        charts = figures.errors(names, joints.held_out[0]), figures.whiteness(names, errors)
    return {
        "name": report.name,
        "findings": report.findings,
        "rows": rows,
        "measured": sum(row.share is not None for row in rows),
        "unseen": [text for found in report.posteriors for text in found.unseen_directions()],
        "ratio": joints.ratio if joints else None,
        "seconds": sum(len(r.time) for r in joints.recordings) * TIMESTEP if joints else 0.0,
        "held_out": held_out_table(joints) if joints else [],
        "intervals": _safe(figures.intervals(report.posteriors)),
        "errors": [_safe(svg) for svg in charts[0]],
        "whiteness": [_safe(svg) for svg in charts[1]],
        "family": family_table(report.locomotion) if report.locomotion else [],
        "touches": touch_table(report.touched) if report.touched else [],
        "probe": report.touched.report if report.touched else None,
        "provenance": report.prior.provenance,
    }


def _safe(drawn: str) -> Markup:
    """Charts are drawn here, and their words escaped."""
    return Markup(drawn)  # noqa: S704

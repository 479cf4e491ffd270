"""What a calibration of legs says in the words of the locomotion family: a task space to train in,
and a prior for bundles whose latent stands for the family's factors.

The family knows one gain of all joints, one of which may be weak, and one damping. The gain is the
mean of all joints' position gains but the weakest; strengths are relative to it. The damping is the
one with which the family's joints would brake as much as these do, drives included.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from adapt.prior import PRIOR_FORMAT, MeasuredPrior, MeasuredQuantity
from calibration.legs.model import LegsModel
from calibration.posterior import KEPT, Z90, Posterior
from sim.core.measured import Measured
from sim.core.task_space import TaskSpace
from sim.locomotion.task import FACTORS, SPACE

STEP = 1e-4
"""Of finite differences, in standard deviations."""
LEAST_DAMPING = 0.05
"""Of the family's damping, in place of one that the drives more than make up for [1]."""


@dataclass(frozen=True)
class LocomotionQuantities:
    """Jointly normal. names: of the family's parameters and factors. mean (n,), covariance (n, n):
    of the logarithm where `log` (n,) says so. measured (n,): the data tell more than the family's
    own range."""

    names: list[str]
    units: list[str]
    log: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    measured: np.ndarray


def locomotion_quantities(
    legs: LegsModel, joints: Posterior, standing: Posterior | None
) -> LocomotionQuantities:
    """joints: of the legs in the air. standing: of the payload, where the robot stood."""
    found = [joints] if standing is None else [joints, standing]
    sizes = [len(part.x) for part in found]
    mean = np.concatenate([part.mean for part in found])
    covariance = np.zeros((sum(sizes), sum(sizes)))
    at = 0
    for part, size in zip(found, sizes, strict=True):
        covariance[at : at + size, at : at + size] = part.reported
        at += size
    # The weakest joint is chosen once: differences must not change it.
    gains = legs.values(joints.priors.to_physical(joints.mean), "position_gain")
    nominal = legs.values(legs.priors.nominal, "position_gain")
    weakest = int(np.argmin(gains / nominal))

    def values(x: np.ndarray) -> np.ndarray:
        made = _values(legs, joints.priors.to_physical(x[: sizes[0]]), weakest)
        if standing is not None:
            made |= _load(standing, standing.priors.to_physical(x[sizes[0] :]))
        return np.array(list(made.values()))

    middle = values(mean)
    slopes = np.stack(
        [(values(mean + STEP * e) - middle) / STEP for e in np.eye(len(mean))], axis=1
    )
    names = list(_values(legs, joints.priors.nominal, weakest))
    names += list(_load(standing, standing.priors.nominal)) if standing is not None else []
    made = slopes @ covariance @ slopes.T
    # One number stands for joints that differ: the error of a mean.
    gain, alike = names.index("gain"), np.delete(gains / nominal, weakest)
    made[gain, gain] += alike.var(ddof=1) / len(alike)
    # Training knows no joint that is stronger than the gain says.
    strong = [name.startswith("strength_") for name in names]
    middle = np.where(strong, np.minimum(middle, 1.0), middle)
    units, log, spread = zip(*(_of_family(name) for name in names), strict=True)
    told = np.sqrt(np.diag(made)) <= KEPT * np.array(spread)
    return LocomotionQuantities(names, list(units), np.array(log), middle, made, told)


def locomotion_space(
    found: LocomotionQuantities, name: str, provenance: dict[str, str]
) -> TaskSpace | None:
    """The family's parameters that were measured; None if there are none, or none within the
    family's ranges."""
    at = []
    for i, (quantity, told) in enumerate(zip(found.names, found.measured, strict=True)):
        if told and quantity in SPACE.names and _within(found, i):
            at.append(i)
    if not at:
        return None
    parameters = tuple(replace(SPACE[found.names[i]], held_out=()) for i in at)
    rows = tuple(tuple(row) for row in found.covariance[np.ix_(at, at)].tolist())
    names = tuple(found.names[i] for i in at)
    measured = Measured(names, tuple(found.mean[at].tolist()), rows)
    return TaskSpace(name, parameters, provenance, measured=measured)


def locomotion_prior(found: LocomotionQuantities, provenance: dict[str, str]) -> MeasuredPrior:
    """Of all quantities; those that were not measured are marked so."""
    entries = []
    for i, name in enumerate(found.names):
        half = Z90 * float(np.sqrt(found.covariance[i, i]))
        ends = np.array([found.mean[i] - half, found.mean[i] + half])
        low, high = (np.exp(ends) if found.log[i] else ends).tolist()
        scale = "log" if found.log[i] else "linear"
        told = bool(found.measured[i])
        entries.append(
            MeasuredQuantity(name, found.units[i], scale, float(found.mean[i]), low, high, told)
        )
    covariance = (found.covariance + found.covariance.T) / 2
    return MeasuredPrior(PRIOR_FORMAT, entries, covariance.tolist(), dict(provenance))


def _values(legs: LegsModel, physical: np.ndarray, weakest: int) -> dict[str, float]:
    """By the family's names, the damping as its logarithm."""
    own = legs.priors.nominal
    ratio = legs.values(physical, "position_gain") / legs.values(own, "position_gain")
    gain = float(np.delete(ratio, weakest).mean())
    braking = legs.values(physical, "damping") + legs.values(physical, "velocity_gain")
    passive = braking.sum() - (legs.values(own, "velocity_gain") * ratio).sum()
    nominal = legs.values(own, "damping").sum()
    found = {
        "gain": gain,
        "damping": float(np.log(max(passive / nominal, LEAST_DAMPING))),
        "delay": legs.scalar(physical, "delay") + legs.scalar(physical, "target_hold"),
    }
    pairs = zip(legs.joints, (ratio / gain).tolist(), strict=True)
    return found | {f"strength_{joint}": strength for joint, strength in pairs}


def _load(standing: Posterior, physical: np.ndarray) -> dict[str, float]:
    """The payload, by the family's names: its centre, and its moments about the trunk's middle."""
    names = ("payload", "payload_x", "payload_y")
    mass, x, y = physical[standing.priors.indices(names)].tolist()
    return {"payload": mass, "payload_x": x, "payload_y": y, "load_x": mass * x, "load_y": mass * y}


def _of_family(name: str) -> tuple[str, bool, float]:
    """A quantity's unit, whether its scale is logarithmic, and its deviation over the family."""
    for factor in FACTORS:
        if factor.name == name:
            unit = factor.unit.removeprefix("log ")
            return unit, unit != factor.unit, factor.scale
    parameter = SPACE[name]
    return parameter.unit, False, (parameter.high - parameter.low) / np.sqrt(12)


def _within(found: LocomotionQuantities, i: int) -> bool:
    """Whether a measured parameter lies where the family trains, up to twice its deviation."""
    parameter, std = SPACE[found.names[i]], float(np.sqrt(found.covariance[i, i]))
    ends = np.array([found.mean[i] + 2 * std, found.mean[i] - 2 * std])
    top, bottom = np.exp(ends) if found.log[i] else ends
    return bool(top >= parameter.low and bottom <= parameter.high)

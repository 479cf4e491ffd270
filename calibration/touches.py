"""Blocks `socket` and `contact`: a robot touches its cell, through a bridge.

The socket's block tells where what is held meets the socket (`robot_bridge.probing.pose`). The
contact's presses and slides on the plate's face. It tells friction, from the force along the face
over the force into it, there and back so that a bias and a slope cancel; the stiffness of the
robot's impedance controller, from force over lead; and how stiffly the contact itself yields, from
force over way. Clearance and the springs' retention show only in the socket: they keep their prior.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from adapt.strict_json import parse
from calibration.parameters import Prior, Priors
from calibration.posterior import Posterior
from calibration.recording import CalibrationError
from robot_bridge.client.operator_client import OperatorClient
from robot_bridge.errors import BridgeError, ProbeError
from robot_bridge.probing.pose import SOCKET, TOLD, UNITS, SeatPose, SocketPose, seat_pose
from robot_bridge.protocol.probe_messages import Blocks, ProbeReport, Touch
from robot_bridge.trial.probing import probe
from sim.demo import SHIPPED
from sim.twin.child_processes import Children, Signals

TOUCHES = "touches.json"
SOCKET_UNITS = ("m", "m", "m", "rad", "rad", "rad")
PATIENCE = 600.0
"""For one probing [s]."""
START = 60.0
"""For bridge and robot to appear [s]."""
REACH = 0.07
"""That a twin's bridge allows [m]."""
SLIP = 0.05
"""Standard deviation of a measured friction coefficient: noise and bias of a force of some newtons,
and a tool that may not slide yet."""
SPREAD = 0.03
"""Least relative deviation of a stiffness."""


@dataclass(frozen=True)
class Touched:
    """name: of the file. seat: None without block socket. posteriors: of the seat and the contact.
    drawn: of the socket and the contact, with which tasks are drawn."""

    name: str
    report: ProbeReport
    seat: SeatPose | None
    posteriors: list[Posterior]
    drawn: list[Posterior]


def read_touches(path: Path) -> ProbeReport:
    """What a probing kept. Raises CalibrationError naming the file."""
    try:
        return parse(path.read_bytes(), ProbeReport)
    except OSError as error:
        raise CalibrationError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise CalibrationError(f"{path}: {error}") from error


def encoded(report: ProbeReport) -> str:
    """As `read_touches` reads it."""
    return msgspec.json.format(msgspec.json.encode(report)).decode() + "\n"


def touch_cell(
    blocks: Blocks, endpoint: str, keys: Path | None, robot: str, seed: int
) -> ProbeReport:
    """Have a robot that is connected to a bridge touch its cell. robot: empty for the only one.
    Raises CalibrationError where that fails: nothing is known then."""
    try:
        with OperatorClient(endpoint, "calibrate", keys) as operator:
            operator.connect(START)
            name = operator.wait_robot(robot, START)
            report, _, _ = probe(operator, name, 0, seed, PATIENCE, blocks)
    except BridgeError as error:
        raise CalibrationError(str(error)) from error
    return report


def touch_twin(blocks: Blocks, seed: int, progress: Callable[[str], None]) -> ProbeReport:
    """The same of a simulated arm, through a bridge of its own."""
    progress("a twin's bridge")
    with (
        tempfile.TemporaryDirectory(prefix="acclimate-") as folder,
        Signals() as signals,
        Children(Path(folder), signals) as children,
    ):
        endpoint = f"ipc://{folder}/bridge.ipc"
        children.start(
            "bridge", f"bundle={SHIPPED}", f"endpoint={endpoint}", f"probe.reach={REACH:g}"
        )
        children.start("twin", f"endpoint={endpoint}", f"wait={START:g}")
        progress("touches")
        try:
            return touch_cell(blocks, endpoint, None, "", seed)
        except CalibrationError as error:
            raise CalibrationError(f"{error}{children.last_words()}") from error


def measure(name: str, report: ProbeReport, blocks: Blocks) -> Touched:
    """What the touches tell. Raises CalibrationError for touches of no use."""
    try:
        seat = seat_pose(report) if "socket" in blocks else None
    except ProbeError as error:
        raise CalibrationError(f"{name}: {error}") from error
    if report.problem:
        raise CalibrationError(f"{name}: {report.problem}")
    contact = [contact_posterior(name, report)] if "contact" in blocks else []
    if seat is None:
        return Touched(name, report, None, contact, contact)
    held, alone = seat_posterior(seat), socket_posterior(seat.socket)
    return Touched(name, report, seat, [held, *contact], [alone, *contact])


def seat_posterior(found: SeatPose) -> Posterior:
    """The seat as quantities of a calibration."""
    return _posterior(TOLD, UNITS, found)


def socket_posterior(found: SocketPose) -> Posterior:
    """The socket alone: what tasks are drawn with, each with a grasp of its own."""
    return _posterior(SOCKET, SOCKET_UNITS, found)


def _posterior(
    names: Sequence[str], units: Sequence[str], found: SeatPose | SocketPose
) -> Posterior:
    items = [
        Prior(name, unit, 0.0, float(std))
        for name, unit, std in zip(names, units, found.known, strict=True)
    ]
    scaled = found.covariance / np.outer(found.known, found.known)
    return Posterior(
        Priors(tuple(items)), found.mean / found.known, np.linalg.inv(scaled) - np.eye(len(items))
    )


def contact_priors() -> Priors:
    """What is believed before; names, units and scales as the insertion bundles' factors have."""
    items = (
        Prior("friction", "1", 0.3, 0.4, "log"),
        Prior("stiffness", "1", 1.0, 0.173),
        Prior("contact_stiffness", "N/m", 3e4, 1.0, "log"),
        Prior("clearance", "m", 1.41e-4, 0.329, "log"),
        Prior("retention", "N", 6.0, 3.46),
    )
    return Priors(items)


def contact_posterior(name: str, report: ProbeReport) -> Posterior:
    """Raises CalibrationError for a probing without slides."""
    if len(report.slides) < 2 or not report.touches or report.target is None:
        raise CalibrationError(f"{name}: no slides; expected a probing with block contact")
    priors = contact_priors()
    values = priors.to_physical(np.zeros(len(priors)))
    deviations = np.zeros(len(priors))  # in the coordinate of each prior; 0 where nothing is told
    friction = sliding_friction(report)
    if friction > SLIP:
        values[0], deviations[0] = friction, math.hypot(SLIP / friction, 0.1)
    nominal = np.array(report.target.stiffness)
    lead = [_slope(t, "lead") / float(nominal @ np.abs(t.direction)) for t in report.touches]
    values[1], deviations[1] = _mean(lead)
    way = np.log([max(_slope(t, "way"), 1.0) for t in report.touches])
    values[2], deviations[2] = math.exp(float(np.mean(way))), _mean(way)[1]
    told = deviations > 0
    information = np.zeros(len(priors))
    information[told] = (priors.std[told] / deviations[told]) ** 2
    # The estimate beside the prior: of a normal with this information the mean is drawn to 0.
    x = np.where(told, priors.to_standard(values) * information / (information + 1), 0.0)
    return Posterior(priors, x, np.diag(information))


def sliding_friction(report: ProbeReport) -> float:
    """Half of how the force along x over the force into the face differs between there and back."""
    ratios = [level.force[0] / max(-level.force[2], 0.5) for level in report.slides]
    return 0.5 * (ratios[0] - ratios[1])


def _slope(touch: Touch, against: str) -> float:
    """Force between both levels of a touch over lead or way [N/m], along its direction."""
    towards = np.array(touch.direction)
    light, firm = touch.light, touch.firm
    force = (np.array(firm.force) - light.force) @ towards
    if against == "lead":
        way = (np.array(firm.lead) - light.lead) @ towards
    else:
        way = (np.array(firm.pose[:3]) - light.pose[:3]) @ towards
    return float(force / max(float(way), 1e-6))


def _mean(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Median, and its standard deviation from how the values scatter."""
    array = np.array(values)
    spread = 1.25 * float(array.std(ddof=1)) / math.sqrt(len(array)) if len(array) > 1 else 1.0
    middle = float(np.median(array))
    return middle, max(spread, SPREAD)

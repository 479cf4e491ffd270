"""From touches to the pose at which what is held meets its socket, and how surely.

What touches is the plug itself, so its error in the gripper is in every touch: the touches tell
where the plug meets the socket (the seat), and hardly tell the socket's error from the grasp's.

Nine unknowns, with a normal prior each: the socket's x, y, z, yaw and two tilts, and the grasp's x,
y and yaw. A touch says that at its pose, taken back to no force, the plug's edges just reach the
plate's surface. Gauss-Newton on these gaps; the covariance is that of the linear model at the end
(Bard 1974, ch. 7), carried over to the seat, and widened by what repeats no better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from adapt.guard import chi_square_bound
from adapt.prior import PRIOR_FORMAT, MeasuredPrior, MeasuredQuantity
from robot_bridge.errors import ProbeError
from robot_bridge.probing.limits import matrix
from robot_bridge.protocol.probe_messages import Post, ProbeReport, ProbeTarget, Touch

UNKNOWN = (
    "socket_x", "socket_y", "socket_z", "socket_yaw", "socket_tilt_x", "socket_tilt_y",
    "grasp_x", "grasp_y", "grasp_yaw",
)  # fmt: skip
SOCKET = UNKNOWN[:6]
TOLD = ("seat_x", "seat_y", "seat_yaw", "face_z", "socket_tilt_x", "socket_tilt_y")
UNITS = ("m", "m", "rad", "m", "rad", "rad")
GAP = 5e-5
"""Standard deviation of a touch [m]: noise of pose and force, edges that are not quite as drawn,
contact that yields not quite in proportion."""
FLOOR = np.array([5e-5, 5e-5, 0.002, 3e-5, 1e-3, 1e-3])
"""Of what is told, added in squares: a plug that moves in the gripper from touch to touch and when
it is inserted, an encoder's and a controller's repeatability."""
SOCKET_FLOOR = FLOOR[[0, 1, 3, 2, 4, 5]]
"""The same in the order of `SOCKET`."""
ODDS = 1e-4
"""Probability with which touches of a socket that stands still are refused as inconsistent."""
Z90 = 1.6449
STEP = np.array([1e-6, 1e-6, 1e-6, 1e-5, 1e-5, 1e-5, 1e-6, 1e-6, 1e-5])
ITERATIONS = 30
YAWS = (0.0, 0.5, -0.5, 1.0, -1.0)
"""Where fits start, of the largest yaw of the socket: the first one that explains the touches is
taken."""


@dataclass(frozen=True)
class SocketPose:
    """mean (6,) and covariance (6, 6) of `SOCKET`. known (6,): standard deviations before."""

    mean: np.ndarray
    covariance: np.ndarray
    known: np.ndarray


@dataclass(frozen=True)
class SeatPose:
    """mean (6,) and covariance (6, 6) of `TOLD`. residuals (n,): of each touch in standard
    deviations. known (6,): standard deviations before. socket: what is left of the socket alone,
    with the error of the grasp in it."""

    mean: np.ndarray
    covariance: np.ndarray
    residuals: np.ndarray
    known: np.ndarray
    socket: SocketPose

    @property
    def std(self) -> np.ndarray:
        """(6,)"""
        return np.sqrt(np.diag(self.covariance))


def seat_pose(report: ProbeReport) -> SeatPose:
    """Raises ProbeError for a probing that failed, or touches that contradict each other."""
    target = report.target
    if report.problem or target is None:
        raise ProbeError(report.problem or "the robot said nothing of what it holds")
    if not report.touches:
        raise ProbeError("no surface was touched")
    prior = _prior(target)
    poses = [at_rest(touch) for touch in report.touches]

    def residual(u: np.ndarray) -> np.ndarray:
        gaps = [
            gap(touch, pose, target, u) / GAP
            for touch, pose in zip(report.touches, poses, strict=True)
        ]
        return np.concatenate([gaps, u / prior])

    count = len(poses)
    # Which edge touches depends on the yaw, so that there may be other minima than the global one.
    fits: list[tuple[float, np.ndarray]] = []
    for turned in YAWS:
        start = np.zeros(len(UNKNOWN))
        start[UNKNOWN.index("socket_yaw")] = turned * target.yaw
        u = _fit(residual, start, prior)
        fits.append((float(np.sum(residual(u) ** 2)), u))
        if fits[-1][0] <= chi_square_bound(count, ODDS):
            break
    found, u = min(fits, key=lambda fit: fit[0])
    left, rows = residual(u), _jacobian(residual, u)
    if found > chi_square_bound(count, ODDS):
        worst = int(np.argmax(np.abs(left[:count])))
        raise ProbeError(
            f"the touches contradict each other by {found**0.5:.0f} standard deviations, most of "
            f"all touch {worst + 1} ({report.touches[worst].surface}), by "
            f"{1e3 * abs(left[worst]) * GAP:.2f} mm: socket or plug has moved meanwhile, or they "
            "are not as the target says"
        )
    to_seat = _jacobian(seat, u)
    unknown = np.linalg.inv(rows.T @ rows)
    covariance = to_seat @ unknown @ to_seat.T + np.diag(FLOOR**2)
    before = to_seat @ np.diag(prior**2) @ to_seat.T
    alone = slice(len(SOCKET))
    socket = SocketPose(u[alone], unknown[alone, alone] + np.diag(SOCKET_FLOOR**2), prior[alone])
    return SeatPose(seat(u), covariance, left[:count], np.sqrt(np.diag(before)), socket)


def measured_prior(found: SeatPose, provenance: dict[str, str]) -> MeasuredPrior:
    """As `acclimate bridge prior=` reads it: what is known hardly better than before is marked."""
    quantities = []
    for name, unit, mean, std, known in zip(
        TOLD, UNITS, found.mean.tolist(), found.std.tolist(), found.known.tolist(), strict=True
    ):
        low, high = mean - Z90 * std, mean + Z90 * std
        quantities.append(
            MeasuredQuantity(name, unit, "linear", mean, low, high, measured=std < 0.7 * known)
        )
    return MeasuredPrior(PRIOR_FORMAT, quantities, found.covariance.tolist(), provenance)


def at_rest(touch: Touch) -> np.ndarray:
    """The tool's pose (6,) at which contact begins: back along the line through both forces."""
    towards = np.array(touch.direction)
    light, firm = (np.array(level.force) @ towards for level in (touch.light, touch.firm))
    if not firm - light > 0.5:
        raise ProbeError(
            f"touch of {touch.surface}: forces {light:.1f} and {firm:.1f} N; expected the second "
            "to be at least 0.5 N above the first"
        )
    first, second = np.array(touch.light.pose), np.array(touch.firm.pose)
    return first - light / (firm - light) * (second - first)


def gap(touch: Touch, pose: np.ndarray, target: ProbeTarget, u: np.ndarray) -> float:
    """Distance [m] between what is held, at a pose (6,), and the surface; 0 where they meet."""
    middle, turned = u[:3], matrix(np.array([u[3], u[5], u[4]]))
    tool, c, s = matrix(pose[3:]), np.cos(u[8]), np.sin(u[8])

    def in_plate(post: Post, height: float) -> np.ndarray:
        x, y = c * post.x - s * post.y + u[6], s * post.x + c * post.y + u[7]
        return turned.T @ (pose[:3] + tool @ np.array([x, y, height]) - middle)

    if touch.surface == "face":
        return min(float(in_plate(post, post.end)[2]) for post in target.posts)
    axis, sign = "xy".index(touch.surface[0]), -1.0 if touch.surface[1] == "-" else 1.0
    gaps = []
    for post in target.posts:
        low, high = in_plate(post, post.bottom), in_plate(post, post.bottom + 0.01)
        edge = low + (high - low) * (-low[2] / (high[2] - low[2]))  # level with the plate's face
        nearest = min(sign * low[axis], sign * edge[axis])
        gaps.append(nearest - target.plate[axis] - post.radius)
    return min(gaps)


def seat(u: np.ndarray) -> np.ndarray:
    """The quantities of `TOLD` (6,) from the unknowns (9,)."""
    yaw = u[3] - u[8]
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([u[0] - c * u[6] + s * u[7], u[1] - s * u[6] - c * u[7], yaw, u[2], u[4], u[5]])


def _prior(target: ProbeTarget) -> np.ndarray:
    """Standard deviations (9,): each anywhere within its range."""
    socket = [target.across, target.across, target.height, target.yaw, target.tilt, target.tilt]
    return np.array([*socket, target.grasp, target.grasp, target.grasp_yaw]) / np.sqrt(3)


def _fit(
    residual: Callable[[np.ndarray], np.ndarray], start: np.ndarray, prior: np.ndarray
) -> np.ndarray:
    """The unknowns (9,) by Gauss-Newton."""
    u = start
    for _ in range(ITERATIONS):
        step = np.linalg.lstsq(_jacobian(residual, u), -residual(u), rcond=None)[0]
        u = u + step
        if np.abs(step / prior).max() < 1e-6:
            break
    return u


def _jacobian(function: Callable[[np.ndarray], np.ndarray], u: np.ndarray) -> np.ndarray:
    columns = [
        (function(u + step) - function(u - step)) / (2 * size)
        for size, step in zip(STEP, np.diag(STEP), strict=True)
    ]
    return np.stack(columns, axis=1)

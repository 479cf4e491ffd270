"""`acclimate stop` and `acclimate release`: an emergency stop by hand, and the way out of it."""

from __future__ import annotations

from dataclasses import dataclass

from adapt.settings import compose
from robot_bridge.cli.connection import Connection, connected
from robot_bridge.errors import BridgeError

STOP = """acclimate stop [robot=NAME] [key=value ...]

Stops the robots of a bridge at once. Each stays stopped until `acclimate release` names it.

Examples:
  acclimate stop
  acclimate stop robot=arm 'reason=smoke'
  acclimate stop endpoint=tcp://bridge.lab:5555 keys=alice.key"""

RELEASE = """acclimate release [ROBOT] [key=value ...]

Lets a stopped robot move again, and prints why it had stopped. Look first: it moves at once.

Examples:
  acclimate release arm
  acclimate release arm endpoint=tcp://bridge.lab:5555 keys=alice.key"""


@dataclass(frozen=True, kw_only=True)
class StopSettings(Connection):
    """robot: name of the robot to stop; empty stops every robot.
    reason: text that robots and operators are told.
    """

    robot: str = ""
    reason: str = "by hand"


@dataclass(frozen=True, kw_only=True)
class ReleaseSettings(Connection):
    """robot: name of the robot to release."""

    robot: str


def stop(argv: list[str]) -> int:
    """`acclimate stop`; returns 0. Raises BridgeError, also for a robot that is not connected."""
    settings = compose("stop", StopSettings, argv, STOP, ["robot"])
    _check_name(settings.robot)
    with connected(settings, "stop") as operator:
        operator.stop(settings.reason, settings.robot)
        print(operator.wait_stopped())
        present = [robot.name for robot in operator.status().robots]
    if settings.robot and settings.robot not in present:
        raise BridgeError(
            f"no robot named {settings.robot!r} is connected, so none was stopped now; connected: "
            f"{', '.join(present) or 'none'}. A robot of that name will be stopped when it connects"
        )
    return 0


def release(argv: list[str]) -> int:
    """`acclimate release`; returns 0. Raises BridgeError when bridge or robot refuse, RobotLost
    when the robot does not answer."""
    settings = compose("release", ReleaseSettings, argv, RELEASE, ["robot"])
    _check_name(settings.robot)
    with connected(settings, "release") as operator:
        operator.release(settings.robot)
        print(operator.wait_released(settings.robot))
    return 0


def _check_name(robot: str) -> None:
    """Refuse an address where a robot's name is expected: the stop would reach no robot."""
    if "/" in robot or "=" in robot:
        raise BridgeError(
            f"{robot!r} is not a robot's name; an address is given as endpoint={robot}"
        )

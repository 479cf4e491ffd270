"""`acclimate model` and `acclimate belief`: what an operator asks of a bridge that runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from adapt.settings import Verb, WholeNumber, run_verb
from robot_bridge.cli.connection import Connection, connected
from robot_bridge.cli.status import show
from robot_bridge.protocol.operator_messages import RobotStatus

NAME = "operator"


@dataclass(frozen=True, kw_only=True)
class LoadSettings(Connection):
    """path: folder or .zip of the bundle, on the bridge's machine."""

    path: Path


@dataclass(frozen=True, kw_only=True)
class SwapSettings(Connection):
    """now: true swaps within an episode, too; false waits for each robot's next episode."""

    now: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelStatusSettings(Connection):
    """json: print the message itself, for programs."""

    json: bool = False


@dataclass(frozen=True, kw_only=True)
class BeliefSettings(Connection):
    """robot: name of the robot; empty takes the only one connected."""

    robot: str = ""


@dataclass(frozen=True, kw_only=True)
class RestoreSettings(BeliefSettings):
    """number: of the belief, from `acclimate belief list`."""

    number: WholeNumber


def model(argv: list[str]) -> int:
    """`acclimate model`; returns its exit code. Raises BridgeError."""
    return run_verb(
        "model", "Loads, swaps and rolls back the model of a running bridge.", MODEL, argv
    )


def belief(argv: list[str]) -> int:
    """`acclimate belief`; returns its exit code. Raises BridgeError."""
    return run_verb("belief", "Keeps, restores and forgets what a robot has learnt.", BELIEF, argv)


def _load(settings: LoadSettings) -> int:
    with connected(settings, NAME) as operator:
        print(operator.load_model(str(settings.path.absolute())))
    return 0


def _swap(settings: SwapSettings) -> int:
    with connected(settings, NAME) as operator:
        print(operator.swap_model("now" if settings.now else "episode"))
    return 0


def _rollback(settings: Connection) -> int:
    with connected(settings, NAME) as operator:
        print(operator.rollback_model())
    return 0


def _status(settings: ModelStatusSettings) -> int:
    with connected(settings, NAME) as operator:
        show(operator.status(), settings.json)
    return 0


def _list(settings: BeliefSettings) -> int:
    with connected(settings, NAME) as operator:
        for robot in operator.status().robots:
            if settings.robot in ("", robot.name):
                print("\n".join(_beliefs(robot)))
    return 0


def _keep(settings: BeliefSettings) -> int:
    with connected(settings, NAME) as operator:
        print(operator.keep_belief(settings.robot))
    return 0


def _restore(settings: RestoreSettings) -> int:
    with connected(settings, NAME) as operator:
        print(operator.restore_belief(settings.number, settings.robot))
    return 0


def _forget(settings: BeliefSettings) -> int:
    with connected(settings, NAME) as operator:
        print(operator.forget_belief(settings.robot))
    return 0


def _beliefs(robot: RobotStatus) -> list[str]:
    lines = [f"robot {robot.name}: version {robot.belief.version} of {robot.count} transitions"]
    lines += [
        f"  {kept.number:>4}  {kept.count:>5} transitions  {kept.age:>7.0f} s ago  "
        f"{kept.digest[:12]}  {kept.cause}"
        for kept in robot.kept
    ]
    return lines


MODEL = {
    "load": Verb(
        "read and verify a bundle beside the one that serves", LoadSettings, _load, ("path",)
    ),
    "swap": Verb("let the loaded model act from each robot's next episode on", SwapSettings, _swap),
    "rollback": Verb("let the model before act again, at once", Connection, _rollback),
    "status": Verb(
        "show models, robots, beliefs, latencies and events", ModelStatusSettings, _status
    ),
}
BELIEF = {
    "list": Verb("list the beliefs that each robot can go back to", BeliefSettings, _list),
    "keep": Verb("keep the belief as it is", BeliefSettings, _keep),
    "restore": Verb("go back to a kept belief", RestoreSettings, _restore, ("number",)),
    "forget": Verb("go back to the prior", BeliefSettings, _forget),
}

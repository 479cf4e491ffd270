"""`acclimate stop` and `acclimate release`: an emergency stop by hand, and the way out of it."""

from __future__ import annotations

import argparse
from pathlib import Path

from robot_bridge.client.operator_client import CONNECT, OperatorClient


def stop(argv: list[str]) -> int:
    """`acclimate stop [ROBOT] [--reason TEXT]`; returns 0. Raises BridgeError."""
    parser = _parser("stop", "Stop the robots of a bridge; each stays stopped until released.")
    parser.add_argument("robot", nargs="?", default="", help="its name; all by default")
    parser.add_argument("--reason", default="by hand", help="told to everybody")
    chosen = _parsed(parser, argv)
    with OperatorClient(chosen.endpoint, "stop", chosen.keys) as operator:
        operator.connect(CONNECT)
        operator.stop(chosen.reason, chosen.robot)
        print(operator.wait_stopped())
    return 0


def release(argv: list[str]) -> int:
    """`acclimate release ROBOT`: let it move, and say why it had stopped; returns 0. Raises
    BridgeError when bridge or robot refuse, RobotLost when the robot says nothing."""
    parser = _parser("release", "Let a stopped robot move again: you have looked, and it is safe.")
    parser.add_argument("robot", help="its name")
    chosen = _parsed(parser, argv)
    with OperatorClient(chosen.endpoint, "release", chosen.keys) as operator:
        operator.connect(CONNECT)
        operator.release(chosen.robot)
        print(operator.wait_released(chosen.robot))
    return 0


def _parser(name: str, text: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"acclimate {name}", description=text)
    parser.add_argument("--endpoint", default="local", help="of the bridge (default: local)")
    parser.add_argument("--keys", type=Path, help="for tcp: folder of keys, or one certificate")
    return parser


def _parsed(parser: argparse.ArgumentParser, argv: list[str]) -> argparse.Namespace:
    chosen = parser.parse_args(argv)
    if "=" in chosen.robot:
        # Written as other commands take it, an address would pass for a robot's name, and the stop
        # would go elsewhere.
        key, _, value = chosen.robot.partition("=")
        parser.error(f"{chosen.robot!r} is no robot; this command takes options: --{key} {value}")
    return chosen

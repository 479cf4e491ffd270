"""`acclimate model` and `acclimate belief`: what an operator asks of a bridge that runs."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import msgspec

from robot_bridge.client.operator_client import CONNECT, OperatorClient
from robot_bridge.protocol.operator_messages import RobotStatus, Status

EVENTS = 10  # shown


def model(argv: list[str]) -> int:
    """`acclimate model load|swap|rollback|status`; returns its exit code. Raises BridgeError."""
    text = "Load, swap and roll back the model of a bridge that runs."
    parser = argparse.ArgumentParser(prog="acclimate model", description=text)
    actions, shared = parser.add_subparsers(dest="action", required=True), [_shared()]
    load = actions.add_parser(
        "load", help="read and verify a bundle beside the one that serves", parents=shared
    )
    load.add_argument("path", type=Path, help="folder or .zip, on the bridge's machine")
    swap = actions.add_parser(
        "swap", help="let the loaded model act from the next episode on", parents=shared
    )
    swap.add_argument("--now", action="store_true", help="in the midst of an episode, too")
    actions.add_parser("rollback", help="let the model before act again, at once", parents=shared)
    status = actions.add_parser(
        "status", help="models, robots, beliefs, latencies, last events", parents=shared
    )
    status.add_argument("--json", action="store_true", help="print the message itself")
    chosen = parser.parse_args(argv)
    with _connected(chosen) as operator:
        if chosen.action == "load":
            print(operator.load_model(str(chosen.path.absolute())))
        elif chosen.action == "swap":
            print(operator.swap_model("now" if chosen.now else "episode"))
        elif chosen.action == "rollback":
            print(operator.rollback_model())
        else:
            found = operator.status()
            print(msgspec.json.encode(found).decode() if chosen.json else describe(found))
    return 0


def belief(argv: list[str]) -> int:
    """`acclimate belief list|keep|restore|forget`; returns its exit code. Raises BridgeError."""
    text = "Keep, restore and forget what a robot has learnt."
    parser = argparse.ArgumentParser(prog="acclimate belief", description=text)
    common = _shared()
    common.add_argument("--robot", default="", help="its name; the only one connected by default")
    actions, shared = parser.add_subparsers(dest="action", required=True), [common]
    actions.add_parser("list", help="the beliefs that each robot can go back to", parents=shared)
    actions.add_parser("keep", help="keep the belief as it is", parents=shared)
    restore = actions.add_parser("restore", help="go back to a kept belief", parents=shared)
    restore.add_argument("number", type=int, help="of the belief, from `acclimate belief list`")
    actions.add_parser("forget", help="back to the prior", parents=shared)
    chosen = parser.parse_args(argv)
    with _connected(chosen) as operator:
        if chosen.action == "list":
            for robot in operator.status().robots:
                if chosen.robot in ("", robot.name):
                    print("\n".join(_beliefs(robot)))
        elif chosen.action == "keep":
            print(operator.keep_belief(chosen.robot))
        elif chosen.action == "restore":
            print(operator.restore_belief(chosen.number, chosen.robot))
        else:
            print(operator.forget_belief(chosen.robot))
    return 0


def _shared() -> argparse.ArgumentParser:
    """What every action takes."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--endpoint", default="local", help="of the bridge (default: local)")
    parser.add_argument("--keys", type=Path, help="for tcp: folder of keys, or one certificate")
    return parser


def _connected(chosen: argparse.Namespace) -> OperatorClient:
    operator = OperatorClient(chosen.endpoint, "operator", chosen.keys)
    try:
        operator.connect(CONNECT)
    except BaseException:
        operator.close()
        raise
    return operator


def describe(status: Status) -> str:
    """A page about a bridge for a person."""
    shadow = ", in shadow: it never commands" if status.shadow else ""
    since = time.strftime("%H:%M:%S", time.gmtime(status.uptime))
    days = f"{int(status.uptime // 86400)} d " if status.uptime >= 86400 else ""
    lines = [f"bridge  up {days}{since}, stops given: {status.stop}{shadow}"]
    for role, one in (
        ("serves", status.served),
        ("loaded", status.candidate),
        ("before", status.previous),
    ):
        if one is not None:
            lines.append(f"{role}  {one.name}  {one.digest[:12]}")
    if status.loading:
        lines.append(f"reading {status.loading}")
    for robot in status.robots:
        lines += ["", *_robot(robot)]
    if status.stages:
        lines += [
            "",
            f"{'latency [ms]':<14}{'p50':>9}{'p99':>9}{'p99.9':>9}{'max':>9}{'count':>12}",
        ]
        for stage in status.stages:
            times = (stage.p50, stage.p99, stage.p999, stage.max)
            cells = "".join(f"{1000 * value:>9.3f}" for value in times)
            lines.append(f"{stage.name:<14}{cells}{stage.count:>12}")
    if status.events:
        lines += ["", "last events"]
        for event in status.events[-EVENTS:]:
            lines.append(f"  {event.name}  {event.robot}  {event.text}")
    lines += ["", f"operators  {', '.join(status.operators)}"]
    return "\n".join(lines)


def _robot(robot: RobotStatus) -> list[str]:
    trust = "the belief" if robot.trusted else "the prior"
    episode = f"step {robot.step}" if robot.episode == "open" else f"episode {robot.episode}"
    clock = " in simulated time" if robot.simulated_time else ""
    lines = [
        f"robot {robot.name}  {robot.mode or 'not heard yet'}, {episode}, {robot.rate:.1f}/s{clock}"
        f", {robot.late:.0%} late, heard {robot.quiet:.1f} s ago",
        f"  model   {robot.digest[:12]}"
        + (f", then {robot.next_digest[:12]}" if robot.next_digest else ""),
        f"  belief  version {robot.belief.version} of {robot.count} transitions, "
        f"{robot.waiting} waiting{'' if robot.adapting else ', frozen'}; acts on {trust}",
    ]
    if robot.clock_offset_ns is not None and robot.round_trip_ns is not None:
        lines.append(
            f"  clock   the bridge's is {robot.clock_offset_ns / 1e9:+.6f} s from the robot's, "
            f"round trip {robot.round_trip_ns / 1e3:.0f} us"
        )
    if not robot.inside:
        lines.append(f"  outside of what training saw: {robot.guard}")
    if robot.stop:
        lines.append(f"  stopped: {robot.stop}")
    return lines


def _beliefs(robot: RobotStatus) -> list[str]:
    lines = [f"robot {robot.name}: version {robot.belief.version} of {robot.count} transitions"]
    lines += [
        f"  {kept.number:>4}  {kept.count:>5} transitions  {kept.age:>7.0f} s ago  "
        f"{kept.digest[:12]}  {kept.cause}"
        for kept in robot.kept
    ]
    return lines

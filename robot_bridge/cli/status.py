"""`acclimate status`: robots, modes, beliefs, rates, latencies, clocks and events of a bridge."""

from __future__ import annotations

import time
from dataclasses import dataclass

import msgspec

from adapt.settings import NonNegative, compose
from robot_bridge.cli.connection import Connection, connected
from robot_bridge.protocol.operator_messages import RobotStatus, Status

HELP = """acclimate status [key=value ...]

Prints the state of a running bridge: its models, and each robot with mode, step, rate and belief;
latencies, clocks and the last events.

Examples:
  acclimate status
  acclimate status every=1
  acclimate status endpoint=tcp://bridge.lab:5555 keys=alice.key json=true"""

EVENTS = 10
"""Events shown."""


@dataclass(frozen=True, kw_only=True)
class StatusSettings(Connection):
    """json: print the message itself, for programs.
    every: ask again every so many seconds, until Ctrl-C; 0 asks once [s].
    """

    json: bool = False
    every: NonNegative = 0.0


def main(argv: list[str]) -> int:
    """`acclimate status`; returns its exit code. Raises BridgeLost when no bridge answers,
    HandshakeError when it refuses."""
    settings = compose("status", StatusSettings, argv, HELP)
    with connected(settings, "status") as operator:
        while True:
            show(operator.status(), settings.json)
            if not settings.every:
                return 0
            time.sleep(settings.every)
            if not settings.json:
                print()


def show(status: Status, json: bool) -> None:
    """Print a status as JSON or as a page."""
    print(msgspec.json.encode(status).decode() if json else describe(status), flush=True)


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

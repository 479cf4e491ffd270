"""`acclimate twin`: connects a simulated robot to a bridge."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from adapt.errors import AcclimateError
from adapt.settings import Positive, WholeNumber, compose
from robot_bridge.client.robot_client import RobotClient
from robot_bridge.system.clock import Rate
from robot_bridge.system.signals import Interrupt
from sim.core.parameter import Split
from sim.core.registry import on_robot
from sim.core.scene import drawable
from sim.core.schedule import read_schedule
from sim.twin.child_processes import Signals
from sim.twin.twin import Twin, perform

HELP = """acclimate twin [key=value ...]

Connects a simulated robot to a bridge and performs the episodes that operators ask for, until
Ctrl-C or until the bridge closes.

Examples:
  acclimate twin
  acclimate twin body=wrist realtime=true
  acclimate twin family=point-sparse
  acclimate twin name=arm endpoint=tcp://bridge.lab:5555 keys=arm.key"""

GLANCE = 0.2
"""Between checks for a signal while the twin waits for an episode [s]."""


@dataclass(frozen=True)
class TwinSettings:
    """endpoint: of the bridge: local (this user's own socket), ipc:///PATH or tcp://HOST:PORT.
    keys: for tcp: folder of keys, or one certificate; null takes $ACCLIMATE_KEYS or
        ~/.config/acclimate/keys.
    name: of the robot; operators call it by this name.
    family: of tasks, the one that the bundle was trained on: a name of ours, FOLDER/FILE.py:NAME or
        package.module:NAME (docs/families.md).
    body: one of the family's; empty takes its first. Of insertion: arm, a whole six-joint arm;
        wrist, the rig that policies are trained on; or cell, an arm that brings itself back.
    realtime: true keeps the control rate by the clock; false runs as fast as it can.
    groups: tasks of each group, in this order; the trial's seed draws them. Empty takes 20 of each
        group that training never meets.
    schedule: YAML file of what changes within each episode (docs/tasks.md); null for nothing.
    robot: file of a robot of your own in the place of the family's (docs/robots.md): for
        locomotion a joint map. null takes the family's.
    takes: folder for every episode's motion, to be filmed; empty keeps none.
    wait: time for the bridge to appear [s].
    """

    endpoint: str = "local"
    keys: Path | None = None
    name: str = "twin"
    family: str = "insertion"
    body: str = ""
    realtime: bool = False
    groups: dict[Split, WholeNumber] = field(default_factory=dict)
    schedule: Path | None = None
    robot: Path | None = None
    takes: str = ""
    wait: Positive = 10.0


def serve(
    client: RobotClient, twin: Twin, rate: Rate | None, takes: str, halted: Callable[[], bool]
) -> None:
    """Perform episodes until halted() is true. Raises BridgeLost when the bridge closes."""
    while not halted():
        request = client.wait_reset(GLANCE)
        if request is None:
            continue
        try:
            outcome = perform(client, twin, request, rate, halted)
            if outcome is not None and takes:
                twin.take(outcome.success).save(Path(takes), request.task, request.episode)
        except AcclimateError as error:
            client.halt(str(error)[:1000])
            raise
        if outcome is not None:
            client.end_episode(outcome)


def main(argv: list[str]) -> int:
    """`acclimate twin`; returns 130 after Ctrl-C, else 0."""
    settings = compose("twin", TwinSettings, argv, HELP)
    if settings.groups and not sum(settings.groups.values()):
        raise AcclimateError("the twin has no tasks; say groups.held_out=20, for example")
    schedule = read_schedule(settings.schedule) if settings.schedule else None
    name = on_robot(settings.family, settings.robot)
    twin = Twin(name, settings.body, settings.groups, schedule)
    if settings.takes:
        drawable(name, twin.worlds)
    spec = twin.family.spec
    client = RobotClient(
        settings.endpoint,
        settings.name,
        spec.observation,
        spec.action,
        spec.control_period,
        simulated_time=not settings.realtime,
        keys=settings.keys,
        probes=twin.family.embodiment.probing is not None,
    )
    try:
        # While there is no bridge to say goodbye to, a signal ends the wait at once.
        with Signals():
            client.connect(settings.wait)
        interrupt = Interrupt()
        print(f"twin: {twin.body} at {settings.endpoint}", file=sys.stderr, flush=True)
        rate = Rate(spec.control_period) if settings.realtime else None
        serve(client, twin, rate, settings.takes, lambda: bool(interrupt))
    finally:
        client.close()
        twin.worlds.close()
    return interrupt.exit_code

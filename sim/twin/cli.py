"""`acclimate twin`: connects a simulated robot to a bridge."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from adapt.errors import AcclimateError
from adapt.settings import compose
from robot_bridge.client.robot_client import RobotClient
from robot_bridge.system.clock import Rate
from robot_bridge.system.signals import Interrupt
from sim.core.parameter import Split
from sim.twin.child_processes import Signals
from sim.twin.twin import Twin, perform

HELP = """acclimate twin [endpoint=...] [family=...] [body=...] [realtime=true|false]

Connects a simulated robot to a bridge and performs whatever episodes its operators ask for, until
Ctrl-C or until the bridge closes."""

GLANCE = 0.2
"""Between looks for Ctrl-C while nobody asks for an episode [s]."""


@dataclass(frozen=True)
class TwinSettings:
    """endpoint: of the bridge. keys: for tcp, a folder or a certificate. name: the robot's. family:
    a name, or package.module:NAME. body: one of the family's, "" for its first. realtime: by the
    clock, or as fast as it can. groups: the tasks, in this order: split → how many; without any
    number 20 of each kind that training never meets. takes: folder for every episode's motion, ""
    for none. wait: for the bridge to appear [s]."""

    endpoint: str
    keys: Path | None = None
    name: str = "twin"
    family: str = "insertion"
    body: str = ""
    realtime: bool = False
    groups: dict[Split, Annotated[int, Meta(ge=0)] | None] | None = None
    takes: str = ""
    wait: Annotated[float, Meta(gt=0)] = 10.0


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
    settings = compose("sim/twin", TwinSettings, argv, HELP)
    given = (settings.groups or {}).items()
    groups: dict[Split, int] = {split: n for split, n in given if n is not None}
    if groups and not sum(groups.values()):
        raise AcclimateError("the twin has no tasks; say groups.held_out=20, for example")
    twin = Twin(settings.family, settings.body, groups)
    spec = twin.family.spec
    client = RobotClient(
        settings.endpoint,
        settings.name,
        spec.observation,
        spec.action,
        spec.control_period,
        simulated_time=not settings.realtime,
        keys=settings.keys,
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

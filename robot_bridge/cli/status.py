"""`acclimate status`: robots, modes, beliefs, rates, latencies, clocks and events of a bridge."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from adapt.settings import compose
from robot_bridge.cli.operator import describe
from robot_bridge.client.operator_client import OperatorClient

NAME = "status"


@dataclass(frozen=True)
class StatusSettings:
    """endpoint: of the bridge. keys: for tcp, a folder of keys or one certificate. json: print the
    message itself. every: ask again after so long, until Ctrl-C [s]; 0 asks once."""

    endpoint: str
    keys: Path | None = None
    json: bool = False
    every: Annotated[float, Meta(ge=0)] = 0.0


def main(argv: list[str]) -> int:
    """`acclimate status endpoint=ENDPOINT`; returns its exit code. Raises BridgeLost when no bridge
    answers, HandshakeError when it refuses."""
    settings = compose("robot_bridge/status", StatusSettings, argv, __doc__ or "")
    with OperatorClient(settings.endpoint, NAME, settings.keys) as operator:
        operator.connect()
        while True:
            status = operator.status()
            text = msgspec.json.encode(status).decode() if settings.json else describe(status)
            print(text, flush=True)
            if not settings.every:
                return 0
            time.sleep(settings.every)
            if not settings.json:
                print()

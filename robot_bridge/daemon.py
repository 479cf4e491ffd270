"""`acclimate bridge`: serves one bundle to robots, and their operators' wishes to them.

A robot's driver connects, shakes hands and then owns time: every observation is answered at once.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from adapt.bundle import PolicyBundle
from adapt.runtime import CPU
from adapt.settings import compose
from robot_bridge.errors import CodecError
from robot_bridge.interrupt import Interrupt
from robot_bridge.limits import Limits
from robot_bridge.peers import Peers
from robot_bridge.recorder import McapRecorder
from robot_bridge.router import Router
from robot_bridge.tap import Tap
from robot_bridge.taps import Taps

# How long the loop sleeps when nothing arrives [ms]: a signal waits at most so long.
IDLE_MS = 50
SETTLING_MS = 2  # while a worker finishes an episode, whose record somebody waits for


@dataclass(frozen=True)
class BridgeSettings:
    """bundle: folder or .zip. endpoint: ipc:///PATH or tcp://127.0.0.1:PORT. validity: of a
    command, in control periods. seed: of the latents of robots that run without an operator.
    provider: onnxruntime's. record: folder for recordings. mode: shadow computes and answers, and
    never commands."""

    bundle: Path
    endpoint: str
    validity: Annotated[int, Meta(ge=1, le=100)] = 3
    seed: Annotated[int, Meta(ge=0)] = 0
    provider: str = CPU
    record: Path | None = None
    mode: Literal["live", "shadow"] = "live"


class Daemon:
    """The loop: receive → validate → act → answer. Binds at once.

    taps: told of every step, transition and event after the answer has gone, and closed with it.
    Raises LimitError for a bundle whose limits nothing can keep, EndpointError.
    """

    def __init__(
        self, bundle: PolicyBundle, settings: BridgeSettings, taps: Sequence[Tap] = ()
    ) -> None:
        manifest = bundle.manifest
        # Each robot gets its own; one that cannot be made shall not wait for a robot to show it.
        Limits(manifest.observation, manifest.action, manifest.limits, manifest.control_period)
        period_ns = round(manifest.control_period * 1e9)
        self._router = Router(settings.endpoint)
        self._taps = Taps(taps)
        self._peers = Peers(
            bundle,
            self._router.send,
            settings.seed,
            settings.validity * period_ns,
            log,
            self._taps,
            settings.mode == "shadow",
        )

    def run(self, halted: Callable[[], bool]) -> None:
        """Serve until halted() is true."""
        peers = self._peers
        while not halted():
            wait_ms = SETTLING_MS if peers.settling else IDLE_MS
            for sender, data in self._router.receive(wait_ms):
                try:
                    peers.take(sender, data)
                except CodecError as error:
                    peers.garbled(sender, error)
            peers.tend()

    def close(self, reason: str) -> None:
        """Stop every robot, tell every peer, and leave the address free."""
        try:
            self._peers.dismiss(reason)
        finally:
            try:
                self._router.close()
            finally:
                self._taps.close()


def log(line: str) -> None:
    """One line for the journal."""
    print(f"bridge: {line}", file=sys.stderr, flush=True)


def main(argv: list[str]) -> int:
    """`acclimate bridge bundle=PATH endpoint=ENDPOINT`; returns 130 after Ctrl-C, else 0."""
    settings = compose("robot_bridge/bridge", BridgeSettings, argv, __doc__ or "")
    bundle = PolicyBundle.load(settings.bundle, (settings.provider,))
    # From here on a signal is a request: whatever is bound will be unbound.
    interrupt = Interrupt()
    recorders = [McapRecorder(settings.record, bundle)] if settings.record else []
    try:
        daemon = Daemon(bundle, settings, recorders)
    except BaseException:
        for recorder in recorders:
            recorder.close()
        raise
    try:
        manifest = bundle.manifest
        log(
            f"serving {manifest.name} ({bundle.digest[:12]}, {manifest.control_period:g} s, "
            f"{settings.provider}) at {settings.endpoint}, {settings.mode}"
        )
        for recorder in recorders:
            log(f"recording to {recorder.path}")
        # What is alive now stays alive: the collector need not look at it in the loop.
        gc.freeze()
        daemon.run(lambda: bool(interrupt))
    except BaseException as error:
        daemon.close(f"fault: {error!r}")
        raise
    daemon.close(interrupt.signal.name if interrupt.signal else "done")
    return interrupt.exit_code

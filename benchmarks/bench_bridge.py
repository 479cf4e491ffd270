"""Latency from an observation to its command at the client, at control rates and with adaptation,
compared with a floor from the same run and with the same network behind WebSocket and gRPC.

    python -m benchmarks.bench_bridge [--quick] [--priority 50]

The bridge encrypts every tcp connection, so only the floor has "tcp without CURVE".
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import zmq

from adapt.adapters.base import Transition
from adapt.adapters.registry import make_adapter
from adapt.bundle.golden import decode_golden
from adapt.bundle.policy_bundle import PolicyBundle, write_bundle
from benchmarks.support import clients
from benchmarks.support.paced import Track, take_turns
from benchmarks.support.processes import free_port, started
from benchmarks.support.results import FOLDER, record
from benchmarks.support.servers import Policy
from robot_bridge.transport.key_store import KeyFolder

NAME = "bridge"
BUNDLE = Path(__file__).resolve().parent.parent / "bundles" / "insertion-pearl"
# Of each of 12 clients at each rate, eight minutes in all; a p99.9 takes thousands of exchanges,
# which 50 Hz cannot give in that time [s].
SECONDS = {50: 12.0, 200: 7.0, 500: 5.0, 1000: 5.0}
TURNS = 2
UPDATES = 3000


@dataclass(frozen=True)
class Plan:
    """What is measured. seconds: of each client, by rate."""

    seconds: Mapping[int, float] = field(default_factory=lambda: SECONDS)
    turns: int = TURNS
    updates: int = UPDATES
    priority: int = 0
    folder: Path = FOLDER


@dataclass(frozen=True)
class Case:
    """One line of the table. loop: how the server waits."""

    server: str
    transport: str
    loop: str
    track: Track
    client: clients.Client


def measure(plan: Plan, scratch: Path) -> None:
    """Every case at every rate; one rate's cases take turns."""
    keys = KeyFolder(scratch / "keys")
    keys.make_server()
    keys.make_client("robot", "bench")
    for rate, seconds in plan.seconds.items():
        bundle = scratch / f"bundle-{rate}"
        at_rate(BUNDLE, bundle, 1 / rate)
        for loop in ("blocking", "polling"):
            if loop == "polling" and len(os.sched_getaffinity(0)) < 2:
                print("polling: needs a core of its own; this machine has one core", flush=True)
                continue
            with cases(bundle, loop, keys.path, scratch) as found:
                take_turns(
                    [(case.track, case.client) for case in found],
                    1 / rate,
                    seconds,
                    plan.turns,
                )
            tell(found, rate, plan)


@contextmanager
def cases(bundle: Path, loop: str, keys: Path, scratch: Path) -> Iterator[list[Case]]:
    """Servers and connected clients of one loop mode."""
    core = max(os.sched_getaffinity(0)) if loop == "polling" else None
    spins = [] if core is None else ["--core", str(core)]
    policy = Policy(PolicyBundle.load(bundle))
    made: list[tuple[str, str, Callable[[], clients.Client]]] = []
    with ExitStack() as stack:

        def serve(
            kind: str,
            transport: str,
            address: str,
            client: Callable[[], clients.Client],
            *words: str,
        ) -> None:
            command = ["-m", "benchmarks.support.servers", kind, str(bundle), address, *words]
            stack.enter_context(started(command))
            made.append((kind, transport, client))

        public, secret = (key.decode() for key in zmq.curve_keypair())
        for transport in ("ipc", "tcp", "tcp+CURVE"):
            address = _address(transport, scratch / f"floor-{loop}")
            encrypts = transport.endswith("CURVE")
            serve(
                "floor",
                transport,
                address,
                partial(clients.Floor, address, policy, public if encrypts else ""),
                *spins,
                *([f"--curve={secret}"] if encrypts else []),
            )
        for transport in ("ipc", "tcp+CURVE"):
            address = _address(transport, scratch / f"bridge-{loop}")
            words = [f"bundle={bundle}", f"endpoint={address}", f"keys={keys}", f"loop={loop}"]
            # Late answers are counted; they must not end the measurement.
            words += ["pace.slipping=1", "pace.lost=1"]
            words += [] if core is None else [f"core={core}"]
            stack.enter_context(started(["-m", "acclimate", "bridge", *words]))
            made.append(("bridge", transport, partial(clients.Bridge, address, bundle, keys)))
        if core is None:
            address = f"127.0.0.1:{free_port()}"
            serve("websocket", "tcp", address, partial(clients.WebSocket, address, policy))
            address = f"127.0.0.1:{free_port()}"
            serve("grpc", "tcp", address, partial(clients.Grpc, address, policy))
        else:
            # Set after the servers start, because they would inherit it, and before the clients'
            # own threads start.
            stack.enter_context(elsewhere(core))
        yield [
            Case(kind, transport, loop, Track([]), stack.enter_context(client()))
            for kind, transport, client in made
        ]


@contextmanager
def elsewhere(core: int) -> Iterator[None]:
    """Keep this process, the client, off the server's core."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, allowed - {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def tell(found: list[Case], rate: int, plan: Plan) -> None:
    """Record every case's quantiles, and the bridge's over its floor's."""
    folder = plan.folder
    floors = {case.transport: case.track for case in found if case.server == "floor"}
    for case in found:
        parameters = {
            "priority": plan.priority,
            "loop": case.loop,
            "server": case.server,
            "transport": case.transport,
            "rate": rate,
        }
        quantiles = case.track.quantiles()
        for name, value in quantiles.items():
            record(NAME, name, value * 1e6, "µs", parameters, 0, folder=folder)
        record(NAME, "missed periods", case.track.missed, "1", parameters, 0, folder=folder)
        if isinstance(case.client, clients.Bridge):
            record(NAME, "held", case.client.held, "1", parameters, 0, folder=folder)
            floor = floors[case.transport].quantiles()
            for name in ("p50", "p99"):
                ratio = quantiles[name] / floor[name]
                record(NAME, f"{name} over floor", ratio, "1", parameters, 0, folder=folder)


def learn(plan: Plan) -> None:
    """How long a belief's update with one transition takes, in this process."""
    bundle = PolicyBundle.load(BUNDLE)
    adapter = make_adapter(bundle, 0)
    rng = np.random.default_rng(0)
    middle = clients.middle(bundle.manifest)
    scale = 1e-3 * np.maximum(1.0, np.abs(middle))
    took: list[int] = []
    for _ in range(plan.updates):
        before, after = (
            (middle + scale * rng.normal(size=middle.size)).astype(np.float32) for _ in range(2)
        )
        action = rng.uniform(-1, 1, bundle.manifest.action_size).astype(np.float32)
        transition = Transition(before, action, 0.0, after)
        start = time.perf_counter_ns()
        adapter.observe(transition)
        took.append(time.perf_counter_ns() - start)
    for name, percent in (("p50", 50), ("p99", 99)):
        value = float(np.percentile(took, percent)) / 1e3
        metric = f"belief update, {name}"
        record(NAME, metric, value, "µs", {"bundle": BUNDLE.name}, 0, folder=plan.folder)


def at_rate(source: Path, target: Path, period: float) -> None:
    """Write `source` at `target` with another control period [s]."""
    manifest = PolicyBundle.load(source).manifest
    graphs = {
        name.removesuffix(".onnx"): (source / name).read_bytes()
        for name in manifest.files
        if name.endswith(".onnx")
    }
    golden = decode_golden((source / "golden.npz").read_bytes(), manifest.signatures(), str(source))
    changed = msgspec.structs.replace(manifest, control_period=period)
    write_bundle(target, changed, graphs, golden)


def _address(transport: str, path: Path) -> str:
    return f"ipc://{path}" if transport == "ipc" else f"tcp://127.0.0.1:{free_port()}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke test; records nothing")
    parser.add_argument("--priority", type=int, default=0, help="SCHED_FIFO for all of it")
    options = parser.parse_args()
    if options.priority:
        # Every server inherits it, so the comparison does not depend on the scheduler.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(options.priority))
    with tempfile.TemporaryDirectory() as scratch:
        where = Path(scratch)
        plan = (
            Plan({200: 0.3}, turns=1, updates=200, folder=where / "results")
            if options.quick
            else Plan(priority=options.priority)
        )
        learn(plan)
        measure(plan, where)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

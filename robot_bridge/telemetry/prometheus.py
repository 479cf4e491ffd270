"""A bridge's metrics for Prometheus, on a thread and a port of their own. All units are SI.

prometheus_client's own server bounds neither connections nor their time; `_Server` adds both.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import ThreadingWSGIServer, make_wsgi_app
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from robot_bridge.errors import BridgeError
from robot_bridge.protocol.messages import Mode
from robot_bridge.telemetry.metrics import STAGES, Metrics, Reading

ADDRESS = "127.0.0.1"  # metrics name robots and their events, and have no password
# Each connection takes a thread and a descriptor, and robots need descriptors, too.
CONNECTIONS = 8
PATIENCE = 5.0  # longest time of a connection [s]; a scrape takes some 10 ms
PREFIX = "acclimate_bridge_"
# Finest where a control loop lives, 20 µs to 20 ms [ns].
EDGES_NS = tuple(
    step * scale
    for scale in (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
    for step in (1, 2, 5)
)


class Exporter:
    """Serves `metrics` over HTTP until closed. port: 0 takes a free one; see `port`.

    Raises BridgeError when the port cannot be had.
    """

    def __init__(
        self, metrics: Metrics, port: int, address: str = ADDRESS, *, bundle: str, digest: str
    ) -> None:
        # A registry of its own: prometheus_client's global one belongs to the whole process.
        registry = CollectorRegistry()
        registry.register(_Bridge(metrics, bundle, digest))
        ProcessCollector(registry=registry)
        try:
            self._server = _Server(address, port)
        except OSError as error:
            raise BridgeError(
                f"metrics at {address}:{port}: {error.strerror}; choose another port, or "
                "metrics=0 for none"
            ) from None
        self._server.set_app(make_wsgi_app(registry))
        self.port = int(self._server.server_port)
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5.0)


class _Server(ThreadingWSGIServer):
    """Serves at most CONNECTIONS at a time, each on a thread, and none for longer than PATIENCE.

    Raises OSError when the port cannot be had.
    """

    def __init__(self, address: str, port: int) -> None:
        self._begun: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        kinds = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family = kinds[0][0]
        super().__init__((address, port), _Silent)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is room for one more; it is closed at once where there is none."""
        with self._lock:
            room = len(self._begun) < CONNECTIONS
            if room:
                self._begun[request] = time.monotonic()
        return room

    def service_actions(self) -> None:
        """Twice a second: end connections that are too old. A socket's own timeout would begin anew
        with every byte that a client sends."""
        with self._lock:
            for request, begun in self._begun.items():
                if time.monotonic() - begun > PATIENCE:
                    with contextlib.suppress(OSError):  # the client has closed it
                        request.shutdown(socket.SHUT_RDWR)

    def shutdown_request(self, request: Any) -> None:
        """An answer is over, or was refused."""
        # Before it is closed: afterwards another connection may have its descriptor's number.
        with self._lock:
            self._begun.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print a fault of ours on stderr; a client that leaves early is no fault."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Silent(WSGIRequestHandler):
    """Logs nothing."""

    def log_message(self, format: str, *args: Any) -> None: ...


class _Bridge(Collector):
    """The metrics, read anew for every scrape."""

    def __init__(self, metrics: Metrics, bundle: str, digest: str) -> None:
        self._metrics = metrics
        try:
            release = version("acclimate")
        except PackageNotFoundError:  # run from a source tree that is not installed
            release = "unknown"
        self._info = {"bundle": bundle, "digest": digest, "version": release}

    def collect(self) -> Iterator[Metric]:
        reading = self._metrics.read()
        yield InfoMetricFamily(
            PREFIX.rstrip("_"), "The bundle that is served, and the release serving it.", self._info
        )
        yield _stages(reading)
        yield from _robots(reading)
        events = CounterMetricFamily(PREFIX + "events", "Events by name.", labels=["event"])
        for name, count in reading.events.items():
            events.add_metric([name], count)
        yield events
        for name, text, count in (
            ("transitions_learnt", "Transitions learnt from.", reading.learnt),
            ("transitions_refused", "Transitions that nothing was learnt from.", reading.problems),
            ("records_dropped", "Steps that the metrics missed.", reading.dropped),
        ):
            yield CounterMetricFamily(PREFIX + name, text, count)


def _stages(reading: Reading) -> Metric:
    meanings = "; ".join(f"{name}: {text}" for name, text in STAGES.items())
    family = HistogramMetricFamily(
        PREFIX + "stage_seconds", f"Durations by stage. {meanings}.", labels=["stage"]
    )
    edges = [f"{edge / 1e9:g}" for edge in EDGES_NS]
    for name, stage in reading.stages.items():
        buckets = [(edge, float(count)) for edge, count in zip(edges, stage.below, strict=True)]
        buckets.append(("+Inf", float(stage.count)))
        family.add_metric([name], buckets, stage.total_ns / 1e9)
    return family


def _robots(reading: Reading) -> Iterator[Metric]:
    steps = CounterMetricFamily(
        PREFIX + "steps", "Observations answered, by the answer's mode.", labels=["robot", "mode"]
    )
    gauges = {
        name: GaugeMetricFamily(PREFIX + name, text, labels=["robot"])
        for name, text in (
            ("robot_connected", "1 while the robot is connected, else 0."),
            ("belief_version", "Number of the belief in force; rises with every change."),
            ("belief_transitions", "Transitions behind the belief in force."),
            ("clock_offset_seconds", "The bridge's monotonic clock minus the robot's."),
            ("round_trip_seconds", "Shortest recent round trip that the robot saw."),
        )
    }
    for name, robot in reading.robots.items():
        for mode in Mode:
            steps.add_metric([name, mode.name.lower()], robot.steps[mode])
        gauges["robot_connected"].add_metric([name], float(robot.connected))
        gauges["belief_version"].add_metric([name], robot.belief_version)
        gauges["belief_transitions"].add_metric([name], robot.belief_count)
        if robot.clock_offset_ns is not None and robot.round_trip_ns is not None:
            gauges["clock_offset_seconds"].add_metric([name], robot.clock_offset_ns / 1e9)
            gauges["round_trip_seconds"].add_metric([name], robot.round_trip_ns / 1e9)
    yield steps
    yield from gauges.values()
    connected = sum(robot.connected for robot in reading.robots.values())
    yield GaugeMetricFamily(PREFIX + "robots", "Robots connected now.", connected)

"""The metrics endpoint, scraped over HTTP and read by Prometheus's own parser."""

import socket
import struct
import threading
import time
import urllib.request
from contextlib import ExitStack

import pytest
from prometheus_client.parser import text_string_to_metric_families

from robot_bridge.errors import BridgeError
from robot_bridge.protocol.messages import Mode
from robot_bridge.telemetry import prometheus
from robot_bridge.telemetry.metrics import Metrics
from robot_bridge.telemetry.prometheus import EDGES_NS, PREFIX, Exporter
from robot_bridge.telemetry.records import AdaptationRecord, ClockRecord, EventRecord
from tests.robot_bridge.telemetry.test_metrics import PERIOD, PERIOD_NS, step
from tests.support.bridge.recorded import wait_for


def scrape(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


@pytest.fixture
def served():
    metrics = Metrics(PERIOD, EDGES_NS, fold=None)
    exporter = Exporter(metrics, 0, bundle="tiny", digest="ab12")
    yield metrics, exporter
    exporter.close()


def value(families, name, **labels):
    found = [
        sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name == PREFIX + name and labels.items() <= sample.labels.items()
    ]
    assert len(found) == 1, (name, labels, found)
    return found[0]


def test_what_was_measured_is_what_is_scraped(served):
    metrics, exporter = served
    metrics.event(EventRecord(0, "robot_connected", 'a "quoted"\nname', ""))
    metrics.event(EventRecord(0, "robot_connected", "arm", ""))
    metrics.step(step())
    metrics.step(step(received=PERIOD_NS, mode=Mode.HOLD, version=7))
    metrics.adapted(AdaptationRecord("arm", 0, 1_000, 80_000, 1))
    metrics.clock(ClockRecord("arm", 0, 2_500_000_000, 120_000))
    metrics.fold()
    families = scrape(exporter.port)
    assert value(families, "robots") == 2
    assert value(families, "robot_connected", robot='a "quoted"\nname') == 1
    assert value(families, "steps_total", robot="arm", mode="track") == 1
    assert value(families, "steps_total", robot="arm", mode="hold") == 1
    assert value(families, "steps_total", robot="arm", mode="stop") == 0
    assert value(families, "belief_version", robot="arm") == 7
    assert value(families, "clock_offset_seconds", robot="arm") == 2.5
    assert value(families, "round_trip_seconds", robot="arm") == 1.2e-4
    assert value(families, "events_total", event="robot_connected") == 2
    assert value(families, "transitions_learnt_total") == 1
    assert value(families, "stage_seconds_count", stage="answer") == 2
    assert value(families, "stage_seconds_sum", stage="answer") == pytest.approx(1e-4)
    assert value(families, "stage_seconds_bucket", stage="answer", le="2e-05") == 0
    assert value(families, "stage_seconds_bucket", stage="answer", le="0.0001") == 2
    assert value(families, "info", bundle="tiny", digest="ab12") == 1
    assert families["process_resident_memory_bytes"].samples[0].value > 0


def test_every_family_explains_itself_and_buckets_never_fall(served):
    metrics, exporter = served
    for index in range(50):
        metrics.step(step(received=index * (PERIOD_NS + index * 1000)))
    metrics.fold()
    families = scrape(exporter.port)
    for name, family in families.items():
        if name.startswith(PREFIX):
            assert family.documentation.endswith("."), name
    buckets = [
        sample.value
        for sample in families[PREFIX + "stage_seconds"].samples
        if sample.name.endswith("_bucket") and sample.labels["stage"] == "jitter"
    ]
    assert len(buckets) == len(EDGES_NS) + 1
    assert buckets == sorted(buckets)
    assert buckets[-1] == 49


def test_a_port_in_use_is_named_and_a_closed_one_is_free_again():
    metrics = Metrics(PERIOD, EDGES_NS, fold=None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BridgeError, match=rf"metrics at 127\.0\.0\.1:{port}: .*in use"):
            Exporter(metrics, port, bundle="tiny", digest="")
    first = Exporter(metrics, 0, bundle="tiny", digest="")
    first.close()
    second = Exporter(metrics, first.port, bundle="tiny", digest="")
    assert scrape(second.port)
    second.close()


def idle(stack, exporter):
    return stack.enter_context(socket.create_connection(("127.0.0.1", exporter.port), 30))


def answering():
    return sum("process_request" in thread.name for thread in threading.enumerate())


def test_idle_connections_stay_few_and_do_not_stay(served, monkeypatch):
    _, exporter = served
    before = answering()
    with ExitStack() as stack:
        first = [idle(stack, exporter) for _ in range(prometheus.CONNECTIONS)]
        for _ in range(20):
            # Closed at once, while the first have all the time there is.
            assert idle(stack, exporter).recv(1) == b""
        assert answering() - before == prometheus.CONNECTIONS
        monkeypatch.setattr(prometheus, "PATIENCE", 0.1)
        for one in first:
            assert one.recv(1) == b""
        # They are still open at their own ends, and block no other client.
        wait_for(lambda: answering() == before)
        assert value(scrape(exporter.port), "robots") == 0


@pytest.mark.parametrize("word", [b"G", b"GET / HTTP/1.0\r\nx: "])
def test_who_says_a_word_now_and_then_has_no_longer(served, monkeypatch, capfd, word):
    _, exporter = served
    monkeypatch.setattr(prometheus, "PATIENCE", 1.0)
    with ExitStack() as stack:
        slow = idle(stack, exporter)
        slow.sendall(word)
        slow.settimeout(0.1)
        deadline, open_ = time.monotonic() + 30, True
        while open_:
            assert time.monotonic() < deadline
            try:
                slow.sendall(b"x")
                open_ = bool(slow.recv(4096))
            except TimeoutError:
                continue
            except ConnectionError:
                open_ = False
    # Nor does it fill the log.
    assert capfd.readouterr().err == ""


def test_who_hangs_up_in_the_midst_of_a_word_fills_no_log(served, capfd):
    _, exporter = served
    before = answering()
    with socket.create_connection(("127.0.0.1", exporter.port)) as rude:
        rude.sendall(b"G")
        wait_for(lambda: answering() > before)
        # No goodbye: the bridge's next read fails.
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_for(lambda: answering() == before)
    assert capfd.readouterr().err == ""


def test_it_listens_on_the_loopback_alone(served):
    _, exporter = served
    assert exporter._server.server_address[0] == "127.0.0.1"

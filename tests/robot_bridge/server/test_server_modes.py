"""How the bridge's process runs: loop modes, cores, priority, systemd, metrics, lines in a log."""

import os
import re
import signal
import socket
import time
import urllib.request

import pytest

from robot_bridge.protocol.messages import Mode
from tests.support.bridge.local_bridge import GOOD, client, finish, first_line, start
from tests.support.bridge.unpaced import CALM

DEADLINE = 30.0


@pytest.fixture(scope="module")
def bundle(tiny_folder):
    return tiny_folder


@pytest.fixture
def endpoint(tmp_path):
    tmp_path.chmod(0o700)
    return f"ipc://{tmp_path}/b"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(found, what):
    deadline = time.monotonic() + DEADLINE
    while not (value := found()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return value


def threads(pid):
    """Name and cores of every thread."""
    found = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/comm") as stream:
            name = stream.read().strip()
        found.setdefault((int(task) == pid, name), set()).update(os.sched_getaffinity(int(task)))
    return found


def test_a_loop_that_spins_answers_and_keeps_its_core_to_itself(bundle, endpoint):
    cores = os.sched_getaffinity(0)
    core = max(cores)
    process = start(bundle, endpoint, "loop=polling", f"core={core}", *CALM)
    try:
        assert "loop=polling" in first_line(process)
        with client(bundle, endpoint, simulated_time=False, patience=10.0) as robot:
            modes = [robot.exchange(GOOD, first=index == 0).mode for index in range(20)]
            assert modes[-1] is Mode.TRACK
            found = threads(process.pid)
        for (loops, name), allowed in found.items():
            if loops:
                assert allowed == {core}, name
            elif len(cores) > 1:
                assert core not in allowed, name
        # Long after the last frame it sleeps: less than half of its core, under any load.
        time.sleep(0.5)
        before = os.times()
        ticks = cpu_ticks(process.pid)
        time.sleep(1.0)
        spent = (cpu_ticks(process.pid) - ticks) / os.sysconf("SC_CLK_TCK")
        assert spent < 0.5 * (os.times().elapsed - before.elapsed)
    finally:
        code, said = finish(process)
    assert code == 0, said


def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat") as stream:
        fields = stream.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("core=4095", "core=4095: this process may run on "),
        ("priority=100", "priority"),
        ("loop=hurried", "loop"),
        ("metrics=70000", "metrics"),
    ],
)
def test_a_setting_that_cannot_be_had_is_named(bundle, endpoint, tmp_path, setting, words):
    process = start(bundle, endpoint, setting)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert words in said
    assert "Traceback" not in said
    assert not (tmp_path / "b").exists()


def test_systemd_hears_of_start_life_and_end(bundle, endpoint, tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(DEADLINE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        process = start(bundle, endpoint)
        try:
            assert systemd.recv(4096).startswith(b"READY=1\nSTATUS=tiny at ipc://")
            assert systemd.recv(4096) == b"WATCHDOG=1"
            assert systemd.recv(4096) == b"WATCHDOG=1"
            process.send_signal(signal.SIGTERM)
            while (word := systemd.recv(4096)) == b"WATCHDOG=1":
                pass
            assert word == b"STOPPING=1\nSTATUS=SIGTERM"
        finally:
            code, _ = finish(process)
        assert code == 0


def test_metrics_of_a_running_bridge(bundle, endpoint):
    port = free_port()
    process = start(bundle, endpoint, f"metrics={port}")

    def scraped():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            return answer.read().decode()

    try:
        first_line(process)
        with client(bundle, endpoint, patience=10.0) as robot:
            robot.exchange(GOOD, first=True)
            robot.exchange(GOOD)

            def complete():
                robot.exchange(GOOD)
                text = scraped()
                return text if "clock_offset_seconds{" in text else ""

            text = until(complete, "no heartbeat has brought the clock's offset")
            assert 'acclimate_bridge_robot_connected{robot="arm"} 1.0' in text
            steps = re.search(r'steps_total{mode="track",robot="arm"} (\d+)', text)
            assert steps and int(steps[1]) >= 2
            assert re.search(r'stage_seconds_count{stage="adapt"} [1-9]', text)
        until(lambda: 'robot_connected{robot="arm"} 0.0' in scraped(), "still connected")
    finally:
        finish(process)


def test_every_event_is_one_line_of_key_and_value(bundle, endpoint):
    process = start(bundle, endpoint)
    try:
        serving = first_line(process)
        with client(bundle, endpoint, patience=10.0) as robot:
            robot.exchange(GOOD, first=True)
            robot.exchange(GOOD, faults=1)
    finally:
        _, said = finish(process)
    assert re.match(r"bridge: serving bundle=tiny digest=\w{12} period_s=0\.05 ", serving)
    assert "bridge: connected robot=arm\n" in said
    assert re.search(r'^bridge: robot_fault robot=arm text="the robot reports ', said, re.M)
    assert re.search(r"^bridge: closed text=SIGTERM$", said, re.M)
    assert all(line.startswith("bridge: ") for line in said.splitlines())

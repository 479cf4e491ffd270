"""What systemd hears, on a socket of the test's own; and what the unit file promises it."""

import configparser
import os
import shutil
import socket
import subprocess
from importlib.resources import files

import pytest

from robot_bridge.system.systemd import Service


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    """The receiving end of NOTIFY_SOCKET."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(path))
        end.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        monkeypatch.delenv("WATCHDOG_USEC", raising=False)
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        yield end


def test_ready_and_stopping_are_told_on_lines_of_their_own(systemd):
    service = Service()
    service.ready("serving a\nSTOPPING=1 µ → b")
    service.alive()  # without a watchdog
    service.stopping("SIGTERM")
    assert systemd.recv(4096).decode("latin-1") == "READY=1\nSTATUS=serving a STOPPING=1 µ ? b"
    assert systemd.recv(4096) == b"STOPPING=1\nSTATUS=SIGTERM"


def test_signs_of_life_come_at_half_the_watchdogs_time(systemd, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    service = Service()
    for _ in range(35):
        service.alive()
        now[0] += 0.1
    service.stopping("done")
    heard = [systemd.recv(4096) for _ in range(5)]
    assert heard == [b"WATCHDOG=1"] * 4 + [b"STOPPING=1\nSTATUS=done"]


@pytest.mark.parametrize(
    ("variable", "value"), [("WATCHDOG_PID", "1"), ("WATCHDOG_USEC", "soon"), ("X", "")]
)
def test_a_watchdog_for_another_process_is_ignored(systemd, monkeypatch, variable, value):
    if variable == "WATCHDOG_PID":
        monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    monkeypatch.setenv(variable, value)
    service = Service()
    service.alive()
    service.stopping("done")
    assert systemd.recv(4096).startswith(b"STOPPING=1")


def test_without_systemd_nothing_happens(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "1")
    service = Service()
    service.ready("x")
    service.alive()
    service.stopping("x")


def unit_file():
    return files("robot_bridge") / "deploy" / "acclimate-bridge.service"


def test_the_unit_asks_for_what_the_daemon_does():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment]
    unit.read_string(unit_file().read_text(encoding="utf-8"))
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert float(service["WatchdogSec"].removesuffix("s")) > 1
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    words = service["ExecStart"].split()
    assert words[1] == "bridge"
    settings = dict(word.split("=", 1) for word in words[2:])
    # The daemon's own thread takes the priority, so that its workers do not.
    assert int(settings["priority"]) <= int(service["LimitRTPRIO"])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_systemd_takes_the_unit(tmp_path):
    text = unit_file().read_text(encoding="utf-8")
    # verify wants the program to be there, and a user that this machine need not have.
    text = text.replace("/opt/acclimate/bin/acclimate", "/bin/true")
    target = tmp_path / "acclimate-bridge.service"
    target.write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(target)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stderr
    assert str(target) not in answer.stderr, answer.stderr

"""Connections are bounded below the limit of open files; robots that are connected stay served."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import zmq

from robot_bridge.cli import doctor
from robot_bridge.errors import EndpointError
from robot_bridge.protocol.messages import Mode
from robot_bridge.system import host_info
from robot_bridge.transport import connection_limiter as limiter
from robot_bridge.transport.curve_keys import read_certificate
from robot_bridge.transport.server_socket import ServerSocket
from tests.support import tiny_bundle
from tests.support.bridge import bridge_keys
from tests.support.bridge.bridge_process import PATIENCE, Bridge, robot

ROOT = Path(__file__).resolve().parents[3]
FILES = 400  # of the bridge, soft and hard; the bursts are several times as many


BURST = """
import sys, zmq
from robot_bridge.protocol.codec import encode_message
from robot_bridge.protocol.messages import Hello

endpoint, count, *keys = sys.argv[1:]
context = zmq.Context()
context.set(zmq.MAX_SOCKETS, int(count) + 10)
held = []
for number in range(int(count)):
    peer = context.socket(zmq.DEALER)
    peer.set(zmq.LINGER, 0)
    if keys:
        names = zmq.CURVE_SERVERKEY, zmq.CURVE_PUBLICKEY, zmq.CURVE_SECRETKEY
        for option, key in zip(names, keys, strict=True):
            peer.set(option, key.encode())
    peer.connect(endpoint)
    peer.send(encode_message(Hello("operator", f"operator {number}")))
    held.append(peer)
print("all", flush=True)
import time; time.sleep(600)
"""


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_a_burst_of_peers_that_never_leave_costs_no_connected_robot_its_answers(
    transport, tmp_path
):
    bundle = tiny_bundle.write(tmp_path / "tiny")
    endpoint, keys, words = f"ipc://{tmp_path}/b", None, []
    if transport == "tcp":
        keys = bridge_keys.make(tmp_path / "keys", robots=("arm", "leg"))
        endpoint = f"tcp://127.0.0.1:{bridge_keys.free_port()}"
        held = read_certificate(keys, "operator", "operator")
        words = [held.server, held.public, held.secret]
    numbers = np.zeros(6, np.float32)
    bridge = Bridge(bundle, endpoint, *([f"keys={keys}"] if keys else []), files=FILES)
    try:
        bridge.wait_line("connections=")
        with robot(bundle, endpoint, keys) as arm:
            assert arm.exchange(numbers, first=True).mode is Mode.TRACK
            command = [sys.executable, "-c", BURST, endpoint, str(3 * FILES), *words]
            burst = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
            try:
                assert burst.stdout is not None
                assert burst.stdout.readline() == "all\n"
                for _ in range(300):
                    assert arm.exchange(numbers).mode is Mode.TRACK
                bridge.wait_line("peer_refused")
            finally:
                burst.kill()
                burst.communicate()
            # There is room again.
            with robot(bundle, endpoint, keys, name="leg") as leg:
                assert leg.exchange(numbers, first=True).mode is Mode.TRACK
            assert arm.exchange(numbers).mode is Mode.TRACK
    finally:
        assert bridge.end() == 0


def test_no_more_connections_than_the_bound_and_later_as_many_again(tmp_path, monkeypatch):
    monkeypatch.setattr(limiter, "CONNECTIONS", 8)
    monkeypatch.setattr(limiter, "LEAST", 1)
    server = ServerSocket(f"ipc://{tmp_path}/b")
    context = zmq.Context()

    def speak(count):
        made = [context.socket(zmq.DEALER) for _ in range(count)]
        for peer in made:
            peer.set(zmq.LINGER, 0)
            peer.connect(server.endpoint)
            peer.send(b"hello")
        return made

    def alive():
        found = [peer.connection for peer in server._peers.values()]
        return sum(connection is not None and connection.alive() for connection in found)

    def wait(condition):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline
            list(server.receive(20))

    try:
        first = speak(8)
        wait(lambda: alive() == 8)
        held = [peer.connection for peer in server._peers.values()]
        more = speak(30)
        wait(lambda: any("8 connections are open" in text for _, text in server.news()))
        wait(lambda: alive() <= 8)
        assert all(connection is not None and connection.alive() for connection in held)
        assert not (tmp_path / "b").exists()
        for peer in first:
            peer.close()
        wait(lambda: sum(peer.frames > 0 for peer in server._peers.values()) > 8)
        for peer in more:
            peer.close()
        wait((tmp_path / "b").exists)
    finally:
        context.destroy(0)
        server.close()
    assert list(tmp_path.iterdir()) == []


def test_a_limit_that_is_too_low_is_told_before_anything_is_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(host_info, "raise_open_files", lambda: (10, 64))
    with pytest.raises(EndpointError, match=r"may have 64, and has 10; .* at least 266"):
        ServerSocket(f"ipc://{tmp_path}/b")
    assert list(tmp_path.iterdir()) == []
    findings = {each.name: each for each in doctor.examine()}
    assert findings["open files"].state == "problem"
    monkeypatch.setattr(host_info, "raise_open_files", lambda: (10, 400))
    finding = next(each for each in doctor.examine() if each.name == "open files")
    assert (finding.state, finding.found) == ("advice", "400; a bridge takes 108 connections")

"""A peer that disconnects leaves no objects behind in the bridge."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
from collections import Counter

import numpy as np
import pytest
import zmq

from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.client.robot_client import RobotClient
from robot_bridge.server.server import BridgeSettings, Daemon
from robot_bridge.transport import server_socket as module
from robot_bridge.transport.connection import Connection
from robot_bridge.transport.server_socket import ServerSocket
from tests.support import tiny_bundle

ROUNDS = 60
GUESTS = 10
ROBOT = "robot_bridge.session.robot_session.Robot"
OURS = ("adapt", "robot_bridge")


def ours() -> Counter[str]:
    """How many objects there are of each class of ours."""
    gc.collect()
    kinds = (type(each) for each in gc.get_objects())
    return Counter(f"{k.__module__}.{k.__name__}" for k in kinds if k.__module__.startswith(OURS))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", GUESTS)


def test_conversations_leave_no_object_behind(few, tmp_path) -> None:
    bundle = PolicyBundle.load(tiny_bundle.write(tmp_path / "tiny"))
    settings = BridgeSettings(tmp_path, f"ipc://{tmp_path}/b")
    daemon = Daemon(bundle, settings, log=lambda event, text="", **fields: None)
    done = threading.Event()
    serving = threading.Thread(target=daemon.run, args=(done.is_set,))
    serving.start()
    manifest = bundle.manifest
    fields = manifest.observation, manifest.action, manifest.control_period

    def converse(rounds: int) -> None:
        for number in range(rounds):
            name = f"arm{number % 3}"
            with RobotClient(daemon.endpoint, name, *fields, simulated_time=True) as arm:
                arm.exchange(np.zeros(6, np.float32), first=True)
        deadline = time.monotonic() + 30
        while daemon._dispatcher.robots():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    try:
        # More than are remembered, of guests and of events.
        converse(ROUNDS)
        before = ours()
        converse(ROUNDS)
        # The loop lets go of the last robot when it comes to rest.
        deadline = time.monotonic() + 10
        while (after := ours())[ROBOT] > before[ROBOT] and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        done.set()
        serving.join(30)
        daemon.close("done")
    grown = after - before
    # These rise and fall, up to their bounds: the loop and the monitor remember peers apart.
    for kind in (
        "robot_bridge.transport.connection.PeerConnection",
        "robot_bridge.transport.connection.Connection",
        "robot_bridge.session.event_throttle._Allowance",
    ):
        assert after[kind] <= 4 * GUESTS
        del grown[kind]
    assert grown.total() == 0, grown


def test_guests_that_are_gone_are_forgotten_though_one_process_made_them_all(few, tmp_path) -> None:
    """Over ipc the ends of all its connections, and often their descriptors, are the same."""
    tmp_path.chmod(0o700)
    router = ServerSocket(f"ipc://{tmp_path}/b")
    context = zmq.Context()

    def visit() -> zmq.Socket:
        visitor = context.socket(zmq.DEALER)
        visitor.connect(router.endpoint)
        visitor.send(b"a word")
        deadline = time.monotonic() + 30
        while not list(router.receive(50)):
            assert time.monotonic() < deadline
        return visitor

    try:
        stays = visit()
        (first,) = router._peers
        for _ in range(5 * GUESTS):
            visit().close(0)
            # More than one may be on its way out: libzmq's thread closes when it gets to it.
            assert len(router._peers) <= 3 * GUESTS
        assert first in router._peers
        # Where many stay, all of them are remembered.
        stay = [visit() for _ in range(3 * GUESTS)]
        assert len(router._peers) >= 3 * GUESTS
        for visitor in [stays, *stay]:
            visitor.close(0)
    finally:
        context.destroy(0)
        router.close()


def test_a_connection_is_not_taken_for_a_later_one_with_its_descriptor(tmp_path) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "s"))
    server.listen()

    def accept() -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(tmp_path / "s"))
        made, _ = server.accept()
        clients.append(client)
        return made

    clients: list[socket.socket] = []
    one = accept()
    connection = Connection.of(one.fileno())
    assert connection is not None
    assert connection.alive()
    other = accept()
    os.dup2(other.fileno(), one.fileno())
    assert not connection.alive()
    connection.shut()
    clients[1].send(b"still open")
    assert other.recv(10) == b"still open"
    for each in (one, other, server, *clients):
        each.close()

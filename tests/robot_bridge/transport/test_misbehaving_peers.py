"""Strangers, garbage and oversized messages over tcp: each is bounded, and costs no other peer."""

import socket
import time

import pytest
import zmq

from robot_bridge.protocol.codec import FRAME_BYTES
from robot_bridge.transport import connection_limiter as limiter
from robot_bridge.transport import connection_monitor as monitors
from robot_bridge.transport.connection import Connection
from robot_bridge.transport.server_socket import GARBAGE
from tests.support.bridge.curve_peers import (
    PATIENCE,
    peer,
    receive,
    robot,
    wait,
    wait_for,
    wait_news,
)


def closed(connection):
    """Whether the bridge has closed its end."""
    connection.setblocking(False)
    try:
        while connection.recv(4096):
            pass
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    return True


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\n\r\n", bytes(500)])
def test_a_connection_that_closes_before_its_handshake_is_reported(router, data):
    port = int(router.endpoint.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(data)
    assert "refused since the start" in wait_news(router, "peer_refused")


def test_the_time_for_a_handshake_is_short(router):
    # libzmq's own default is 30 s.
    assert router._socket.get(zmq.HANDSHAKE_IVL) == limiter.HANDSHAKE_MS


def test_connections_without_a_handshake_are_bounded_and_keep_no_known_peer_out(router, keys):
    host, port = "127.0.0.1", int(router.endpoint.rpartition(":")[2])
    strangers = [socket.create_connection((host, port)) for _ in range(150)]
    try:
        # Some say nothing, some talk nonsense, some begin to shake hands.
        for number, stranger in enumerate(strangers):
            stranger.sendall(
                (b"", b"GET / HTTP/1.1\r\n\r\n", b"\xff" + bytes(8) + b"\x7f\x03")[number % 3]
            )
        with peer(router.endpoint, robot(keys)) as arm:
            arm.send(b"hello")
            address, _ = receive(router)
            few = 150 - limiter.STRANGERS - 1
            wait(router, lambda: sum(map(closed, strangers)) >= few)
            # In the end all of them: no handshake may take so long.
            wait(router, lambda: all(map(closed, strangers)))
            assert router.send(address, b"still there?")
    finally:
        for stranger in strangers:
            stranger.close()
    texts = [text for name, text in router.news() if name == "peer_refused"]
    assert any("connections without a frame; the oldest are closed" in text for text in texts)


def test_the_same_refusal_again_and_again_is_counted_and_told_once(router):
    monitor = router._monitor
    for _ in range(1000):
        monitor.refuse("the same")
    for number in range(1000):
        monitor.refuse(f"another {number}")
    texts = [text for event, text in router.news() if event == "peer_refused"]
    assert monitor.refused >= 2000
    assert len(texts) <= monitors.TOLD
    assert sum("the same" in text for text in texts) == 1


def test_garbage_is_forgiven_slowly_and_then_not_at_all(router, keys):
    certificate = robot(keys)
    with (
        peer(router.endpoint, certificate) as arm,
        peer(router.endpoint, robot(keys, "leg")) as leg,
    ):
        arm.send(b"hello")
        address, _ = receive(router)
        leg.send(b"hello")
        other, _ = receive(router)
        reasons = [router.garbage(address) for _ in range(GARBAGE + 3)]
        assert reasons[0] == ""
        assert "frames in a row could not be read" in reasons[-1]
        router.shut(address)
        arm.send(b"and more")
        # Cut off, and its key is out for a while.
        assert "sent garbage less than" in wait_news(router, "peer_refused")
        assert not router.send(address, b"still there?")
        leg.send(b"and I?")
        assert receive(router) == (other, b"and I?")


def test_what_was_said_last_leaves_before_the_connection_is_cut(router, keys):
    with peer(router.endpoint, robot(keys)) as arm:
        arm.send(b"hello")
        address, _ = receive(router)
        router.send(address, b"go away")
        router.shut(address)
        wait(router, lambda: not router.send(address, b""))
        assert arm.recv() == b"go away"


def test_a_peer_cannot_send_under_the_address_of_another(router, keys):
    with peer(router.endpoint, robot(keys), routing_id=b"chosen") as arm:
        arm.send(b"hello")
        assert receive(router) == (b"chosen", b"hello")
    wait(router, lambda: not router.send(b"chosen", b""))
    with (
        peer(router.endpoint, robot(keys, "leg"), routing_id=b"chosen") as leg,
        peer(router.endpoint, robot(keys)) as arm,
    ):
        leg.send(b"I am arm")
        deadline = time.monotonic() + PATIENCE
        while not router.send(b"chosen", b""):
            assert time.monotonic() < deadline
            assert list(router.receive(20)) == []
        arm.send(b"I am arm")
        # By now what leg said has come, too, and is not passed on.
        address, data = receive(router)
        assert (address != b"chosen", data) == (True, b"I am arm")
        assert list(router.receive(500)) == []


def test_too_large_a_frame_costs_its_sender_the_connection_and_no_other_peer(router, keys):
    with (
        peer(router.endpoint, robot(keys)) as arm,
        peer(router.endpoint, robot(keys, "leg")) as leg,
    ):
        leg.send(b"hello")
        other, _ = receive(router)
        arm.send(bytes(FRAME_BYTES))
        assert len(receive(router)[1]) == FRAME_BYTES
        arm.send(bytes(FRAME_BYTES + 1))
        # What was under way when the connection broke may be lost; a later word is not.
        assert max(map(len, wait_for(router, arm, b"small"))) < FRAME_BYTES
        leg.send(b"and I?")
        wait(router, lambda: not [data for _, data in router.receive(20)])
        assert router.send(other, b"still there?")


def test_a_message_of_many_parts_is_its_senders_last(router, keys):
    with peer(router.endpoint, robot(keys)) as arm:
        arm.send_multipart([b"he", b"llo"])
        address, data = receive(router)
        # Not what the parts would make together: no client sends any.
        assert data == b""
        assert "several parts" in router.garbage(address)


def test_a_message_that_does_not_end_is_cut_off(router, keys, monkeypatch):
    # libzmq sends no part of a message before it has all parts. The test therefore sends a long
    # message, and the limiter looks often.
    monkeypatch.setattr(limiter, "MESSAGE_BYTES", 1_000_000)
    monkeypatch.setattr(limiter, "MEASURED", 0.0)
    monkeypatch.setattr(monitors, "GLANCE_MS", 1)
    with (
        peer(router.endpoint, robot(keys)) as arm,
        peer(router.endpoint, robot(keys, "leg")) as leg,
    ):
        leg.send(b"hello")
        other, _ = receive(router)
        deadline = time.monotonic() + PATIENCE
        while not any("does not end" in text for _, text in router.news()):
            assert time.monotonic() < deadline
            arm.send_multipart([bytes(FRAME_BYTES // 2)] * 1000)
            list(router.receive(500))
        assert router.send(other, b"still there?")


def test_what_the_kernel_took_in_is_what_was_sent():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        with socket.create_connection(listening.getsockname()) as sender:
            accepted, _ = listening.accept()
            with accepted:
                connection = Connection.of(accepted.fileno())
                assert connection is not None
                assert connection.host == "127.0.0.1"
                sender.sendall(bytes(12345))
                deadline = time.monotonic() + PATIENCE
                while connection.received() != 12345:
                    assert time.monotonic() < deadline
                connection.shut()
                assert sender.recv(1) == b""
            assert not connection.alive()
            assert connection.received() is None
            # The descriptor may belong to another connection by now, or to none: it is left alone.
            connection.shut()

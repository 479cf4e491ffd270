"""Who gets in over tcp, who does not, and that neither costs the others anything."""

import socket
import time
from contextlib import contextmanager

import pytest
import zmq

from robot_bridge.errors import BridgeLost, HandshakeError
from robot_bridge.protocol.codec import FRAME_BYTES
from robot_bridge.protocol.messages import Hello
from robot_bridge.transport import connection_limiter as limiter
from robot_bridge.transport import connection_monitor as monitors
from robot_bridge.transport import zap_authenticator as doors
from robot_bridge.transport.client_socket import ClientSocket
from robot_bridge.transport.connection import Connection
from robot_bridge.transport.curve_keys import fingerprint, read_certificate
from robot_bridge.transport.key_store import KeyFolder
from robot_bridge.transport.server_socket import GARBAGE, ServerSocket
from tests.support.bridge import bridge_keys

# Long enough for any machine; nothing here waits so long unless something is wrong [s].
PATIENCE = 30.0


@pytest.fixture
def keys(tmp_path):
    return bridge_keys.make(tmp_path / "keys", robots=("arm", "leg"))


@pytest.fixture
def router(keys):
    made = ServerSocket(f"tcp://127.0.0.1:{bridge_keys.free_port()}", keys)
    yield made
    made.close()


@contextmanager
def peer(endpoint, certificate=None, routing_id=b""):
    """A socket without a client around it; without a certificate it speaks no CURVE."""
    context = zmq.Context()
    made = context.socket(zmq.DEALER)
    made.set(zmq.LINGER, 0)
    if routing_id:
        made.set(zmq.ROUTING_ID, routing_id)
    if certificate is not None:
        made.set(zmq.CURVE_SERVERKEY, certificate.server.encode())
        made.set(zmq.CURVE_PUBLICKEY, certificate.public.encode())
        made.set(zmq.CURVE_SECRETKEY, certificate.secret.encode())
    made.connect(endpoint)
    try:
        yield made
    finally:
        made.close()
        context.term()


def robot(keys, name="arm"):
    return read_certificate(keys, "robot", name)


def receive(router):
    """The next frame, within PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for address, data in router.receive(20):
            return address, data
    raise AssertionError("nothing came")


def wait(router, condition):
    """Serve until condition() is true, and return it; whatever comes is answered."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for address, data in router.receive(20):
            router.send(address, data)
        if found := condition():
            return found
    raise AssertionError("it did not happen")


def wait_for(router, sender, word):
    """Say a word until it arrives; all that came until then."""
    deadline, heard = time.monotonic() + PATIENCE, []
    while time.monotonic() < deadline:
        sender.send(word)
        heard += [data for _, data in router.receive(50)]
        if word in heard:
            return heard
    raise AssertionError(f"{word!r} did not arrive")


def wait_news(router, name):
    def look():
        return next((text for event, text in router.news() if event == name), "")

    return wait(router, look)


def test_a_known_key_gets_in_and_is_who_it_was_made_for(router, keys):
    with peer(router.endpoint, robot(keys)) as arm:
        arm.send(b"hello")
        address, data = receive(router)
        assert data == b"hello"
        assert router.send(address, b"welcome")
        assert arm.poll(int(PATIENCE * 1000))
        assert arm.recv() == b"welcome"
        assert router.misuse(address, "robot", "arm") == ""
        assert "made for robot 'arm' (key " in router.misuse(address, "robot", "leg")
        assert "came as operator 'arm'" in router.misuse(address, "operator", "arm")
        assert router.void(address) == ""


def test_an_operators_key_is_for_operators_of_any_name(router, keys):
    with peer(router.endpoint, read_certificate(keys, "operator", "operator")) as somebody:
        somebody.send(b"hello")
        address, _ = receive(router)
        assert router.misuse(address, "operator", "trial") == ""
        assert "made for operator" in router.misuse(address, "robot", "operator")


def test_an_unknown_key_is_refused_and_told_so_at_once(router, keys, tmp_path):
    stranger = bridge_keys.make(tmp_path / "stranger")
    # It knows the bridge, and the bridge does not know it.
    path = stranger / "certificates/arm.key"
    own = robot(stranger)
    path.write_text(path.read_text().replace(own.server, robot(keys).server))
    link = ClientSocket(router.endpoint, "robot", "arm", stranger)
    with pytest.raises(HandshakeError, match="is unknown there or revoked"):
        link.introduce(Hello("robot", "arm"), PATIENCE)
    text = wait_news(router, "peer_refused")
    assert f"key {fingerprint(own.public)} from 127.0.0.1: unknown or revoked" in text


def test_a_peer_that_expects_another_bridge_learns_nothing(router, keys, tmp_path):
    other = bridge_keys.make(tmp_path / "other")
    link = ClientSocket(router.endpoint, "robot", "arm", other)
    with pytest.raises(BridgeLost, match="something listens there and does not answer key"):
        link.introduce(Hello("robot", "arm"), 1.0)
    assert "for another bridge's key" in wait_news(router, "peer_refused")


def test_nobody_gets_in_without_curve(router):
    with peer(router.endpoint) as plain:
        plain.send(b"hello")
        assert "without CURVE" in wait_news(router, "peer_refused")
        assert list(router.receive(0)) == []


def test_a_key_made_later_gets_in_without_a_restart(router, keys):
    KeyFolder(keys).make_client("robot", "new")
    with peer(router.endpoint, robot(keys, "new")) as new:
        new.send(b"hello")
        address, _ = receive(router)
        assert router.misuse(address, "robot", "new") == ""


def test_a_revoked_key_is_void_while_connected_and_does_not_come_back(router, keys):
    certificate = robot(keys)
    with (
        peer(router.endpoint, certificate) as arm,
        peer(router.endpoint, robot(keys, "leg")) as leg,
    ):
        arm.send(b"hello")
        address, _ = receive(router)
        leg.send(b"hello")
        other, _ = receive(router)
        KeyFolder(keys).revoke("arm")
        assert "robot 'arm'" in wait_news(router, "key_revoked")
        assert router.void(address) == "its key was revoked"
        assert router.misuse(address, "robot", "arm") == "its key was revoked"
        assert router.void(other) == ""
        router.shut(address)
        # libzmq connects anew by itself, and the key no longer opens.
        assert fingerprint(certificate.public) in wait_news(router, "peer_refused")
        assert not router.send(address, b"still there?")
        assert router.send(other, b"still there?")


def test_a_damaged_record_is_told_and_harms_no_other(router, keys):
    (keys / "clients/leg.toml").write_text("nonsense")
    (keys / "clients/leg.toml").rename(keys / "clients/foot.toml")
    assert "foot.toml" in wait_news(router, "key_unreadable")
    with peer(router.endpoint, robot(keys)) as arm:
        arm.send(b"hello")
        receive(router)


def test_keys_that_cannot_be_read_change_nothing_until_they_can(router, keys, monkeypatch):
    read = doors.read_clients

    def fail(folder):
        raise RuntimeError("no keys today")

    monkeypatch.setattr(doors, "read_clients", fail)
    KeyFolder(keys).make_client("robot", "new")
    text = wait_news(router, "door_failed")
    assert str(keys) in text
    assert "no keys today" in text
    with peer(router.endpoint, robot(keys)) as arm:
        arm.send(b"hello")
        address, _ = receive(router)
        assert router.void(address) == ""
        time.sleep(3 * doors.RETRY)
        # Told once, however often it is tried.
        assert router.news() == []
        monkeypatch.setattr(doors, "read_clients", read)
        KeyFolder(keys).revoke("arm")
        assert "robot 'arm'" in wait_news(router, "key_revoked")
        assert router.void(address) == "its key was revoked"
    with peer(router.endpoint, robot(keys, "new")) as new:
        new.send(b"hello")
        receive(router)


def test_a_bridge_starts_beside_keys_that_cannot_be_read(keys, monkeypatch):
    read = doors.read_clients
    monkeypatch.setattr(doors, "read_clients", lambda folder: 1 / 0)
    made = ServerSocket(f"tcp://127.0.0.1:{bridge_keys.free_port()}", keys)
    try:
        assert "ZeroDivisionError" in wait_news(made, "door_failed")
        monkeypatch.setattr(doors, "read_clients", read)
        wait(made, lambda: made._authenticator and made._authenticator.known)
        with peer(made.endpoint, robot(keys)) as arm:
            arm.send(b"hello")
            receive(made)
    finally:
        made.close()


def test_when_the_door_fails_nobody_gets_in(keys, monkeypatch):
    def fail(door, parts):
        raise RuntimeError("no judgement")

    monkeypatch.setattr(doors.ZapAuthenticator, "_judge", fail)
    monkeypatch.setattr("threading.excepthook", lambda arguments: None)
    made = ServerSocket(f"tcp://127.0.0.1:{bridge_keys.free_port()}", keys)
    try:
        with peer(made.endpoint, robot(keys)) as arm, peer(made.endpoint, robot(keys)) as again:
            arm.send(b"hello")
            assert "no more peers can connect" in wait_news(made, "door_failed")
            again.send(b"hello")
            assert list(made.receive(500)) == []
    finally:
        made.close()


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
def test_whoever_knocks_and_leaves_is_told_of(router, data):
    port = int(router.endpoint.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(data)
    assert "refused since the start" in wait_news(router, "peer_refused")


def test_nobody_has_long_to_shake_hands(router):
    # libzmq's own default is 30 s.
    assert router._socket.get(zmq.HANDSHAKE_IVL) == limiter.HANDSHAKE_MS


def test_strangers_stay_few_and_keep_nobody_out(router, keys):
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
            # In the end all of them: nobody takes so long to shake hands.
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


def test_nobody_speaks_under_anothers_address(router, keys):
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


def test_too_large_a_frame_costs_its_sender_the_connection_and_nobody_else(router, keys):
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
    # A libzmq of our own sends no part of a message before it has them all, so here a long one
    # must do, and a door that looks often.
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
            # Of somebody else's by now, or of nobody: left alone.
            connection.shut()

"""Which keys a bridge accepts over tcp, which it refuses, and when it revokes one."""

import time

import pytest

from robot_bridge.errors import BridgeLost, HandshakeError
from robot_bridge.protocol.messages import Hello
from robot_bridge.transport import zap_authenticator as module
from robot_bridge.transport.client_socket import ClientSocket
from robot_bridge.transport.curve_keys import fingerprint, read_certificate
from robot_bridge.transport.key_store import KeyFolder
from robot_bridge.transport.server_socket import ServerSocket
from tests.support.bridge import bridge_keys
from tests.support.bridge.curve_peers import PATIENCE, peer, receive, robot, wait, wait_news


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
    with peer(router.endpoint, read_certificate(keys, "operator", "operator")) as operator:
        operator.send(b"hello")
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


def test_a_peer_without_curve_is_refused(router):
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
    read = module.read_clients

    def fail(folder):
        raise RuntimeError("no keys today")

    monkeypatch.setattr(module, "read_clients", fail)
    KeyFolder(keys).make_client("robot", "new")
    text = wait_news(router, "admission_failed")
    assert str(keys) in text
    assert "no keys today" in text
    with peer(router.endpoint, robot(keys)) as arm:
        arm.send(b"hello")
        address, _ = receive(router)
        assert router.void(address) == ""
        time.sleep(3 * module.RETRY)
        # Told once, however often it is tried.
        assert router.news() == []
        monkeypatch.setattr(module, "read_clients", read)
        KeyFolder(keys).revoke("arm")
        assert "robot 'arm'" in wait_news(router, "key_revoked")
        assert router.void(address) == "its key was revoked"
    with peer(router.endpoint, robot(keys, "new")) as new:
        new.send(b"hello")
        receive(router)


def test_a_bridge_starts_beside_keys_that_cannot_be_read(keys, monkeypatch):
    read = module.read_clients
    monkeypatch.setattr(module, "read_clients", lambda folder: 1 / 0)
    made = ServerSocket(f"tcp://127.0.0.1:{bridge_keys.free_port()}", keys)
    try:
        assert "ZeroDivisionError" in wait_news(made, "admission_failed")
        monkeypatch.setattr(module, "read_clients", read)
        wait(made, lambda: made._authenticator and made._authenticator.known)
        with peer(made.endpoint, robot(keys)) as arm:
            arm.send(b"hello")
            receive(made)
    finally:
        made.close()


def test_when_the_authenticator_fails_no_peer_connects(keys, monkeypatch):
    def fail(authenticator, parts):
        raise RuntimeError("no judgement")

    monkeypatch.setattr(module.ZapAuthenticator, "_judge", fail)
    monkeypatch.setattr("threading.excepthook", lambda arguments: None)
    made = ServerSocket(f"tcp://127.0.0.1:{bridge_keys.free_port()}", keys)
    try:
        with peer(made.endpoint, robot(keys)) as arm, peer(made.endpoint, robot(keys)) as again:
            arm.send(b"hello")
            assert "no more peers can connect" in wait_news(made, "admission_failed")
            again.send(b"hello")
            assert list(made.receive(500)) == []
    finally:
        made.close()

"""Peers that lose their connection: revoked keys, too much garbage; and unsigned bundles."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from adapt.bundle.policy_bundle import sign_bundle
from adapt.bundle.signature import make_signer
from adapt.errors import BundleError
from robot_bridge.errors import HandshakeError
from robot_bridge.protocol.codec import decode, decode_message, encode
from robot_bridge.protocol.messages import Event, Hello, Kind, Mode
from robot_bridge.server import server as daemon
from robot_bridge.transport.key_store import KeyFolder
from robot_bridge.transport.server_socket import GARBAGE
from tests.support.bridge import bridge_keys
from tests.support.bridge.bridge_process import PATIENCE, Bridge, bridge, robot

GOOD = np.zeros(6, np.float32)


@pytest.fixture(scope="module")
def bundle(tiny_folder):
    return tiny_folder


def test_a_revoked_robot_is_stopped_and_stays_out(bundle, tmp_path, link):
    keys = bridge_keys.make(tmp_path / "keys", robots=("arm", "leg"))
    with (
        bridge(bundle, keys) as served,
        robot(bundle, served.endpoint, keys) as arm,
        robot(bundle, served.endpoint, keys, name="leg") as leg,
    ):
        operator = link(served.endpoint, "operator", "operator", keys)
        operator.introduce(Hello("operator", "operator"), PATIENCE)
        # Kept, as a thief would.
        stolen = Path(shutil.copy(keys / "certificates/arm.key", tmp_path / "stolen.key"))
        assert arm.exchange(GOOD, first=True).mode is Mode.TRACK
        assert leg.exchange(GOOD, first=True).mode is Mode.TRACK
        KeyFolder(keys).revoke("arm")
        deadline = time.monotonic() + PATIENCE
        while arm.exchange(GOOD).mode is not Mode.STOP:
            assert time.monotonic() < deadline
        assert "its key was revoked" in arm.state.reason
        names = []
        while "robot_lost" not in names:
            frame = operator.receive(PATIENCE)
            assert frame is not None
            if frame.kind is Kind.EVENT:
                names.append(decode_message(frame, Event).name)
        assert names.index("key_revoked") < names.index("peer_expelled")
        with pytest.raises(HandshakeError, match="is unknown there or revoked"):
            robot(bundle, served.endpoint, stolen).connect(PATIENCE)
        assert leg.exchange(GOOD).mode is Mode.TRACK


def test_a_revoked_operator_hears_nothing_more(bundle, tmp_path, link):
    keys = bridge_keys.make(tmp_path / "keys")
    with bridge(bundle, keys) as served:
        operator = link(served.endpoint, "operator", "operator", keys)
        operator.introduce(Hello("operator", "operator"), PATIENCE)
        KeyFolder(keys).revoke("operator")
        with pytest.raises(HandshakeError, match="its key was revoked"):
            while True:
                operator.receive(PATIENCE)


def test_frames_for_a_bridge_before_this_one_do_not_shut_a_robot_out(bundle, tmp_path, link):
    # What a robot goes on sending while its bridge is started anew.
    keys = bridge_keys.make(tmp_path / "keys")
    with bridge(bundle, keys) as served:
        before = link(served.endpoint, "robot", "arm", keys)
        for _ in range(3 * GARBAGE):
            before.tell(encode(Kind.OBSERVATION, bytes(8 + 24), session=7))
        served.wait_line("of a session that is not known here")
        with robot(bundle, served.endpoint, keys) as arm:
            assert arm.exchange(GOOD, first=True).mode is Mode.TRACK


def test_a_peer_on_an_ipc_socket_that_sends_garbage_is_expelled_too(bundle, tmp_path, link):
    made = Bridge(bundle, f"ipc://{tmp_path}/b")
    try:
        made.wait_line("serving")
        pest = link(made.endpoint, "robot", "arm")
        for _ in range(100):
            pest.tell(b"garbage")
        with pytest.raises(HandshakeError, match="refused: frame of 7 bytes"):
            pest.receive(PATIENCE)
        # Each is answered, and the last answer says why there will be no more.
        refusals = [decode(pest._socket.recv()).payload for _ in range(20)]
        assert any(b"20 frames in a row could not be read" in payload for payload in refusals)
        # libzmq connects again by itself, as a new peer.
        deadline = time.monotonic() + PATIENCE
        while True:
            assert time.monotonic() < deadline
            pest._socket.send(encode(Kind.BYE, session=1))
            if pest._socket.poll(100) and b"session" in decode(pest._socket.recv()).payload:
                break
    finally:
        made.end()


@pytest.mark.parametrize("sign", [None, "lab", "other", "tampered"])
def test_a_bridge_serves_only_bundles_of_its_signers(bundle, tmp_path, sign):
    make_signer(tmp_path, "lab")
    make_signer(tmp_path, "other")
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    if sign is not None:
        sign_bundle(copy, tmp_path / ("other.signer" if sign == "other" else "lab.signer"))
    if sign == "tampered":
        manifest = copy / "manifest.json"
        manifest.write_bytes(manifest.read_bytes() + b"\n")
    signers = f"signers=[{tmp_path}/lab.signer.pub]"
    if sign == "lab":
        made = Bridge(copy, f"ipc://{tmp_path}/b", signers)
        try:
            made.wait_line("serving")
        finally:
            assert made.end() == 0
        return
    refusal = {
        None: "not signed; expected lab",
        "other": "signed by unknown key",
        "tampered": "forged or changed: the signature of 'lab'",
    }[sign]
    with pytest.raises(BundleError, match=refusal):
        daemon.main([f"bundle={copy}", f"endpoint=ipc://{tmp_path}/b", signers])
    assert not (tmp_path / "b").exists()

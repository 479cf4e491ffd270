"""What the fuzzers found worth keeping, and what they start from, replayed without atheris."""

import msgspec
import pytest

from adapt.bundle.policy_bundle import PolicyBundle
from fuzz import corpus, frames, seeds, targets
from robot_bridge.protocol import codec
from robot_bridge.protocol.messages import Kind, Ready


@pytest.fixture(scope="module")
def bundle():
    return PolicyBundle.load(corpus.BUNDLE)


@pytest.fixture(scope="module")
def handshake(bundle):
    return targets.Handshake(bundle)


def test_every_kept_frame_is_refused_or_keeps_its_bounds():
    inputs = corpus.read("decoder")
    accepted = [targets.decoder(data) for data in inputs]
    assert any(accepted) and not all(accepted)


def test_every_kept_conversation_leaves_the_bridge_in_order(handshake):
    inputs = corpus.read("handshake")
    welcomes = [handshake(data) for data in inputs]
    assert any(welcomes) and not all(welcomes)


def test_the_seeds_are_what_they_are_meant_to_be(bundle, handshake):
    # All of them are whole frames, and every conversation but a stranger's begins a session.
    assert all(targets.decoder(data) == 1 for data in seeds.singles(bundle))
    assert all(handshake(data) for data in seeds.conversations(bundle.manifest))


def test_a_frame_becomes_a_piece_and_a_frame_again():
    data = codec.encode_message(Ready({"socket_x": 0.5}))
    ((how, content),) = frames.pieces(frames.piece(data))
    assert frames.frame(how, content) == data
    ((how, content),) = frames.pieces(frames.raw(data))
    assert frames.frame(how, content) == data
    # Another version, and a session that is filled in.
    head = frames.HEAD.pack(0, 0, 0, frames.OWN)
    assert frames.frame(Kind.BYE | 1 << 5, head, session=7)[4] == codec.PROTOCOL + 1
    assert codec.decode(frames.frame(Kind.BYE, head, session=7)).session == 7


def test_the_rules_notice_nonsense(monkeypatch, bundle, handshake):
    # Were the bridge to let such things through, the fuzzers would say so.
    assert not targets.sane(Ready({"x": float("nan")}))
    assert not targets.sane(Ready({"x" * 5000: 0.0}))
    assert targets.sane(Ready({"x": 0.5}))
    hello = msgspec.structs.replace(seeds.robot_hello(bundle.manifest), control_period=9.0)
    conversation = frames.piece(codec.encode_message(hello))
    assert handshake(conversation) == 0
    monkeypatch.setattr("robot_bridge.server.admission.differences", lambda *words: [])
    with pytest.raises(AssertionError):
        handshake(conversation)

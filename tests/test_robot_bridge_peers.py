"""What becomes of each frame, and who is told, without sockets."""

import pytest
import tiny_bundle
from bridge_post import Post

from adapt.bundle import PolicyBundle
from robot_bridge import codec
from robot_bridge.messages import FieldSpec, Kind, Refused, Stop


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return PolicyBundle.load(tiny_bundle.write(tmp_path_factory.mktemp("bundles") / "tiny"))


@pytest.fixture
def post(bundle):
    made = Post(bundle)
    yield made
    made.peers.dismiss("done")


@pytest.mark.parametrize("length", [10, 4096])
def test_an_operators_stop_can_be_read_whatever_its_reason(post, length):
    post.join(b"arm")
    post.join(b"somebody", role="operator")
    post.say(b"somebody", Stop("x" * length))
    (frame,) = post.frames(b"arm", Kind.STOP)
    assert "'somebody': xxx" in codec.decode_message(frame, Stop).reason


def test_a_closing_bridge_stops_every_robot_before_it_waits_for_any(post, monkeypatch):
    post.join(b"arm")
    post.join(b"leg")
    order = []
    monkeypatch.setattr(post, "send", lambda address, data: order.append("stop") or True)
    monkeypatch.setattr(post.peers._roster, "post", post.send)
    for peer in post.peers._roster:
        monkeypatch.setattr(peer.robot._adaptation, "close", lambda: order.append("close"))
    # Long, as the words of an exception can be.
    post.peers.dismiss("fault: " + "x" * 100_000)
    assert order == ["stop", "stop", "close", "close"]


def test_a_refusal_can_be_read_however_much_differs(post):
    many = tuple(FieldSpec(f"{'x' * 120}{number}", (1,), "m") for number in range(256))
    post.join(b"arm", observation=many)
    (frame,) = post.frames(b"arm", Kind.REFUSED)
    reasons = codec.decode_message(frame, Refused).reasons
    assert reasons[0].startswith("observation fields: expected tip_position, wrench; found xxx")
    post.peers._roster.refuse(b"arm", ["\N{SNOWMAN}" * 5000] * 300)
    frame = post.frames(b"arm", Kind.REFUSED)[-1]
    assert codec.decode_message(frame, Refused).reasons[-1] == "and 285 more"

"""What one peer causes to be written is bounded; its last word of each kind still arrives."""

import pytest

from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.protocol.codec import decode_message
from robot_bridge.protocol.messages import STOPPED, Event, Heartbeat, Hello, Kind
from robot_bridge.session.event_throttle import BURST, KINDS, RATE, PeerThrottle
from tests.support import tiny_bundle
from tests.support.bridge.bridge_without_sockets import Post


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def throttle(clock):
    return PeerThrottle(clock)


def test_a_burst_then_a_rate_for_each_peer(throttle, clock):
    assert sum(throttle.admit(b"noisy", "event", k) for k in range(10 * BURST)) == BURST
    assert throttle.admit(b"neighbour", "event", 0)
    seconds, written = 100, 0
    for _ in range(seconds):
        clock.now += 1.0
        throttle.admit(b"noisy", "event", -1)
        written += len(list(throttle.due()))
        written += sum(throttle.admit(b"noisy", "event", k) for k in range(1000))
    assert written <= seconds * RATE


def test_the_latest_of_each_kind_comes_with_a_count(throttle, clock):
    for k in range(BURST + 30):
        throttle.admit(b"noisy", "stop", k)
    throttle.admit(b"noisy", "other", "x")
    assert list(throttle.due()) == []
    clock.now += 1.0
    assert list(throttle.due()) == [(BURST + 29, 30), ("x", 1)]
    assert list(throttle.due()) == []


def test_made_up_kinds_and_peers_that_left_take_no_memory(throttle, clock):
    for k in range(BURST + 10 * KINDS):
        throttle.admit(b"noisy", f"name {k}", k)
    assert len(throttle._allowances[b"noisy"].left_out) <= KINDS + 1
    for k in range(1000):
        throttle.admit(b"%d" % k, "event", k)
    for _ in range(2):
        clock.now += 1e6
        list(throttle.due())
    assert not throttle._allowances


@pytest.fixture
def post(tmp_path):
    made = Post(PolicyBundle.load(tiny_bundle.write(tmp_path / "tiny")))
    made.join(b"arm")
    made.join(b"person", role="operator")
    yield made
    made.peers.dismiss("done")


def events(post, name):
    found = [decode_message(frame, Event) for frame in post.frames(b"person", Kind.EVENT)]
    return [event for event in found if event.name == name]


def test_a_robots_flood_of_events_is_bounded_and_its_latest_stop_number_arrives(post):
    for number in range(1, 5000):
        post.say(b"arm", Event(STOPPED, "arm", "again", number))
        post.say(b"arm", Heartbeat(0, number, True))
    assert len(events(post, STOPPED)) < 2 * BURST
    assert len(post.told) < 2 * BURST
    post.settle(lambda: events(post, STOPPED)[-1].number == 4999)
    assert "left out" in events(post, STOPPED)[-1].text


def test_handshakes_that_are_refused_again_and_again_are_bounded_too(post):
    for number in range(2000):
        post.say(b"stranger %d" % number, Hello("robot", f"robot {number}"))
    assert len(events(post, "peer_refused")) <= BURST
    # The bridge's own events are not among them.
    post.peers.announce("door_failed", "x")
    assert events(post, "door_failed")

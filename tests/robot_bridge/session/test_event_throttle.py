"""What one peer causes to be written is bounded; its last word of each kind still arrives."""

import pytest

from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.protocol.codec import decode_message
from robot_bridge.protocol.messages import BRIDGE_ONLY, STOPPED, Event, Flag, Heartbeat, Hello, Kind
from robot_bridge.session.event_throttle import BURST, KINDS, RATE, PeerThrottle
from robot_bridge.telemetry.observers import Taps
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


def full(throttle, clock):
    """A peer that has been here for a while."""
    throttle.admit(b"noisy", "event", 0)
    clock.now += 2 * BURST / RATE
    return throttle


def test_a_burst_then_a_rate_for_each_peer(throttle, clock):
    full(throttle, clock)
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
    full(throttle, clock)
    for k in range(BURST + 30):
        throttle.admit(b"noisy", "stop", k)
    throttle.admit(b"noisy", "other", "x")
    assert list(throttle.due()) == []
    clock.now += 1.0
    assert list(throttle.due()) == [(BURST + 29, 30), ("x", 1)]
    assert list(throttle.due()) == []


def test_peers_that_come_and_go_write_no_more_than_one(throttle, clock):
    seconds, written = 10, 0
    for second in range(seconds):
        for number in range(100):
            peer = b"%d of %d" % (number, second)
            written += sum(throttle.admit(peer, f"kind {k}", k) for k in range(BURST))
            throttle.leave(peer)
        clock.now += 1.0
        written += len(list(throttle.due()))
    assert written <= BURST + seconds * RATE
    # What they had left to say is still said.
    assert len(throttle._allowances) == 1
    clock.now += BURST / RATE
    assert list(throttle.due())


def test_made_up_kinds_and_peers_that_left_take_no_memory(throttle, clock):
    full(throttle, clock)
    for k in range(BURST + 10 * KINDS):
        throttle.admit(b"noisy", f"name {k}", k)
    assert len(throttle._allowances[b"noisy"].left_out) <= KINDS + 1
    for k in range(1000):
        throttle.admit(b"%d" % k, "event", k)
        throttle.leave(b"%d" % k)
    assert set(throttle._allowances) == {b"noisy", b""}
    assert len(throttle._allowances[b""].left_out) <= KINDS + 1


class Tap:
    """Rows of steps and events, as a recorder sees them."""

    def __init__(self):
        self.rows = []

    def step(self, record):
        self.rows.append("step")

    def event(self, record):
        self.rows.append(record.name)

    def adapted(self, record): ...

    def clock(self, record): ...

    def gap(self): ...

    def close(self): ...


@pytest.fixture
def tap():
    return Tap()


@pytest.fixture
def post(tmp_path, tap):
    made = Post(PolicyBundle.load(tiny_bundle.write(tmp_path / "tiny")), taps=Taps([tap]))
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


def test_a_robot_that_comes_and_goes_floods_no_more(post):
    for number in range(50):
        post.join(b"evil %d" % number, name="evil")
        for _ in range(BURST):
            post.say(b"evil %d" % number, Event("noise", "evil", "x"))
        post.ask(b"evil %d" % number, Kind.BYE)
    assert len(post.told) < 2 * BURST


def test_every_failure_of_a_policy_is_recorded_right_behind_its_step(post, tap, monkeypatch):
    # A replay cannot go on behind one: it must not be late, nor told only now and then.
    for _ in range(2 * BURST):
        post.say(b"arm", Event("noise", "arm", "x"))
    post.observe(b"arm", flags=Flag.FIRST)
    adapter = post.peers.robots()["arm"].robot.policy.adapter
    settle, failing = adapter.settle, [True, True, False, True, False, True]
    for fails in failing:
        monkeypatch.setattr(adapter, "settle", (lambda outputs: {}["x"]) if fails else settle)
        del tap.rows[:]
        post.observe(b"arm")
        assert tap.rows == (["step", "policy_failed"] if fails else ["step"])
    assert "policy_failed" not in post.told
    post.settle(lambda: "policy_failed" in post.told)
    assert tap.rows.count("policy_failed") == 1


@pytest.mark.parametrize("name", BRIDGE_ONLY)
def test_a_robot_cannot_say_what_the_bridge_says(post, tap, name):
    post.say(b"arm", Event(name, "arm", "x"))
    assert name not in tap.rows + post.told
    assert post.frames(b"arm", Kind.REFUSED)


def test_handshakes_that_are_refused_again_and_again_are_bounded_too(post):
    for number in range(2000):
        post.say(b"stranger %d" % number, Hello("robot", f"robot {number}"))
    assert len(events(post, "peer_refused")) <= BURST
    # The bridge's own events are not among them.
    post.peers.announce("admission_failed", "x")
    assert events(post, "admission_failed")

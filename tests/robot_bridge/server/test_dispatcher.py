"""What becomes of each frame, and who is told, without sockets."""

import time

import pytest

from adapt.errors import SnapshotError
from robot_bridge.protocol import codec
from robot_bridge.protocol.messages import (
    RELEASED,
    STOP_GIVEN,
    STOPPED,
    Event,
    FieldSpec,
    Flag,
    Kind,
    Mode,
    Refused,
    Release,
    Stop,
    Welcome,
)
from robot_bridge.server.session_registry import CONNECTED, PRESENCE
from tests.support.bridge.bridge_without_sockets import Post


@pytest.fixture
def post(bundle):
    made = Post(bundle)
    yield made
    made.peers.dismiss("done")


@pytest.mark.parametrize("length", [10, 4096])
def test_an_operators_stop_can_be_read_with_any_reason(post, length):
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
    monkeypatch.setattr(post.peers._registry, "post", post.send)
    for peer in post.peers._registry:
        monkeypatch.setattr(peer.robot.episodes._adaptation, "close", lambda: order.append("close"))
    # Long, as the words of an exception can be.
    post.peers.dismiss("fault: " + "x" * 100_000)
    assert order == ["stop", "stop", "close", "close"]


def test_a_refusal_can_be_read_however_much_differs(post):
    many = tuple(FieldSpec(f"{'x' * 120}{number}", (1,), "m") for number in range(256))
    post.join(b"arm", observation=many)
    (frame,) = post.frames(b"arm", Kind.REFUSED)
    reasons = codec.decode_message(frame, Refused).reasons
    assert reasons[0].startswith("observation fields: expected tip_position, wrench; found xxx")
    post.peers._registry.refuse(b"arm", ["\N{SNOWMAN}" * 5000] * 300)
    frame = post.frames(b"arm", Kind.REFUSED)[-1]
    assert codec.decode_message(frame, Refused).reasons[-1] == "and 285 more"


def lost(post, address):
    """Its connection breaks, and the bridge finds out."""
    send = post.peers._registry.post
    post.peers._registry.post = lambda to, data: to != address and send(to, data)
    post.peers._admission.check(post.peers._registry.get(address))
    post.peers._registry.post = send


def begun(post, address):
    """How the bridge answers the first observation of an episode."""
    command = post.observe(address, flags=Flag.FIRST)
    assert command is not None
    return command.mode


def welcomed(post, address):
    return codec.decode_message(post.frames(address, Kind.WELCOME)[-1], Welcome)


@pytest.mark.parametrize("underway", [False, True])
def test_a_robot_that_was_lost_is_back_stopped_until_it_is_released(post, underway):
    post.join(b"boss", role="operator")
    post.join(b"arm")
    if underway:
        assert begun(post, b"arm") is Mode.TRACK
    # Its report of its own stop was lost.
    lost(post, b"arm")
    (event,) = post.events(b"boss", "robot_lost")
    assert "starts stopped" in event.text
    post.join(b"arm")
    assert welcomed(post, b"arm").stopped
    assert begun(post, b"arm") is Mode.STOP
    post.say(b"boss", Release("arm", 0, 0))
    post.say(b"arm", Event(RELEASED, "arm", ""))
    assert begun(post, b"arm") is Mode.TRACK
    # After BYE a peer has nothing left to report.
    post.ask(b"arm", Kind.BYE)
    post.join(b"arm")
    assert not welcomed(post, b"arm").stopped


def test_a_bridge_that_begins_stopped_lets_no_robot_move(bundle):
    post = Post(bundle, stopped=True)
    post.join(b"boss", role="operator")
    post.join(b"arm")
    assert (welcomed(post, b"arm").stopped, welcomed(post, b"boss").stop) == (True, 1)
    assert begun(post, b"arm") is Mode.STOP
    post.say(b"boss", Release("arm", 1, 0))
    assert begun(post, b"arm") is Mode.TRACK
    post.peers.dismiss("done")


def test_only_the_bridge_counts_its_stops(post):
    post.join(b"boss", role="operator")
    post.join(b"arm")
    post.say(b"arm", Event("stop_given", "arm", "as if", 7))
    assert post.events(b"boss", "stop_given") == []
    # An event of the driver's own has no number that anybody could answer.
    post.say(b"arm", Event("lid_open", "arm", "", 7))
    assert [event.number for event in post.events(b"boss", "lid_open")] == [0]


def test_robots_names_are_bounded_without_cost_to_others(post, monkeypatch):
    monkeypatch.setattr("robot_bridge.server.admission.NAMES", 2)
    monkeypatch.setattr("robot_bridge.safety.stop_registry.NAMES", 2)
    post.join(b"boss", role="operator")
    for name in (b"a", b"b", b"c"):
        post.join(name)
    (frame,) = post.frames(b"c", Kind.REFUSED)
    assert "has met 2 robots" in codec.decode_message(frame, Refused).reasons[0]
    post.ask(b"a", Kind.BYE)
    post.join(b"a")
    # Stops by name beyond the bound concern everybody: too many stop, never too few.
    for name in ("x", "y", "z"):
        post.say(b"boss", Stop("", robot=name))
    assert len(post.frames(b"b", Kind.STOP)) == 1


def test_a_robot_hears_of_its_own_latch_alone(post):
    post.join(b"boss", role="operator")
    for name in (b"arm", b"leg"):
        post.join(name)
        post.say(name, Event(STOPPED, name.decode(), "a fault", 3))
    post.ask(b"arm", Kind.BYE)
    post.join(b"arm")
    assert welcomed(post, b"arm").latches == {"arm": 3}
    post.join(b"chief", role="operator")
    assert welcomed(post, b"chief").latches == {"arm": 3, "leg": 3}


def test_a_worker_that_hangs_is_waited_for_once_in_a_while(post, bundle):
    post.join(b"arm")
    post.observe(b"arm", flags=Flag.FIRST)
    robot = post.peers._registry.get(b"arm").robot
    policy = robot.policy
    tries = []

    def adopt(bundle, in_episode):
        tries.append(bundle)
        raise SnapshotError("an observe has been under way for more than 0.05 s")

    policy.adopt = adopt
    robot.episodes._adaptation._waiting.unfinished_tasks += 1
    robot.episodes.adopt(bundle, at_once=True)
    for _ in range(20):
        post.peers.tend()
    assert len(tries) == 1
    robot.episodes._adaptation._waiting.unfinished_tasks -= 1
    post.peers.tend()
    assert len(tries) == 2


def test_a_fault_is_latched_by_the_bridge_too(post):
    # Of a client without a latch of its own: it says nothing but what it measures.
    post.join(b"boss", role="operator")
    post.join(b"arm")
    assert begun(post, b"arm") is Mode.TRACK
    assert post.observe(b"arm", faults=1).mode is Mode.STOP
    assert [post.observe(b"arm").mode for _ in range(3)] == [Mode.STOP] * 3
    (event,) = post.events(b"boss", "stop_given")
    assert (event.number, event.text) == (1, "it reported fault EMERGENCY_STOP")
    post.say(b"boss", Release("arm", 1, 0))
    assert begun(post, b"arm") is Mode.TRACK
    # A release while the fault lasts opens nothing; a further fault is a stop of its own.
    post.observe(b"arm", faults=2)
    post.observe(b"arm", faults=2)
    post.observe(b"arm", faults=2 | 64)
    assert [event.number for event in post.events(b"boss", "stop_given")] == [1, 2, 3]
    assert "PROTECTIVE_STOP, 0x40" in post.events(b"boss", "stop_given")[-1].text
    post.say(b"boss", Release("arm", 3, 0))
    assert post.observe(b"arm", faults=2).mode is Mode.STOP
    assert post.observe(b"arm").mode is Mode.STOP


def test_a_robot_whose_frames_wait_in_the_socket_is_given_up(post):
    post.join(b"boss", role="operator")
    post.join(b"arm")
    assert begun(post, b"arm") is Mode.TRACK
    # Stamped ever longer before they are read, as on a bridge that falls behind; each is answered
    # at once.
    for wait_ms in range(1, 200):
        post.observe(b"arm", time_ns=time.monotonic_ns() - wait_ms * 1_000_000)
    assert len(post.events(b"boss", "rate_lost")) == 1
    assert post.observe(b"arm").mode is Mode.STOP


def drain(post):
    """Robots that come and go use up what peers without a history may cause."""
    for number in range(300):
        address = f"passer{number}".encode()
        post.join(address)
        post.ask(address, Kind.BYE)


def test_an_operator_hears_of_its_own_stop_at_once_however_much_others_have_caused(post):
    post.join(b"arm")
    drain(post)
    post.join(b"alice", role="operator")
    for number in range(1, 40):
        post.say(b"alice", Stop("enough", robot="arm"))
        given = post.events(b"alice", STOP_GIVEN)
        assert given[-1].number == number


def heard_by(post):
    return post.events(b"watch")


def test_what_is_told_late_of_a_robots_presence_is_true_when_it_is_told(post):
    post.join(b"watch", role="operator")
    drain(post)
    for _ in range(3):
        post.join(b"arm", name="arm")
        post.ask(b"arm", Kind.BYE)
    post.join(b"again", name="arm")
    # At 20 entries a second: what the others caused, and then what concerns this robot.
    post.settle(lambda: any(e.name == CONNECTED and e.robot == "arm" for e in heard_by(post)))
    presence = [e.name for e in heard_by(post) if e.robot == "arm" and e.name in PRESENCE]
    assert presence[-1] == CONNECTED

"""Stops on the bridge: their numbers, which robots they hold for, and how they end."""

import time

import numpy as np
import pytest

from robot_bridge.protocol import codec
from robot_bridge.protocol.messages import (
    PROTOCOL,
    RELEASE_REFUSED,
    RELEASED,
    STOP_GIVEN,
    STOPPED,
    Begin,
    Event,
    Flag,
    Heartbeat,
    Hello,
    Kind,
    Mode,
    Observation,
    Refused,
    Release,
    Stop,
    Welcome,
)
from robot_bridge.session import episode_lifecycle as course
from tests.support.bridge.bridge_without_sockets import Post


@pytest.fixture
def post(bundle):
    made = Post(bundle)
    made.join(b"arm")
    made.join(b"leg")
    made.join(b"person", role="operator")
    yield made
    made.peers.dismiss("done")


def read(post, address, kind, struct):
    return [codec.decode_message(frame, struct) for frame in post.frames(address, kind)]


def events(post, name):
    return [event for event in read(post, b"person", Kind.EVENT, Event) if event.name == name]


_sequence = iter(range(1, 10**6))


def answer(post, address, flags=Flag.FIRST):
    """The mode with which the bridge answers the robot's next observation."""
    sent = Observation(next(_sequence), 0, np.zeros(6, np.float32), 0.0, flags)
    session = post._sessions[address]
    post.peers.take(address, codec.encode_observation(sent, session))
    return codec.decode_command(post.frames(address, Kind.COMMAND)[-1]).mode


def test_stops_are_numbered_and_reach_whom_they_name(post):
    post.say(b"person", Stop("one", number=99))
    post.say(b"person", Stop("two", robot="leg"))
    assert [stop.number for stop in read(post, b"arm", Kind.STOP, Stop)] == [1]
    assert [stop.number for stop in read(post, b"leg", Kind.STOP, Stop)] == [1, 2]
    assert [(event.number, event.robot) for event in events(post, STOP_GIVEN)] == [
        (1, ""),
        (2, "leg"),
    ]


def test_a_robot_may_stop_all_robots_and_release_none(post):
    post.say(b"arm", Stop("smoke"))
    (stop,) = read(post, b"leg", Kind.STOP, Stop)
    assert stop.reason == "robot 'arm': smoke"
    assert len(read(post, b"arm", Kind.STOP, Stop)) == 1
    post.say(b"arm", Release("leg", 1, 0))
    assert post.frames(b"leg", Kind.RELEASE) == []
    assert "RELEASE is not for a robot" in read(post, b"arm", Kind.REFUSED, Refused)[0].reasons[0]


def test_a_stop_that_cannot_be_read_is_one_for_all(post):
    data = codec.encode(Kind.STOP, b"\xc1", session=post._sessions[b"person"])
    post.peers.take(b"person", data)
    for name in (b"arm", b"leg"):
        (stop,) = read(post, name, Kind.STOP, Stop)
        assert "cannot be read" in stop.reason


def test_while_a_stop_stands_every_answer_is_stop(post):
    assert answer(post, b"arm") is Mode.TRACK
    post.say(b"person", Stop("one", robot="arm"))
    assert [answer(post, b"arm", flags) for flags in (Flag(0), Flag.FIRST)] == [Mode.STOP] * 2
    assert answer(post, b"leg") is Mode.TRACK
    post.say(b"person", Release("arm", 1, 0))
    assert answer(post, b"arm") is Mode.TRACK


def test_a_release_that_answers_too_little_or_too_much_goes_nowhere(post):
    for _ in range(2):
        post.say(b"person", Stop("x"))
    post.say(b"arm", Event(STOPPED, "arm", "by itself", 3))
    for stop, latch, words in (
        (1, 3, "stop 2 was given after stop 1"),
        (3, 3, "it names stop 3; the latest is 2"),
        (2, 2, "stopped 3 times by itself; the release answers 2"),
    ):
        post.say(b"person", Release("arm", stop, latch))
        assert words in events(post, RELEASE_REFUSED)[-1].text
        assert answer(post, b"arm") is Mode.STOP
    assert post.frames(b"arm", Kind.RELEASE) == []
    post.say(b"person", Release("arm", 2, 3))
    assert read(post, b"arm", Kind.RELEASE, Release) == [Release("arm", 2, 3)]


def joined(post, name):
    post.join(name)
    return read(post, name, Kind.WELCOME, Welcome)[-1]


def test_a_stop_holds_for_robots_that_connect_later(post):
    post.say(b"person", Stop("fire"))
    welcome = joined(post, b"late")
    assert (welcome.stop, welcome.stopped) == (1, True)
    assert answer(post, b"late") is Mode.STOP
    post.say(b"person", Release("late", 1, 0))
    assert answer(post, b"late") is Mode.TRACK


def test_a_stop_of_a_robot_that_is_not_there_waits_for_it(post):
    post.say(b"person", Stop("not yet", robot="late"))
    assert "not connected" in events(post, STOP_GIVEN)[0].text
    assert joined(post, b"late").stopped
    assert not joined(post, b"other").stopped


def test_a_driver_that_died_stopped_comes_back_stopped_and_counts_on(post):
    post.say(b"arm", Event(STOPPED, "arm", "silence", 2))
    post.peers.take(b"arm", codec.encode(Kind.BYE, session=post._sessions[b"arm"]))
    welcome = joined(post, b"arm")
    assert (welcome.stopped, welcome.latches) == (True, {"arm": 2})
    # Twice over: the client's own latch holds, and the bridge answers nothing but stop.
    assert answer(post, b"arm") is Mode.STOP
    post.say(b"person", Release("arm", 0, 1))
    assert answer(post, b"arm") is Mode.STOP
    post.say(b"person", Release("arm", 0, 2))
    assert answer(post, b"arm") is Mode.TRACK
    post.say(b"arm", Event(RELEASED, "arm", "", 2))
    post.peers.take(b"arm", codec.encode(Kind.BYE, session=post._sessions[b"arm"]))
    assert not joined(post, b"arm").stopped


def test_heartbeats_carry_what_may_have_been_lost(post):
    post.say(b"person", Stop("one", robot="leg"))
    post.peers._heartbeat_due = 0.0
    post.peers.tend()
    latest = {name: read(post, name, Kind.HEARTBEAT, Heartbeat)[-1] for name in (b"arm", b"leg")}
    assert (latest[b"arm"].stop, latest[b"leg"].stop) == (0, 1)
    assert read(post, b"person", Kind.HEARTBEAT, Heartbeat)[-1].stop == 1
    for _ in range(2):
        post.say(b"leg", Heartbeat(1, 4, True))
    assert [(event.robot, event.number) for event in events(post, STOPPED)] == [("leg", 4)]


def test_a_robot_that_never_begins_is_given_up(post, monkeypatch):
    post.say(b"person", Begin("arm", 0, 0, 0, True))
    post.say(b"person", Begin("arm", 1, 0, 0, True))
    assert len(events(post, "begin_refused")) == 1
    later = time.monotonic() + course.BEGINNING + 1
    monkeypatch.setattr("robot_bridge.session.episode_lifecycle.time.monotonic", lambda: later)
    post.peers.tend()
    assert [event.robot for event in events(post, "begin_expired")] == ["arm"]
    post.say(b"person", Begin("arm", 1, 0, 0, True))
    assert len(post.frames(b"arm", Kind.RESET)) == 2


def test_an_episode_without_observations_ends_when_another_is_requested(post, monkeypatch):
    answer(post, b"arm")
    post.say(b"person", Begin("arm", 1, 0, 0, True))
    assert len(events(post, "begin_refused")) == 1
    later = time.monotonic() + course.STALLED + 1
    monkeypatch.setattr("robot_bridge.session.episode_lifecycle.time.monotonic", lambda: later)
    post.say(b"person", Begin("arm", 1, 0, 0, True))
    post.peers.tend()
    assert len(events(post, "episode_stalled")) == 1
    assert len(post.frames(b"arm", Kind.RESET)) == 1


@pytest.mark.parametrize("version", [0, PROTOCOL + 1, 9])
def test_another_version_is_refused_in_that_version(post, version):
    post.peers.take(b"x", codec.encode_message(Hello("operator", "another"), version=version))
    (refused,) = post.frames(b"x", Kind.REFUSED)
    assert refused.version == version
    (reason,) = codec.decode_message(refused, Refused).reasons
    assert reason == f"protocol version {version}; this bridge speaks {PROTOCOL}"


def test_a_shadow_computes_and_never_commands(bundle):
    post = Post(bundle, shadow=True)
    post.join(b"arm")
    assert read(post, b"arm", Kind.WELCOME, Welcome)[0].shadow
    modes = [answer(post, b"arm", flags) for flags in (Flag.FIRST, Flag(0), Flag(0))]
    assert modes == [Mode.HOLD] * 3
    commands = [codec.decode_command(frame) for frame in post.frames(b"arm", Kind.COMMAND)]
    assert all(command.shadow for command in commands)
    assert np.any(commands[-1].payload != 0)
    # No command was followed, so there is nothing to learn.
    assert commands[-1].belief_version == commands[0].belief_version
    post.peers.dismiss("done")

"""A bridge with too much work answers the newest observation of each robot alone, and refuses the
next robot. On a clock of the test's own."""

import time

import numpy as np
import pytest

from robot_bridge.protocol import codec
from robot_bridge.protocol.messages import (
    NO_FLAGS,
    Fault,
    Flag,
    Heartbeat,
    Kind,
    Mode,
    Observation,
    Refused,
)
from robot_bridge.safety.deadline_monitor import DeadlineSettings
from robot_bridge.server.backlog import superseded
from robot_bridge.server.load_meter import FULL, ROOM, LoadMeter, LoadSettings
from tests.support.bridge.bridge_without_sockets import Post

SESSION = 7
SETTINGS = LoadSettings(full=0.8, free=0.6, window=2.0)


def observation(sequence, session=SESSION, size=6, **changes):
    fields = {"time_ns": 0, "payload": np.full(size, 0.1, np.float32)} | changes
    return codec.encode_observation(Observation(sequence, **fields), session)


def test_all_but_the_newest_of_each_robot_are_superseded():
    beat = codec.encode_message(Heartbeat(), session=SESSION)
    frames = [
        (b"arm", observation(1)),
        (b"leg", observation(1)),
        (b"arm", beat),
        (b"arm", observation(2)),
        (b"arm", observation(3)),
        (b"arm", beat),
    ]
    assert superseded(frames) == [True, False, False, True, False, False]
    assert superseded([]) == []


@pytest.mark.parametrize(
    "newest",
    [
        observation(2)[:-1],
        observation(2)[:-1] + b"\x00",
        observation(2, session=SESSION + 1),
        b"",
    ],
)
def test_what_cannot_be_answered_supersedes_nothing(newest):
    assert superseded([(b"arm", observation(1)), (b"arm", newest)]) == [False, False]


class Behind(Post):
    """Observations that the test marks as superseded."""

    old = False

    def _take(self, address, data):
        self.peers.take(address, data, self.old)

    def observe_old(self, address, **changes):
        self.old = True
        try:
            return self.observe(address, **changes)
        finally:
            self.old = False


@pytest.fixture
def post(bundle):
    made = Behind(bundle)
    yield made
    made.peers.dismiss("done")


def robot_of(post, name="arm"):
    return post.peers.robots()[name].robot


def test_a_superseded_observation_is_told_not_answered_and_nothing_is_learnt_across_it(post):
    post.join(b"boss", role="operator")
    post.join(b"arm", simulated_time=True)
    assert post.observe(b"arm", flags=Flag.FIRST).mode is Mode.TRACK
    assert post.observe_old(b"arm") is None
    belief = robot_of(post).policy.adapter.belief
    # What came of the first command was still learnt; of the one that was never given, nothing is.
    assert belief.count == 1
    assert post.observe(b"arm").mode is Mode.TRACK
    assert belief is robot_of(post).policy.adapter.belief
    post.observe(b"arm")
    assert robot_of(post).policy.adapter.belief.count == 2
    for address in (b"boss", b"arm"):
        (event,) = post.events(address, "observation_superseded")
        assert "answers the newest" in event.text
    assert robot_of(post).episodes.step == 4


def test_superseded_observations_are_told_ever_more_rarely(post):
    post.join(b"arm")
    post.observe(b"arm", flags=Flag.FIRST)
    for _ in range(100):
        post.observe_old(b"arm")
    counts = [event.text for event in post.events(b"arm", "observation_superseded")]
    assert len(counts) == 7 and "64 times so far" in counts[-1]


@pytest.mark.parametrize(
    ("changes", "mode"),
    [
        ({"value": np.nan}, Mode.HOLD),
        ({"faults": int(Fault.EMERGENCY_STOP)}, Mode.STOP),
        ({"flags": Flag.LAST}, Mode.HOLD),
    ],
)
def test_one_that_does_not_let_the_policy_act_is_answered_all_the_same(post, changes, mode):
    post.join(b"arm")
    post.observe(b"arm", flags=Flag.FIRST)
    assert post.observe_old(b"arm", **changes).mode is mode
    # The emergency stop that no later observation shows is latched.
    after = post.observe(b"arm").mode
    assert after is (Mode.TRACK if mode is Mode.HOLD and "value" in changes else mode)


def test_the_first_of_an_episode_opens_it(post):
    post.join(b"arm")
    assert post.observe_old(b"arm", flags=Flag.FIRST) is None
    assert post.observe(b"arm").mode is Mode.TRACK


def test_observations_without_an_answer_count_as_late(bundle):
    post = Behind(bundle, pace=DeadlineSettings(window=10))
    post.join(b"arm")
    post.observe(b"arm", flags=Flag.FIRST)
    assert not post.peers.behind()
    # One period later by its stamp, but read several periods after it was sent.
    late_ns = 10 * round(1e9 * bundle.manifest.control_period)
    commands = [post.observe_old(b"arm", time_ns=time.monotonic_ns() - late_ns) for _ in range(4)]
    assert commands[0] is None
    assert [command.mode for command in commands if command] == [Mode.STOP]
    assert "rate_lost" in post.told
    assert post.peers.behind() and not post.peers.behind()


def test_a_robot_that_is_answered_in_time_leaves_the_bridge_up_to_date(post):
    post.join(b"arm")
    for flags in (Flag.FIRST, NO_FLAGS, NO_FLAGS):
        post.observe(b"arm", flags=flags)
        assert not post.peers.behind()
    assert len(post.frames(b"arm", Kind.COMMAND)) == 3


class Loop:
    """Turns of 10 ms, of which a share is work."""

    def __init__(self, settings=SETTINGS):
        self.meter = LoadMeter(settings)
        self.time = 100.0
        self.meter.note(self.time, None)

    def run(self, busy, seconds=20.0):
        for _ in range(round(seconds / 0.01)):
            self.time += 0.01
            self.meter.note(self.time, 0.01 * (1 - busy))


@pytest.mark.parametrize("busy", [0.0, 0.3, 1.0])
def test_the_share_is_what_the_loop_does_not_wait(busy):
    loop = Loop()
    loop.run(busy)
    assert loop.meter.share == pytest.approx(busy, abs=1e-3)
    # Turns without frames are waiting; a wait of longer than the turn, by another clock, too.
    loop.time += 0.5
    loop.meter.note(loop.time, None)
    loop.meter.note(loop.time + 0.5, 0.6)
    assert loop.meter.share == pytest.approx(busy * 0.75**2, abs=1e-3)


def test_one_long_turn_counts_no_more_than_the_window():
    loop = Loop()
    loop.meter.note(loop.time + 60.0, 0.0)
    assert loop.meter.share == 1.0


def test_the_next_robot_is_expected_to_take_as_much_as_the_others():
    loop = Loop()
    loop.run(0.7)
    assert not loop.meter.refusal(16)
    assert "with 2 robots it is busy 70% of the time" in loop.meter.refusal(2)
    # The first is always admitted, for it is slowed by itself alone.
    loop.run(1.0)
    assert not loop.meter.refusal(0)
    assert loop.meter.refusal(16)


def test_a_full_bridge_says_so_once_and_has_room_again_further_down():
    loop = Loop()
    loop.run(0.79)
    assert loop.meter.news() == []
    loop.run(0.9)
    ((name, text),) = loop.meter.news()
    assert (name, text) == (FULL, "busy 90% of the time")
    loop.run(0.7)
    assert loop.meter.news() == [] and loop.meter.refusal(16)
    loop.run(0.55)
    assert [name for name, _ in loop.meter.news()] == [ROOM]
    assert not loop.meter.refusal(16)


def test_a_share_of_one_admits_every_robot():
    loop = Loop(LoadSettings(full=1.0, free=1.0))
    loop.run(1.0)
    assert not loop.meter.refusal(64) and loop.meter.news() == []


def test_a_full_bridge_refuses_the_next_robot_by_name_and_serves_the_others(bundle):
    loop = Loop()
    post = Post(bundle, load=loop.meter)
    post.join(b"boss", role="operator")
    post.join(b"arm")
    loop.run(0.9)
    post.peers.tend()
    post.join(b"leg")
    (frame,) = post.frames(b"leg", Kind.REFUSED)
    (reason,) = codec.decode_message(frame, Refused).reasons
    assert reason.startswith("the bridge is full: with 1 robots it is busy 90% of the time")
    (event,) = post.events(b"boss", "peer_refused")
    assert event.robot == "leg" and "the bridge is full" in event.text
    assert [event.name for event in post.events(b"boss", FULL)] == [FULL]
    assert list(post.peers.robots()) == ["arm"]
    # An operator is admitted: it may have to stop robots.
    post.join(b"chief", role="operator")
    assert post.frames(b"chief", Kind.WELCOME)
    loop.run(0.1)
    post.join(b"leg")
    assert sorted(post.peers.robots()) == ["arm", "leg"]
    post.peers.dismiss("done")

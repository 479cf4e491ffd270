"""How busy the loop is, and when a further robot is refused, on a clock of the test's own."""

import pytest

from robot_bridge.protocol import codec
from robot_bridge.protocol.messages import Kind, Refused
from robot_bridge.server.load_meter import FULL, ROOM, LoadMeter, LoadSettings
from tests.support.bridge.bridge_without_sockets import Post

SETTINGS = LoadSettings(full=0.8, free=0.6, window=2.0)


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

"""Silent peers are noticed by HEARTBEAT frames alone, and a slow bridge blames no peer."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from robot_bridge.protocol import timing
from robot_bridge.protocol.codec import decode_message
from robot_bridge.protocol.messages import Event, Heartbeat, Kind
from robot_bridge.transport.access_policy import OpenAccess
from tests.support.bridge.bridge_without_sockets import Post

ROOT = Path(__file__).resolve().parents[3]
CPP = ROOT / "robot_bridge/client/cpp/include/acclimate"


class Access(OpenAccess):
    """Remembers whose connection was cut."""

    def __init__(self) -> None:
        self.cut: list[bytes] = []

    def shut(self, peer: bytes) -> None:
        self.cut.append(peer)


@pytest.fixture
def gate():
    return Access()


@pytest.fixture
def post(bundle, gate):
    made = Post(bundle, gate=gate)
    made.join(b"arm")
    made.join(b"leg", simulated_time=True)
    made.join(b"person", role="operator")
    yield made
    made.peers.dismiss("done")


def quiet(post, seconds):
    """Let every robot have said nothing for so long, and the bridge look at them."""
    for peer in post.peers.robots().values():
        peer.heard_ns -= round(seconds * 1e9)
    post.peers._heartbeat_due = 0.0
    post.peers.tend()


def told(post, name):
    events = [decode_message(frame, Event) for frame in post.frames(b"person", Kind.EVENT)]
    return [event.robot for event in events if event.name == name]


def test_a_silent_robot_is_told_of_then_disconnected_unless_its_clock_waits(post, gate):
    quiet(post, timing.ROBOT_SILENT - 0.5)
    assert told(post, "robot_silent") == []
    quiet(post, 1.0)
    assert sorted(told(post, "robot_silent")) == ["arm", "leg"]
    assert told(post, "robot_lost") == []
    post.say(b"leg", Heartbeat())
    assert told(post, "robot_heard") == ["leg"]
    quiet(post, timing.ROBOT_LOST)
    assert told(post, "robot_lost") == ["arm"]
    assert gate.cut == [b"arm"]
    assert post.frames(b"arm", Kind.REFUSED)
    assert list(post.peers.robots()) == ["leg"]


def test_a_new_robot_takes_the_place_of_a_silent_one_of_its_name_and_of_no_other(post):
    post.join(b"second", name="arm")
    assert post.frames(b"second", Kind.REFUSED)
    quiet(post, timing.ROBOT_SILENT + 0.5)
    post.say(b"leg", Heartbeat())
    for address, name in ((b"third", "arm"), (b"fourth", "leg")):
        post.join(address, name=name)
    assert post.frames(b"third", Kind.WELCOME)
    assert post.frames(b"fourth", Kind.REFUSED)
    assert told(post, "robot_lost") == ["arm"]


def test_what_the_bridge_itself_could_not_read_is_no_silence(post):
    post.peers._tended_at -= 60.0
    quiet(post, 60.0)
    assert told(post, "robot_silent") == []


def test_no_socket_of_ours_uses_the_heartbeats_of_zeromq():
    """They abort the process when a queue is full; see protocol/timing.py."""
    found = sorted((ROOT / "robot_bridge").rglob("*.*"))
    for path in (path for path in found if path.suffix in (".py", ".hpp")):
        assert not re.search(r"zmq\.HEARTBEAT|ZMQ_HEARTBEAT", path.read_text()), path


def test_the_client_in_another_language_has_the_same_times():
    text = (CPP / "timing.hpp").read_text()
    found = dict(re.findall(r"constexpr double (\w+) = ([\d.]+);", text))
    assert found
    assert {name: float(value) for name, value in found.items()} == {
        name: getattr(timing, name) for name in found
    }


OVERLOADED = """
import sys, threading, time, zmq
from robot_bridge.transport.server_socket import ServerSocket

router = ServerSocket("ipc://" + sys.argv[1])
context = zmq.Context()
over = threading.Event()

def load():
    peers = [context.socket(zmq.DEALER) for _ in range(16)]
    for peer in peers:
        peer.set(zmq.LINGER, 0)
        peer.connect(router.endpoint)
    while not over.wait(0.01):
        for peer in peers:
            try:
                peer.send(bytes(200), zmq.NOBLOCK)
            except zmq.Again:
                pass
    for peer in peers:
        peer.close()

thread = threading.Thread(target=load)
thread.start()
end = time.monotonic() + 8
while time.monotonic() < end:
    for peer, data in router.receive(50):
        router.send(peer, data)
        time.sleep(0.005)  # an eighth of the load at most
over.set()
thread.join()
context.term()
router.close()
print("lived")
"""


def test_a_bridge_that_falls_behind_its_peers_lives(tmp_path):
    tmp_path.chmod(0o700)
    words = [sys.executable, "-c", OVERLOADED, str(tmp_path / "b")]
    made = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (made.returncode, made.stdout) == (0, "lived\n"), made.stderr

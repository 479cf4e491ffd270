"""One peer's noise does not fill a recording."""

from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.protocol.messages import STOPPED, Event
from robot_bridge.recording.rows import EVENTS, LOG
from robot_bridge.recording.writer import McapRecorder
from robot_bridge.session.event_throttle import BURST
from robot_bridge.telemetry.observers import Taps
from tests.support import tiny_bundle
from tests.support.bridge.bridge_without_sockets import Post
from tests.support.bridge.recorded import rows


def test_recorded_events_of_one_peer_are_bounded_counted_and_leave_room_for_its_neighbour(tmp_path):
    bundle = PolicyBundle.load(tiny_bundle.write(tmp_path / "tiny"))
    recorder, texts = McapRecorder(tmp_path / "rec", bundle), []
    told = recorder.event

    def tell(record):
        texts.append(record.text)
        told(record)

    recorder.event = tell
    post = Post(bundle, taps=Taps([recorder]))
    post.join(b"noisy")
    post.join(b"quiet")
    for number in range(1, 4000):
        post.say(b"noisy", Event(STOPPED, "noisy", "again", number))
    post.say(b"quiet", Event(STOPPED, "quiet", "a bumper was hit", 1))
    post.settle(lambda: any("left out" in text for text in texts))
    post.peers.dismiss("done")
    recorder.close()
    events = [row for _, row in rows(recorder.path, EVENTS)]
    assert len(events) < 2 * BURST
    assert len(rows(recorder.path, LOG)) == len(events)
    noise = [row["text"] for row in events if row["robot"] == "noisy" and row["name"] == STOPPED]
    assert "like this were left out" in noise[-1]
    quiet = [row["text"] for row in events if row["robot"] == "quiet" and row["name"] == STOPPED]
    assert quiet == ["a bumper was hit"]

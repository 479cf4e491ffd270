"""What is kept of an episode: bounded, in its place in time, and never too large to send."""

import numpy as np
import pytest

from adapt.belief.gaussian import Belief
from robot_bridge.protocol import codec
from robot_bridge.protocol.messages import Begin, Kind, Outcome, Ready
from robot_bridge.protocol.operator_messages import EpisodeRecord
from robot_bridge.session.episode_recorder import EVENTS, Episode

BEGIN = Begin("arm", 0, 0, 0, True)


def belief(size, version):
    return Belief(np.full(size, 0.1 + version), np.full(size, 1 / 3), version, version)


def record(episode, size=2):
    made = episode.record(Outcome(True, 1, 1.0, ""), belief(size, 0))
    assert made is not None
    return made


@pytest.mark.parametrize(("width", "latent"), [(30, 8), (20_000, 4096), (2, 0)])
def test_the_largest_record_of_any_bundle_fits_a_frame(width, latent):
    episode = Episode("arm", BEGIN, belief(latent, 0), width)
    row = np.zeros(width, np.float32)
    for step in range(2500 if width < 100 else 250):
        episode.add(row[2:], row[:2], 0.0, belief(latent, step))
        episode.note("\N{SNOWMAN}" * 5000)
    large = {"x" * 124 + f"{n:04d}": 1e300 for n in range(256)}
    episode.ready = Ready(large)
    outcome = Outcome(True, 1, 1.0, "\N{SNOWMAN}" * 4096, large)
    made = episode.record(outcome, belief(latent, 1))
    assert made is not None
    frame = codec.decode(codec.encode_message(made))
    assert frame.kind is Kind.EPISODE_RECORD
    assert len(frame.payload) < codec.RECORD_BYTES // 2
    assert codec.decode_message(frame, EpisodeRecord) == made


def test_steps_that_only_held_keep_their_place_in_time():
    episode = Episode("arm", BEGIN, belief(2, 0), 8)
    for step in range(10):
        if step in (3, 4):
            episode.skip()
        else:
            episode.add(np.full(6, step, np.float32), np.zeros(2, np.float32), 0.0, belief(2, step))
    arrays = record(episode).arrays()
    assert arrays["steps"].tolist() == [0, 1, 2, 5, 6, 7, 8, 9]
    assert arrays["observations"][:, 0].tolist() == arrays["steps"].tolist()
    assert episode.step == 10


def test_events_that_are_left_out_are_counted():
    episode = Episode("arm", BEGIN, belief(2, 0), 8)
    for number in range(EVENTS + 50):
        episode.note(f"event {number}")
    events = record(episode).events
    assert len(events) == EVENTS
    assert events[-1] == "and 51 more"
    assert events[0] == "event 0"


def test_another_models_beliefs_do_not_mix_with_the_first_ones():
    episode = Episode("arm", BEGIN, belief(2, 0), 8)
    row = np.zeros(6, np.float32)
    episode.add(row, row[:2], 0.0, belief(2, 5))
    episode.restart(belief(3, 0))
    episode.add(row, row[:2], 0.0, belief(3, 1))
    made = record(episode, 3)
    assert (made.belief_before.step, len(made.belief_before.mean)) == (1, 3)
    assert [(p.step, len(p.mean)) for p in made.belief_trace] == [(1, 3)]

"""Robots start from measured priors: the bridge's, the task's; stored, swapped and replayed."""

import re

import numpy as np
import pytest
from msgspec import json, structs

from adapt.bundle.policy_bundle import PolicyBundle, write_bundle
from adapt.errors import PriorError
from adapt.prior import MeasuredPrior, MeasuredQuantity
from robot_bridge.cli.replay import replay
from robot_bridge.protocol import codec
from robot_bridge.protocol.messages import Begin, Flag, Kind, Outcome, ResetRequest
from robot_bridge.protocol.operator_messages import EpisodeRecord
from robot_bridge.recording.writer import McapRecorder
from robot_bridge.server.server import BridgeSettings
from robot_bridge.server.server import read_priors as bridge_priors
from robot_bridge.session.belief_store import BeliefStore
from robot_bridge.telemetry.observers import Taps
from robot_bridge.trial.runner import TrialSettings, play, read_priors
from tests.support import tiny_bundle
from tests.support.bridge.bridge_without_sockets import Post

ARM, LEG, BOSS = b"arm", b"leg", b"boss"


def prior(mean, std=0.002, name="socket_x"):
    return MeasuredPrior(
        "acclimate-prior-1", [MeasuredQuantity(name, "m", "linear", mean, std=std)]
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return PolicyBundle.load(tiny_bundle.write(tmp_path_factory.mktemp("b") / "b", hold=2))


@pytest.fixture
def house(bundle):
    """Makes bridges, and closes them."""
    made = []

    def make(*robots, of=bundle, **settings):
        post = Post(of, **settings)
        made.append(post)
        post.join(BOSS, role="operator")
        for address in robots:
            post.join(address, simulated_time=True)
        return post

    yield make
    for post in made:
        post.peers.dismiss("done")


def policy(post, address=ARM):
    return post.peers.robots()[address.decode()].robot.policy


def episode(post, task=0, number=0, measured=None):
    post.say(BOSS, Begin("arm", task, number, 0, number == 0, prior=measured))
    post.observe(ARM, 0.1, Flag.FIRST)
    for step in range(12):
        post.observe(ARM, 0.1 * step)
    post.observe(ARM, 0.9, Flag.LAST)
    post.say(ARM, Outcome(True, 3, 0.15, "done"))
    post.peers.tend()


def test_each_robot_starts_from_its_own_prior_and_returns_to_it(house):
    post = house(ARM, LEG, priors={"arm": prior(0.503), "": prior(0.498)})
    # The factor is 0.5 m + 0.01 m × latent.
    assert policy(post).belief.mean[0] == pytest.approx(0.3)
    assert policy(post, LEG).belief.mean[0] == pytest.approx(-0.2)
    episode(post)
    assert policy(post).belief.mean[0] != pytest.approx(0.3)
    policy(post).forget()
    assert policy(post).belief.mean[0] == pytest.approx(0.3)
    assert policy(post).belief.variance[0] == pytest.approx(0.2**2)
    assert policy(house(ARM)).belief.mean[0] == 0


def test_a_task_brings_its_own_and_the_next_one_has_the_robots_again(house):
    post = house(ARM, priors={"": prior(0.498)})
    post.say(BOSS, Begin("arm", 0, 0, 0, True, prior=prior(0.504)))
    assert policy(post).belief.mean[0] == pytest.approx(0.4)
    episode(post, 0, 1)
    policy(post).forget()
    assert policy(post).belief.mean[0] == pytest.approx(0.4)
    post.peers.tend()
    post.say(BOSS, Begin("arm", 1, 0, 0, True))
    assert policy(post).belief.mean[0] == pytest.approx(-0.2)


def test_a_prior_within_a_task_starts_the_belief_anew_and_the_task_goes_on(house):
    post = house(ARM)
    episode(post)
    assert policy(post).belief.mean[0] != pytest.approx(0.4)
    episode(post, 0, 1, prior(0.504))
    reset = codec.decode_message(post.frames(ARM, Kind.RESET)[-1], ResetRequest)
    assert not reset.new_task
    record = codec.decode_message(post.frames(BOSS, Kind.EPISODE_RECORD)[-1], EpisodeRecord)
    assert record.belief_before.mean[0] == pytest.approx(0.4)
    # And it goes on from what it has learnt since.
    before = policy(post).belief
    episode(post, 0, 2)
    assert policy(post).belief.version > before.version + 8


@pytest.mark.parametrize(
    ("begin", "words"),
    [
        (Begin("arm", 0, 0, 0, True, prior=prior(0.5, name="seat")), "measures seat; .* socket_x"),
        (Begin("arm", 0, 0, 0, True, prior=prior(9.0)), "standard deviations from the bundle's"),
    ],
)
def test_a_prior_that_cannot_be_meant_is_refused_and_nothing_changes(house, begin, words):
    post = house(ARM)
    before = policy(post).adapter
    post.say(BOSS, begin)
    (event,) = post.events(BOSS, "begin_refused")
    assert re.search(words, event.text)
    assert policy(post).adapter is before


def test_a_stored_belief_keeps_its_prior_and_yields_to_one_measured_later(house, tmp_path):
    post = house(ARM, store=BeliefStore(tmp_path), priors={"": prior(0.503)})
    episode(post)
    learnt = policy(post).belief
    post.peers.dismiss("done")
    # The same prior, or none: it goes on.
    for priors in ({"": prior(0.503)}, None):
        post = house(ARM, store=BeliefStore(tmp_path), priors=priors)
        np.testing.assert_array_equal(policy(post).belief.mean, learnt.mean)
        assert policy(post).adapter.start.mean[0] == pytest.approx(0.3)
        post.peers.dismiss("done")
    post = house(ARM, store=BeliefStore(tmp_path), priors={"": prior(0.502)})
    assert policy(post).belief.mean[0] == pytest.approx(0.2)
    (event,) = post.events(BOSS, "belief_refused")
    assert "another prior than the one given now" in event.text


def test_a_model_that_cannot_take_the_prior_says_so_and_starts_from_its_own(house, tmp_path):
    manifest, graphs, golden = tiny_bundle.build(seed=1)
    latent = structs.replace(manifest.latent, factors=[])
    plain = write_bundle(
        tmp_path / "plain", structs.replace(manifest, latent=latent), graphs, golden
    )
    post = house(ARM, priors={"": prior(0.503)})
    post.peers.robots()["arm"].robot.episodes.adopt(plain, at_once=True)
    post.peers.tend()
    assert policy(post).bundle is plain
    assert policy(post).belief.mean[0] == 0
    (event,) = post.events(BOSS, "prior_refused")
    assert "no physical meaning" in event.text


def test_a_recording_with_priors_replays_to_the_last_bit(house, bundle, tmp_path):
    recorder = McapRecorder(tmp_path, bundle)
    taps = Taps([recorder])
    post = house(ARM, taps=taps, priors={"": prior(0.498)})
    for task, measured in enumerate((None, prior(0.504), prior(0.501, 0.001))):
        for number in range(2):
            episode(post, task, number, measured if number == 0 else None)
    post.peers.dismiss("done")
    taps.close()
    tally = replay([recorder.path], bundle).robots["arm"]
    assert (tally.replayed, tally.different, tally.left_out) == (6 * 13, 0, {})


def test_files_are_read_before_anything_moves(bundle, tmp_path):
    for name, mean in (("0.json", 0.5), ("1.json", 0.501), ("far.json", 9.0)):
        (tmp_path / name).write_bytes(json.encode(prior(mean)))
    settings = BridgeSettings(tmp_path, prior=tmp_path / "0.json")
    assert bridge_priors(settings, bundle) == {"": prior(0.5)}
    settings = BridgeSettings(tmp_path, priors={"arm": tmp_path / "far.json"})
    with pytest.raises(PriorError, match=r"far.json: the prior lies 850 standard"):
        bridge_priors(settings, bundle)
    trial = TrialSettings(out=tmp_path / "out", prior=tmp_path, tasks=2, episodes=2)
    sent = []

    def attempt(begin):
        sent.append(begin.prior)
        return False

    play(trial, "arm", read_priors(trial), attempt, lambda *place: prior(0.0))
    assert sent == [prior(0.5), None, prior(0.501), None]
    trial = TrialSettings(out=tmp_path / "out", prior=tmp_path / "1.json", tasks=2, episodes=1)
    assert list(read_priors(trial).values()) == [prior(0.501)] * 2
    trial = TrialSettings(out=tmp_path / "out", prior=tmp_path, tasks=3)
    with pytest.raises(PriorError, match=r"2.json: No such file"):
        read_priors(trial)

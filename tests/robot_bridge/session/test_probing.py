"""A bridge that probes: what it asks for, bounds, stops and reports. Without sockets."""

import numpy as np
import pytest
from msgspec import json

from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.errors import ProbeError
from robot_bridge.probing.limits import ProbeSettings
from robot_bridge.probing.pose import measured_prior, seat_pose
from robot_bridge.protocol import codec
from robot_bridge.protocol.messages import (
    Begin,
    Flag,
    Kind,
    Mode,
    Outcome,
    Ready,
    ResetRequest,
    Stop,
)
from robot_bridge.protocol.operator_messages import EpisodeRecord
from sim.demo import SHIPPED
from tests.support.bridge.bridge_without_sockets import Post
from tests.support.probed_cell import MOST, WRENCH, Cell, task, truth

ARM, BOSS = b"arm", b"boss"
REACH = ProbeSettings(reach=0.07)
ASK = Begin("arm", 0, 0, 0, True, False, probe=("socket",))


@pytest.fixture(scope="module")
def bundle():
    return PolicyBundle.load(SHIPPED)


@pytest.fixture
def house(bundle):
    """Makes bridges with one robot that can probe, and closes them."""
    made = []

    def make(probes=True, probe=REACH, **settings):
        post = Post(bundle, probe=probe, **settings)
        made.append(post)
        post.join(BOSS, role="operator")
        post.join(ARM, simulated_time=True, probes=probes)
        return post

    yield make
    for post in made:
        post.peers.dismiss("done")


def refusal(post):
    return [event.text for event in post.events(BOSS, "begin_refused")][-1]


def perform(post, cell, meanwhile=lambda post, period: None):
    """A probing episode, from its request to its record; the modes that were answered."""
    post.say(BOSS, ASK)
    post.say(ARM, Ready(target=cell.target))
    seen, flags, modes = cell.reset(), Flag.FIRST, []
    while True:
        command = post.observe(ARM, payload=seen.astype(np.float32), flags=flags)
        modes.append(command.mode)
        if command.mode is Mode.STOP or command.over:
            break
        assert cell.period < MOST
        flags = Flag(0)
        if command.mode is Mode.TRACK:
            seen = cell.follow(command.payload)
        else:
            cell.worlds.reference[:] = cell.worlds.sim.qpos
            seen = cell.follow(np.zeros(4))
        meanwhile(post, cell.period)
    post.observe(ARM, payload=seen.astype(np.float32), flags=Flag.LAST)
    post.say(ARM, Outcome(False, cell.period, 1.0, "probed"))
    post.settle(lambda: bool(post.frames(BOSS, Kind.EPISODE_RECORD)))
    record = codec.decode_message(post.frames(BOSS, Kind.EPISODE_RECORD)[-1], EpisodeRecord)
    assert record.probe is not None
    return record, record.probe, modes


def test_a_probing_episode_measures_a_prior_that_the_next_one_starts_from(house):
    post, one = house(), task()
    record, found, modes = perform(post, Cell(one))
    assert set(modes) == {Mode.TRACK}
    assert found.problem == "" and len(found.touches) == 9
    # The belief is as before: nothing is learnt from touches.
    assert record.belief_after.version == record.belief_before.version
    pose = seat_pose(found)
    assert (np.abs(pose.mean - truth(one)) < 3 * pose.std).all()
    prior = measured_prior(pose, {})
    assert post.peers.robots()["arm"].robot.episodes.no_probing == ""
    post.say(BOSS, Begin("arm", 0, 1, 0, False, prior=prior))
    belief = post.peers.robots()["arm"].robot.policy.belief
    factors = {f.name: f for f in PolicyBundle.load(SHIPPED).manifest.latent.factors}
    seat = factors["seat_x"]
    assert seat.offset + seat.scale * belief.mean[seat.index] == pytest.approx(pose.mean[0])
    assert seat.scale * belief.variance[seat.index] ** 0.5 == pytest.approx(pose.std[0])
    # And the limits of its episode are the bundle's again.
    reset = codec.decode_message(post.frames(ARM, Kind.RESET)[-1], ResetRequest)
    assert reset.limits == ()
    assert json.encode(reset) == b'{"task":0,"episode":1,"seed":0,"new_task":false}'


def test_the_request_declares_the_limits_that_hold(house):
    post = house()
    post.say(BOSS, ASK)
    reset = codec.decode_message(post.frames(ARM, Kind.RESET)[-1], ResetRequest)
    box = [limit for limit in reset.limits if limit.quantity == "workspace"]
    assert [(limit.high, limit.elements) for limit in box] == [(0.07, [0, 1]), (0.025, [2])]
    forces = [limit.high for limit in reset.limits if limit.quantity == "force"]
    assert min(forces) == REACH.force or 25.0 in forces


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"probe": ProbeSettings()}, "probe.reach is 0"),
        ({"probes": False}, "'arm' does not probe"),
        ({"shadow": True}, "mode shadow commands nothing"),
    ],
)
def test_what_cannot_probe_is_refused_by_name(house, changes, said):
    post = house(**changes)
    post.say(BOSS, ASK)
    assert said in refusal(post)
    assert said in post.peers.robots()["arm"].robot.episodes.no_probing
    assert post.frames(ARM, Kind.RESET) == []


def force(newtons, periods):
    def spoil(period, observation, cell):
        if period in periods:
            observation[WRENCH.start] += newtons
        return observation

    return spoil


def test_a_force_above_the_limit_damps_gives_up_and_retracts(house):
    cell = Cell(task(), force(30.0, range(120, 124)))
    record, found, modes = perform(house(), cell)
    assert modes.count(Mode.DAMP) == 4
    assert "force wrench is" in found.problem and "probe.force" in found.problem
    with pytest.raises(ProbeError, match=r"probe\.force"):
        seat_pose(found)
    assert cell.period < 180
    assert any("limit_broken" in text for text in record.events)


def test_a_measurement_that_is_none_gives_up(house):
    def spoil(period, observation, cell):
        return np.full_like(observation, np.nan) if period == 100 else observation

    _record, found, modes = perform(house(), Cell(task(), spoil))
    assert modes.count(Mode.HOLD) == 1
    assert "not finite" in found.problem


def test_a_stop_ends_it(house):
    def press(post, period):
        if period == 150:
            post.say(BOSS, Stop("button"))

    _record, found, modes = perform(house(), Cell(task()), press)
    assert modes[-1] is Mode.STOP
    assert found.problem == "the probing was cut off"


def test_outside_of_the_box_it_holds(house):
    def spoil(period, observation, cell):
        if period == 100:
            observation[0] = 0.08
        return observation

    _record, found, modes = perform(house(), Cell(task(), spoil))
    assert modes.count(Mode.HOLD) == 1
    assert "probe.reach" in found.problem


def test_a_robot_that_does_not_say_what_it_holds_does_not_move(house):
    post, cell = house(), Cell(task())
    post.say(BOSS, ASK)
    post.say(ARM, Ready())
    command = post.observe(ARM, payload=cell.reset().astype(np.float32), flags=Flag.FIRST)
    assert command.over and not command.payload.any()

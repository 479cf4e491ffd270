"""What keeps one robot from harm, and the others from it: guard, pace, faults, restarts."""

import threading

import msgspec
import numpy as np
import pytest

from adapt.bundle.observed_range import Seen
from adapt.bundle.policy_bundle import PolicyBundle, write_bundle
from adapt.guard import GuardSettings
from robot_bridge.protocol.messages import Begin, Flag, Kind, Mode, Outcome, Ready
from robot_bridge.safety.deadline_monitor import DeadlineSettings
from robot_bridge.session import episode_lifecycle as course
from robot_bridge.session.belief_store import BeliefStore, file_name
from tests.support import tiny_bundle
from tests.support.bridge.bridge_without_sockets import Post

ARM, LEG, NECK, BOSS = b"arm", b"leg", b"neck", b"boss"
OUTCOME = Outcome(True, 3, 0.15, "done")
SEEN = Seen(1000, [0.0] * 6, [0.1] * 6, [-1.0] * 6, [1.0] * 6)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    manifest, graphs, golden = tiny_bundle.build(hold=2)
    seen = msgspec.structs.replace(manifest, seen=SEEN)
    return write_bundle(tmp_path_factory.mktemp("bundles") / "seen", seen, graphs, golden)


@pytest.fixture
def house(bundle):
    """Makes bridges, and closes them."""
    made = []

    def make(*robots, **settings):
        post = Post(bundle, **settings)
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


# So that the observations alone decide: what is learnt from them leads the belief astray too.
FAR = 1e-200


def outside(post):
    """Steps from the middle of what training saw to far outside of it; the last command."""
    post.observe(ARM, 0.1, Flag.FIRST)
    for _ in range(4):
        assert post.observe(ARM, 5.0).mode is Mode.TRACK
    return post.observe(ARM, 5.0)


def test_a_robot_outside_acts_on_the_prior_and_people_hear_why(house):
    post = house(ARM, guard=GuardSettings(tail=FAR))
    command = outside(post)
    assert command.mode is Mode.TRACK
    assert not policy(post).adapter.trusted
    # Version 0 is the prior's; the belief goes on.
    assert command.belief_version == 0
    assert policy(post).belief.count == 5
    (event,) = post.events(BOSS, "guard_outside")
    assert "tip_position[0] is 5; training saw -1 to 1; fallback: prior" in event.text
    while not policy(post).verdict.inside:
        post.observe(ARM, 0.1)
    assert post.events(BOSS, "guard_inside")
    post.observe(ARM, 0.1)
    assert policy(post).adapter.trusted


def test_a_robot_outside_holds_where_that_is_asked_for(house):
    post = house(ARM, guard=GuardSettings(fallback="hold", tail=FAR))
    assert outside(post).mode is Mode.HOLD
    assert post.observe(ARM, 5.0).mode is Mode.HOLD
    learnt = policy(post).belief.count
    # Nothing is learnt from standing still, and there is a way back.
    modes = [post.observe(ARM, 0.1).mode for _ in range(5)]
    assert modes == [Mode.HOLD] * 4 + [Mode.TRACK]
    assert policy(post).belief.count == learnt


def test_where_nothing_is_asked_for_it_is_only_told(house):
    post = house(ARM, guard=GuardSettings(fallback="none", tail=FAR))
    assert outside(post).mode is Mode.TRACK
    assert policy(post).adapter.trusted
    assert len(post.events(BOSS, "guard_outside")) == 1


def test_a_new_task_begins_inside(house):
    post = house(ARM)
    outside(post)
    post.observe(ARM, 0.1, Flag.LAST)
    post.say(ARM, OUTCOME)
    post.peers.tend()
    post.say(BOSS, Begin("arm", 1, 0, 0, True))
    assert policy(post).adapter.trusted
    assert policy(post).verdict.inside
    assert policy(post).belief.count == 0


class Slow:
    """A clock that makes the bridge seem late."""

    def __init__(self, monkeypatch):
        self.now = 1_000_000_000
        self.step = 0
        monkeypatch.setattr("robot_bridge.server.dispatcher.time.monotonic_ns", self.read)

    def read(self):
        self.now += self.step
        return self.now


def test_a_bridge_that_cannot_keep_the_rate_says_so_and_then_stops_that_robot(house, monkeypatch):
    post = house(LEG, pace=DeadlineSettings(window=10, slipping=0.2, lost=0.5))
    post.join(ARM)
    clock = Slow(monkeypatch)
    post.observe(ARM, 0.1, Flag.FIRST)
    post.observe(LEG, 0.1, Flag.FIRST)
    clock.step = 30_000_000  # each look at the clock; half a period is 25 ms
    assert [post.observe(ARM).mode for _ in range(2)] == [Mode.TRACK] * 2
    assert len(post.events(BOSS, "rate_slipping")) == 1
    assert len(post.events(ARM, "rate_slipping")) == 1
    assert [post.observe(ARM).mode for _ in range(4)] == [Mode.TRACK] * 3 + [Mode.STOP]
    (event,) = post.events(BOSS, "rate_lost")
    assert "50%" in event.text
    assert len(post.frames(ARM, Kind.STOP)) == 1
    # Whose clock waits for the answer is never late.
    assert [post.observe(LEG).mode for _ in range(20)] == [Mode.TRACK] * 20
    assert not post.frames(LEG, Kind.STOP)


def test_an_error_of_the_runtime_holds_one_robot_and_the_others_go_on(house, monkeypatch):
    post = house(ARM, LEG)
    for address in (ARM, LEG):
        post.observe(address, 0.1, Flag.FIRST)

    def broken():
        raise RuntimeError("[ONNXRuntimeError] : 6 : out of memory")

    monkeypatch.setattr(policy(post).adapter._rows["policy"], "run", broken)
    assert [post.observe(ARM).mode for _ in range(3)] == [Mode.HOLD] * 3
    (event,) = post.events(BOSS, "policy_failed")
    assert "out of memory" in event.text
    assert post.observe(LEG).mode is Mode.TRACK
    monkeypatch.undo()
    assert post.observe(ARM).mode is Mode.TRACK


@pytest.mark.parametrize("method", ["_forbidden", "_act"])
def test_a_fault_of_our_own_costs_one_robot_a_hold(house, monkeypatch, method):
    post = house(ARM, LEG)
    for address in (ARM, LEG):
        post.observe(address, 0.1, Flag.FIRST)
    robot = post.peers.robots()["arm"].robot
    with monkeypatch.context() as patch:
        patch.setattr(robot, method, lambda *words: {}["ours"])
        assert post.observe(ARM).mode is Mode.HOLD
        assert "KeyError" in post.events(BOSS, "answer_failed")[0].text
        assert post.observe(LEG).mode is Mode.TRACK
    with monkeypatch.context() as patch:
        patch.setattr(robot.episodes, "_open", lambda: {}["ours"])
        assert post.observe(ARM, 0.1, Flag.FIRST).mode is Mode.HOLD
    assert post.observe(ARM, 0.1, Flag.FIRST).mode is Mode.TRACK


def test_an_episode_that_cannot_end_affects_no_other_robot(house, monkeypatch):
    post = house(ARM, LEG)
    for address in (ARM, LEG):
        post.observe(address, 0.1, Flag.FIRST)
        post.observe(address, 0.2, Flag.LAST)
        post.say(address, OUTCOME)
    monkeypatch.setattr(post.peers.robots()["arm"].robot.episodes, "finished", lambda: {}["ours"])
    post.peers.tend()
    assert "KeyError" in post.events(BOSS, "bridge_fault")[0].text
    assert policy(post, LEG).kept
    assert post.observe(LEG, 0.1, Flag.FIRST).mode is Mode.TRACK


def test_holds_within_an_episode_are_steps_of_its_record(house):
    post = house(ARM)
    post.say(BOSS, Begin("arm", 0, 0, 0, True))
    post.say(ARM, Ready())
    for number, value in enumerate((0.1, 0.2, np.nan, np.nan, 0.5)):
        post.observe(ARM, value, Flag.FIRST if number == 0 else Flag(0))
    robot = post.peers.robots()["arm"].robot
    assert robot.episodes.step == 5
    assert [item[0] for item in robot.episodes._episode._steps.items] == [0, 1, 4]


def hanging(adapter, go):
    """Make an adapter's observe wait as a hanging encoder does: with the memory in hand."""
    learn = adapter.observe

    def observe(transition):
        with adapter._memory_lock:
            assert go.wait(60)
        return learn(transition)

    adapter.observe = observe


def test_one_hangs_one_floods_and_the_third_notices_nothing(house, monkeypatch, request):
    monkeypatch.setattr(course, "SETTLE", 0.0)
    # A busy machine must not stop one of them for the bridge's pace.
    post = house(pace=DeadlineSettings(lost=1.0))
    for address in (ARM, LEG, NECK):
        post.join(address)
    go = threading.Event()
    request.addfinalizer(go.set)
    hanging(policy(post, LEG).adapter, go)
    for address in (ARM, LEG, NECK):
        post.observe(address, 0.1, Flag.FIRST)
    for step in range(300):
        assert post.observe(LEG, 0.1).mode is Mode.TRACK
        # Ten frames and as many repeated ones for each of the third's.
        for _ in range(10):
            post.observe(ARM, 0.1)
            post.observe(ARM, 0.1, sequence=1)
        assert post.observe(NECK, 0.001 * step).mode is Mode.TRACK
    assert policy(post, LEG).belief.count == 0
    # Told once, twice, four times, ... and not every period.
    behind = [e for e in post.events(BOSS, "adaptation_problem") if e.robot == "leg"]
    assert 1 <= len(behind) <= 8
    assert "transitions behind" in behind[0].text
    assert len(post.events(BOSS, "sequence_repeated")) < 20
    # Its episode ends, and it may leave; the bridge does not wait for its worker.
    post.observe(LEG, 0.1, Flag.LAST)
    post.say(LEG, OUTCOME)
    post.peers.tend()
    assert post.events(BOSS, "adaptation_late")
    post.ask(LEG, Kind.BYE)
    assert [one.robot for one in post.events(BOSS, "robot_left")] == ["leg"]
    # The third has learnt what it did, and what it did alone.
    post.settle(lambda: post.peers.robots()["neck"].robot.episodes.waiting == 0)
    assert policy(post, NECK).belief.count == 8
    assert not np.array_equal(policy(post, NECK).belief.mean, policy(post, ARM).belief.mean)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state"


def episode(post, address=ARM, steps=4):
    post.observe(address, 0.1, Flag.FIRST)
    for step in range(steps):
        post.observe(address, 0.1 * step)
    post.observe(address, 0.9, Flag.LAST)
    post.say(address, OUTCOME)
    post.peers.tend()


def test_beliefs_outlive_the_bridge_each_its_own_robots(house, folder):
    post = house(ARM, LEG, store=BeliefStore(folder))
    episode(post)
    episode(post, LEG, 2)
    beliefs = policy(post).belief, policy(post, LEG).belief
    post.peers.dismiss("done")
    post = house(ARM, LEG, store=BeliefStore(folder))
    for address, belief in zip((ARM, LEG), beliefs, strict=True):
        found = policy(post, address).belief
        assert (found.count, found.version) == (belief.count, belief.version)
        np.testing.assert_array_equal(found.mean, belief.mean)
    texts = [event.text for event in post.events(BOSS, "belief_restored")]
    assert [text.split(",")[0] for text in texts] == ["5 transitions", "3 transitions"]
    # A robot of another name starts from the prior.
    post.join(NECK, simulated_time=True)
    assert policy(post, NECK).belief.count == 0


def test_what_was_learnt_in_a_cut_episode_is_kept_too(house, folder):
    post = house(ARM, store=BeliefStore(folder))
    post.observe(ARM, 0.1, Flag.FIRST)
    post.observe(ARM, 0.2)
    post.peers.dismiss("done")
    post = house(ARM, store=BeliefStore(folder))
    assert policy(post).belief.count == 1
    post.observe(ARM, 0.1, Flag.FIRST)
    post.observe(ARM, 0.3)
    post.ask(ARM, Kind.BYE)
    # It left and comes back to the same bridge.
    post.join(ARM, simulated_time=True)
    assert policy(post).belief.count == 2


def test_a_damaged_belief_is_refused_and_the_robot_starts_from_the_prior(house, folder, bundle):
    post = house(ARM, store=BeliefStore(folder))
    episode(post)
    post.peers.dismiss("done")
    path = folder / file_name("arm", bundle.digest)
    path.write_bytes(path.read_bytes()[:-1])
    post = house(ARM, store=BeliefStore(folder))
    assert policy(post).belief.count == 0
    (event,) = post.events(BOSS, "belief_refused")
    assert "damaged" in event.text
    assert event.text.endswith("it starts from the prior")
    assert post.observe(ARM, 0.1, Flag.FIRST).mode is Mode.TRACK


def test_another_models_belief_stays_on_the_disk(house, folder, tmp_path):
    post = house(ARM, store=BeliefStore(folder))
    episode(post)
    post.peers.dismiss("done")
    other = Post(
        PolicyBundle.load(tiny_bundle.write(tmp_path / "other", seed=1)),
        store=BeliefStore(folder),
    )
    other.join(ARM, simulated_time=True)
    assert policy(other).belief.count == 0
    episode(other)
    other.peers.dismiss("done")
    post = house(ARM, store=BeliefStore(folder))
    assert policy(post).belief.count == 5


def test_a_disk_that_is_full_is_told_and_the_robot_goes_on(house, folder, monkeypatch):
    post = house(ARM, store=BeliefStore(folder))

    def full(path, data, mode):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("robot_bridge.session.belief_store.write_atomically", full)
    episode(post)
    post.settle(lambda: post.events(BOSS, "belief_file_problem"))
    assert post.observe(ARM, 0.1, Flag.FIRST).mode is Mode.TRACK

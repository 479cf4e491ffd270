"""A recording replays bit for bit after any sequence of events at the robot."""

import time

import msgspec
import numpy as np
import pytest

from adapt.bundle.observed_range import Seen
from adapt.bundle.policy_bundle import PolicyBundle, write_bundle
from adapt.errors import InferenceError
from adapt.guard import GuardSettings
from robot_bridge.cli.replay import replay
from robot_bridge.errors import BridgeError
from robot_bridge.protocol.messages import NO_FLAGS, Begin, Flag, Outcome
from robot_bridge.recording.writer import McapRecorder
from robot_bridge.safety.deadline_monitor import DeadlineSettings
from robot_bridge.session.robot_session import RobotSession
from robot_bridge.telemetry.observers import Taps
from tests.support import tiny_bundle, tiny_recurrent
from tests.support.bridge.bridge_without_sockets import Post

OUTCOME = Outcome(True, 3, 0.15, "done")
ARM = b"arm"


def sample(path, seed, hold=3):
    """A bundle whose rate holds commands back and whose guard has something to judge by."""
    manifest, graphs, golden = tiny_bundle.build(hold=hold, seed=seed)
    limits = [msgspec.structs.replace(manifest.limits[0], low=-0.01, high=0.01)]
    seen = Seen(1000, [0.0] * 6, [0.1] * 6, [-2.0] * 6, [2.0] * 6)
    return write_bundle(
        path, msgspec.structs.replace(manifest, seen=seen, limits=limits), graphs, golden
    )


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    return sample(folder / "one", 0), sample(folder / "other", 1)


class Life:
    """One robot before a bridge that records it."""

    def __init__(self, bundle: PolicyBundle, folder, simulated, **settings):
        self.recorder = McapRecorder(folder, bundle)
        # However late a busy machine answers, no robot is stopped for it here.
        settings.setdefault("pace", DeadlineSettings(slipping=1.0, lost=1.0))
        self.post = Post(bundle, taps=Taps([self.recorder]), **settings)
        self.post.join(ARM, simulated_time=simulated)
        self.rng = np.random.default_rng(7)

    @property
    def robot(self) -> RobotSession:
        found = self.post.peers.robots()["arm"].robot
        assert found is not None
        return found

    def observe(self, flags=NO_FLAGS, spread=1.0, **changes):
        payload = self.rng.normal(0.0, spread, 6).clip(-9, 9).astype(np.float32)
        fields = {"payload": payload, "reward": float(self.rng.normal())}
        return self.post.observe(ARM, flags=flags, **(fields | changes))

    def end(self):
        self.robot.episodes.end(OUTCOME)
        self.post.settle(lambda: not self.robot.episodes.settling)
        list(self.robot.episodes.finished())

    def episode(self, steps=12, **begin):
        if begin:
            fields = {"robot": "arm", "task": 0, "episode": 0, "seed": 3, "new_task": False}
            self.robot.episodes.begin(Begin(**(fields | begin)))
        self.observe(Flag.FIRST)
        for _ in range(steps):
            self.observe()
        self.observe(Flag.LAST)
        self.end()

    def close(self):
        """End the bridge; what became of the robot in a replay."""
        self.post.peers.dismiss("done")
        self.recorder.close()
        assert self.recorder.troubles() == []
        return self.recorder.path

    def replayed(self, bundle):
        return replay([self.close()], bundle).robots["arm"]


@pytest.fixture(params=[True, False], ids=["simulated", "real"])
def life(request, bundles, tmp_path):
    return Life(bundles[0], tmp_path, request.param)


def test_tasks_frozen_beliefs_and_beliefs_taken_back(life, bundles):
    life.episode(new_task=True)
    life.episode()
    life.episode(adapting=False)
    life.episode(task=1, new_task=True)
    number = life.robot.policy.kept[0].number
    life.observe(Flag.FIRST)
    for step in range(20):
        life.observe()
        if step == 7:
            life.post.settle(lambda: not life.robot.episodes.waiting)
            life.robot.episodes.restore(number)
        if step == 13:
            life.post.settle(lambda: not life.robot.episodes.waiting)
            life.robot.episodes.forget()
    life.observe(Flag.FIRST)  # cuts the episode before
    life.observe()
    tally = life.replayed(bundles[0])
    assert (tally.first, dict(tally.left_out)) == (None, {})
    assert (tally.episodes, tally.replayed) == (6, 4 * 13 + 21 + 2)


@pytest.mark.parametrize("head", ["gaussian", "mixture", "none"])
def test_a_recurrent_belief_and_its_phases(head, tmp_path):
    last = "state" if head == "none" else "sample"
    phases = {"explore": ("state", 1), "policy": (last, 0)}
    bundle = PolicyBundle.load(
        tiny_recurrent.write(tmp_path / "bundle", head, conditions=phases, synchronous=True)
    )
    life = Life(bundle, tmp_path, True)
    for number in range(3):
        life.episode(new_task=number == 0)
    life.episode(task=1, new_task=True)
    life.robot.episodes.restore(life.robot.policy.kept[1].number)
    life.episode()
    tally = life.replayed(bundle)
    assert (tally.first, dict(tally.left_out)) == (None, {})
    assert (tally.episodes, tally.replayed, tally.learnt) == (5, 5 * 13, 5 * 13)


def test_a_synchronous_belief_is_in_force_before_the_next_action(tmp_path):
    bundle = PolicyBundle.load(tiny_recurrent.write(tmp_path / "bundle", "none", synchronous=True))
    life = Life(bundle, tmp_path, False)
    life.observe(Flag.FIRST)
    for count in range(1, 6):
        life.observe()
        # The belief is updated within the answer, not later on a worker.
        adapter = life.robot.policy.adapter
        assert adapter.belief.count == count
        assert adapter.latent is adapter.belief.state
    life.close()


def test_another_model_in_the_middle_and_back(life, bundles):
    one, other = bundles
    life.episode()
    life.observe(Flag.FIRST)
    for step in range(20):
        if step in (5, 12):
            life.robot.episodes.adopt(other if step == 5 else one, True)
        life.observe()
    life.observe(Flag.LAST)
    life.end()
    path = life.close()
    first = replay([path], one).robots["arm"]
    second = replay([path], other).robots["arm"]
    assert (first.first, second.first) == (None, None)
    assert first.replayed + second.replayed == 13 + 21
    assert second.replayed == 7
    assert first.left_out == {f"bundle {other.digest[:12]} acted": 7}


def test_a_guard_that_falls_back_and_forth(bundles, tmp_path):
    life = Life(bundles[0], tmp_path, True, guard=GuardSettings("prior", patience=2))
    life.observe(Flag.FIRST)
    for spread in (0.1, 5.0, 0.1, 5.0):
        for _ in range(6):
            life.observe(spread=spread)
    told = [text for text in life.post.told if text.startswith("guard_")]
    assert len(told) >= 3
    tally = life.replayed(bundles[0])
    assert (tally.first, dict(tally.left_out)) == (None, {})
    assert tally.replayed == 25


def test_after_a_policy_that_failed_steps_are_left_out_until_the_next_episode(bundles, tmp_path):
    life = Life(bundles[0], tmp_path, True)
    life.observe(Flag.FIRST)
    life.observe()
    act, adapter = life.robot.policy.adapter.act, life.robot.policy.adapter

    def fail(observation, stochastic=False, checked=False):
        adapter._draw()
        raise InferenceError("not a number")

    adapter.act = fail
    life.observe()
    adapter.act = act
    life.observe()
    life.observe(Flag.LAST)
    life.end()
    life.episode(5)
    tally = life.replayed(bundles[0])
    assert tally.first is None
    assert tally.left_out == {"the policy had failed": 2}
    assert tally.replayed == 2 + 6


def test_a_state_that_could_not_be_taken_is_no_state(bundles, tmp_path, monkeypatch):
    life = Life(bundles[0], tmp_path, True)
    life.episode(3)
    with life.robot.policy.adapter._memory_lock:
        life.robot.episodes._open()
    for _ in range(3):
        life.observe()
    life.robot.episodes._over = True
    life.end()
    life.episode(3)
    assert "state_not_recorded" in life.post.told
    tally = life.replayed(bundles[0])
    assert tally.first is None
    assert tally.left_out == {"their state could not be taken": 3}
    assert tally.replayed == 8


@pytest.mark.parametrize("seed", range(6))
def test_any_life_replays(bundles, tmp_path, seed):
    one, other = bundles
    rng = np.random.default_rng(seed)
    guard = GuardSettings(("prior", "hold", "none")[seed % 3], patience=2)
    life = Life(one, tmp_path, bool(seed % 2), guard=guard, shadow=seed == 5)
    steps = {
        "observe": (60, lambda: life.observe(spread=float(rng.choice([0.3, 1.0, 4.0])))),
        "first": (4, lambda: life.observe(Flag.FIRST)),
        "last": (3, lambda: life.observe(Flag.LAST)),
        "unapplied": (2, lambda: life.observe(Flag.UNAPPLIED)),
        "end": (3, lambda: life.robot.episodes.end(OUTCOME)),
        "begin": (3, lambda: begin(bool(rng.integers(2)))),
        "noise": (2, lambda: life.observe(payload=np.full(6, np.nan, np.float32))),
        "fault": (1, lambda: life.observe(faults=4)),
        "halt": (1, lambda: life.robot.halt("a test")),
        "unhalt": (2, life.robot.unhalt),
        "tend": (5, life.post.peers.tend),
        "adopt": (1, lambda: life.robot.episodes.adopt((one, other)[rng.integers(2)], True)),
        "next": (1, lambda: life.robot.episodes.adopt((one, other)[rng.integers(2)], False)),
        "forget": (1, life.robot.episodes.forget),
        "restore": (1, lambda: life.robot.episodes.restore(life.robot.policy.kept[-1].number)),
        "pause": (1, lambda: time.sleep(0.002)),
    }

    def begin(new_task):
        life.robot.episodes.begin(Begin("arm", int(rng.integers(9)), 0, seed, new_task))

    weights = np.array([weight for weight, _ in steps.values()], float)
    names = list(steps)
    for _ in range(600):
        name = names[rng.choice(len(names), p=weights / weights.sum())]
        try:
            steps[name][1]()
        # Not now, says the bridge; then not.
        except (BridgeError, IndexError):
            continue
    path = life.close()
    assert not set(life.post.told) & {"answer_failed", "policy_failed"}
    total = 0
    for mine, its in ((one, other), (other, one)):
        try:
            tally = replay([path], mine).robots["arm"]
        except BridgeError:
            continue
        total += tally.replayed
        assert tally.first is None
        allowed = {f"bundle {its.digest[:12]} acted", "no state comes before them"}
        if seed % 2 == 0:
            allowed.add("their state could not be taken")
        assert set(tally.left_out) <= allowed
    assert total > 30

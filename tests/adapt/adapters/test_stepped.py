"""MAESN on the robot: a latent held, a bounded step, nothing learnt from what cannot be trusted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adapt.adapters.base import Transition
from adapt.adapters.registry import make_adapter
from adapt.adapters.stepped import SteppedAdapter, kl
from adapt.bundle.manifest import decode_manifest, encode_manifest
from adapt.bundle.policy_bundle import PolicyBundle
from adapt.errors import BundleError, ContextError, EpisodeError, LessonError, SnapshotError
from tests.support import tiny_maesn

EPISODES, HORIZON = 4, 6


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> PolicyBundle:
    return PolicyBundle.load(tiny_maesn.write(tmp_path_factory.mktemp("maesn") / "bundle"))


@pytest.fixture
def adapter(bundle) -> SteppedAdapter:
    made = make_adapter(bundle, 3)
    assert isinstance(made, SteppedAdapter)
    return made


def transition(reward: float = 0.0) -> Transition:
    here = np.zeros(2, np.float32)
    return Transition(here, here, reward, here)


def play(adapter: SteppedAdapter, rewards: list[float]) -> np.ndarray:
    """One episode; returns its latent."""
    adapter.begin_episode()
    latent = np.zeros(2, np.float32)
    for reward in rewards:
        latent = adapter.act(np.zeros(2, np.float32)).latent
        adapter.observe(transition(reward))
    adapter.end_episode()
    return latent


def goal_seeking(adapter: SteppedAdapter, goal: float) -> np.ndarray:
    """One episode rewarded for a latent near (goal, goal)."""
    adapter.begin_episode()
    latent = adapter.act(np.zeros(2, np.float32)).latent
    reward = float(np.exp(-np.sum((latent - goal) ** 2)))
    for _ in range(3):
        adapter.observe(transition(reward))
    adapter.end_episode()
    return latent


def same(a, b) -> bool:
    return np.array_equal(a.mean, b.mean) and np.array_equal(a.variance, b.variance)


def test_the_latent_is_held_for_the_episode_and_drawn_anew_for_the_next(adapter):
    latents = []
    for _ in range(2):
        adapter.begin_episode()
        seen = [adapter.act(np.zeros(2, np.float32)).latent for _ in range(HORIZON)]
        assert all(np.array_equal(seen[0], latent) for latent in seen)
        latents.append(seen[0])
        adapter.observe(transition())
        adapter.observe(transition())
        adapter.end_episode()
    assert not np.array_equal(*latents)


def test_the_belief_changes_between_episodes_alone_and_finds_what_is_rewarded(adapter):
    before = adapter.belief
    for step in range(12):
        for episode in range(EPISODES):
            assert adapter.belief.version == before.version + step
            assert adapter.waiting == episode
            goal_seeking(adapter, 1.0)
    assert (adapter.belief.mean > 0.3).all()
    assert adapter.belief.count == 12 * EPISODES * 3


HOSTILE = {
    "constant": ([[1.0] * 3] * EPISODES, "returned 3"),
    "zero": ([[0.0] * 3] * EPISODES, "returned 0"),
    "one step": ([[1.0], [0.0, 1.0], [0.0, 0.0], [0.0, 2.0]], "1 transitions"),
    "too long": ([[1.0] * (HORIZON + 1), [0.0] * 2, [1.0] * 2, [2.0] * 2], "step takes, 6"),
    "endless": ([[1.0] * 1000, [0.0] * 2, [1.0] * 2, [2.0] * 2], "step takes, 6"),
    "empty": ([[], [0.0] * 2, [1.0] * 2, [2.0] * 2], "0 transitions"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_episode_leaves_the_belief_and_says_why(adapter, name):
    episodes, why = HOSTILE[name]
    before = adapter.belief
    told = []
    for rewards in episodes:
        adapter.begin_episode()
        adapter.act(np.zeros(2, np.float32))
        for reward in rewards:
            adapter.observe(transition(reward))
        try:
            adapter.end_episode()
        except LessonError as error:
            told.append(str(error))
    assert any(why in text for text in told), told
    assert adapter.belief is before


@pytest.mark.parametrize("reward", [float("nan"), float("inf"), 1e39, 101.0, -1e6])
def test_one_wrong_reward_spoils_its_episode_and_no_other(adapter, reward):
    adapter.begin_episode()
    adapter.act(np.zeros(2, np.float32))
    adapter.observe(transition(1.0))
    with pytest.raises((ContextError, LessonError), match="reward is"):
        adapter.observe(transition(reward))
    adapter.observe(transition(1.0))
    with pytest.raises(LessonError, match="reward is"):
        adapter.end_episode()
    assert adapter.waiting == 0
    goal_seeking(adapter, 1.0)
    assert adapter.waiting == 1


def test_a_cut_episode_and_a_frozen_belief_teach_nothing(adapter):
    adapter.begin_episode()
    adapter.act(np.zeros(2, np.float32))
    adapter.observe(transition(1.0))
    adapter.observe(transition(1.0))
    with pytest.raises(LessonError, match="cut"):
        adapter.end_episode(complete=False)
    adapter.adapting = False
    for _ in range(EPISODES):
        goal_seeking(adapter, 1.0)
    assert adapter.waiting == 0 and adapter.belief.version == 0


def test_the_first_and_the_last_reward_alone_make_other_steps(tmp_path):
    bundle = PolicyBundle.load(tiny_maesn.write(tmp_path / "b", counted="last"))
    adapter = make_adapter(bundle, 3)
    assert isinstance(adapter, SteppedAdapter)
    for rewards in ([9.0, 1.0], [5.0, 1.0], [1.0, 1.0], [3.0, 1.0]):
        adapter.begin_episode()
        adapter.act(np.zeros(2, np.float32))
        for reward in rewards:
            adapter.observe(transition(reward))
        if adapter.belief.version == 0 and adapter.waiting == EPISODES - 1:
            with pytest.raises(LessonError, match="returned 1"):
                adapter.end_episode()
        else:
            adapter.end_episode()


@pytest.mark.parametrize(
    ("bounds", "held"), [({"max_kl": 0.01}, "kl"), ({"max_norm": 0.1}, "norm")]
)
def test_a_step_is_bounded(tmp_path, bounds, held):
    bundle = PolicyBundle.load(tiny_maesn.write(tmp_path / "b", step_size=50.0, **bounds))
    adapter = make_adapter(bundle, 3)
    assert isinstance(adapter, SteppedAdapter)
    for _ in range(3):
        before = adapter.belief
        for _ in range(EPISODES):
            goal_seeking(adapter, 1.0)
        after = adapter.belief
        assert after.version == before.version + 1
        log_stds = (0.5 * np.log(b.variance) for b in (after, before))
        distance = kl(after.mean, next(log_stds), before.mean, next(log_stds))
        if held == "kl":
            assert 0.0 < distance <= 0.01 * (1 + 1e-9)
        else:
            assert np.linalg.norm(after.mean) <= 0.1 * (1 + 1e-9)
        std = np.sqrt(after.variance)
        assert (np.exp(-3.0) * (1 - 1e-9) <= std).all() and (std <= np.exp(0.5) * (1 + 1e-9)).all()


def test_every_belief_can_be_returned_to(adapter):
    beliefs = {0: adapter.belief}
    for _ in range(3):
        for _ in range(EPISODES):
            goal_seeking(adapter, 1.0)
        beliefs[adapter.belief.version] = adapter.belief
    assert adapter.belief.version == 3
    goal_seeking(adapter, 1.0)
    for version in (1, 0, 3):
        newest = adapter.belief.version
        back = adapter.rollback(version)
        assert same(back, beliefs[version]) and back.version == newest + 1
        assert adapter.waiting == 0
    with pytest.raises(LessonError, match="no belief of version 99"):
        adapter.rollback(99)
    assert adapter.belief is back
    adapter.reset()
    assert same(adapter.belief, beliefs[0])
    with pytest.raises(LessonError, match=f"there are {adapter.belief.version}$"):
        adapter.rollback(beliefs[0].version - 1)


def test_an_episode_drawn_before_a_rollback_is_not_learnt_from(adapter):
    for _ in range(EPISODES):
        goal_seeking(adapter, 1.0)
    adapter.begin_episode()
    adapter.act(np.zeros(2, np.float32))
    adapter.observe(transition(1.0))
    adapter.observe(transition(1.0))
    adapter.rollback(0)
    with pytest.raises(LessonError, match="not drawn from the belief in force"):
        adapter.conclude()


def test_a_snapshot_within_an_episode_goes_on_as_if_nothing_had_happened(bundle, adapter):
    for _ in range(EPISODES + 2):
        goal_seeking(adapter, 1.0)
    adapter.begin_episode()
    adapter.act(np.zeros(2, np.float32))
    adapter.observe(transition(0.5))
    data = adapter.snapshot()
    other = make_adapter(bundle, 99)
    assert isinstance(other, SteppedAdapter)
    other.restore(data)

    def go_on(one: SteppedAdapter) -> tuple[np.ndarray, np.ndarray]:
        action = one.act(np.zeros(2, np.float32))
        one.observe(transition(0.25))
        one.end_episode()
        latent = goal_seeking(one, 1.0)
        return np.concatenate([action.normalised, latent]), one.belief.mean

    for a, b in zip(go_on(adapter), go_on(other), strict=True):
        assert np.array_equal(a, b)
    assert adapter.belief.version == other.belief.version == 2


def test_a_damaged_memory_restores_nothing(bundle, adapter):
    goal_seeking(adapter, 1.0)
    before = adapter.belief
    data = bytearray(adapter.snapshot())
    data[len(data) // 2] ^= 1
    with pytest.raises(SnapshotError):
        adapter.restore(bytes(data))
    assert adapter.belief is before and adapter.waiting == 1
    with pytest.raises(SnapshotError, match="not a memory of episodes"):
        adapter._recall(b"\xc1", 7)


def test_calls_out_of_order_say_so(adapter):
    with pytest.raises(EpisodeError, match="begin_episode"):
        adapter.observe(transition())
    with pytest.raises(EpisodeError, match="begin_episode"):
        adapter.conclude()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"step_sizes": [1.0]}, "step_sizes has 1 numbers; expected 4"),
        ({"log_std_low": 0.1}, "on either side of 0"),
    ],
)
def test_a_manifest_whose_step_does_not_fit_is_refused(bundle, change, why):
    import msgspec

    changed = msgspec.structs.replace(bundle.manifest.algorithm, **change)
    broken = msgspec.structs.replace(bundle.manifest, algorithm=changed)
    with pytest.raises(BundleError, match=why):
        decode_manifest(encode_manifest(broken), "here")


def test_the_bundle_says_what_it_is(bundle, tmp_path: Path):
    assert bundle.manifest.algorithm.kind == "stepped"
    assert set(bundle.graphs) == {"policy", "latent_step"}

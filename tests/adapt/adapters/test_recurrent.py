"""A recurrent belief on the robot is the network's, step for step, and survives every snapshot."""

import msgspec
import numpy as np
import pytest

from adapt.adapters.base import Action, Transition
from adapt.adapters.batch import Batch
from adapt.adapters.recurrent import RecurrentAdapter
from adapt.adapters.registry import make_adapter
from adapt.adapters.snapshot import seal, unseal
from adapt.belief.mixture import MixtureBelief
from adapt.bundle import policy_bundle
from adapt.bundle.manifest import Condition, decode_manifest, encode_manifest
from adapt.bundle.policy_bundle import PolicyBundle, write_bundle
from adapt.errors import BeliefError, BundleError, ContextError, SnapshotError
from adapt.guard import Guard
from tests.support import tiny_recurrent
from tests.support.tiny_recurrent import INITIAL, N_A, N_O, N_S, N_Z, Head, K

HEADS = ["gaussian", "mixture", "none"]
EXPLORE: dict[str, tuple[Condition, int]] = {"explore": ("state", 2), "policy": ("statistics", 0)}


def load(path, head: Head = "gaussian", **options):
    return PolicyBundle.load(tiny_recurrent.write(path, head, **options))


def play(adapter, rng, periods=7):
    """One episode; each transition with the action that was taken."""
    adapter.begin_episode()
    for _ in range(periods):
        seen, following = rng.normal(size=(2, N_O)).astype(np.float32)
        action = adapter.act(seen)
        transition = Transition(seen, action.normalised, float(rng.normal()), following)
        yield action, transition, adapter.observe(transition)
    adapter.end_episode()


def row(transition):
    parts = (transition.observation, transition.action, [transition.reward])
    return np.concatenate([*parts, transition.next_observation]).astype(np.float32)[None]


@pytest.mark.parametrize("head", HEADS)
def test_in_closed_loop_beliefs_and_actions_are_those_of_the_network(tmp_path, head):
    manifest, graphs, golden, network, weights = tiny_recurrent.build(head)
    adapter = make_adapter(write_bundle(tmp_path / "b", manifest, graphs, golden), 3)
    rng = np.random.default_rng(0)
    state, count = np.array([INITIAL], np.float32), 0
    for _ in range(3):
        # The state outlives episodes.
        for action, transition, belief in play(adapter, rng):
            fed = action.latent
            if head == "none":
                np.testing.assert_allclose(fed, state[0], atol=1e-6)
            asked = np.concatenate([transition.observation, fed]) @ weights["policy"]
            np.testing.assert_allclose(action.normalised, np.tanh(asked), atol=1e-5)
            found = network.step(state, row(transition))
            state, count = found["new_state"], count + 1
            np.testing.assert_allclose(belief.state, state[0], atol=1e-5)
            assert (belief.count, belief.version) == (count, count)
            if head == "gaussian":
                np.testing.assert_allclose(belief.mean, found["mean"][0], atol=1e-5)
                np.testing.assert_allclose(belief.variance, found["variance"][0], atol=1e-5)
            if head == "mixture":
                assert isinstance(belief, MixtureBelief)
                np.testing.assert_allclose(belief.weights, found["weight"][0], atol=1e-5)
                means = found["mean"][0].reshape(K, N_Z)
                np.testing.assert_allclose(belief.means, means, atol=1e-5)
                roots = found["cholesky"][0].reshape(K, N_Z, N_Z)
                np.testing.assert_allclose(belief.roots, roots, atol=1e-5)
    adapter.reset()
    assert adapter.belief.state.tolist() == INITIAL and adapter.belief.count == 0


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("at", [0, 4])
def test_a_snapshot_goes_on_to_the_last_bit(tmp_path, head, at):
    bundle = load(tmp_path / "b", head)
    adapter, other = make_adapter(bundle, 5), make_adapter(bundle, 99)
    for number, _ in enumerate(play(adapter, np.random.default_rng(1))):
        if number == at:
            break
    other.restore(adapter.snapshot())
    rng = np.random.default_rng(2)
    for _ in range(5):
        seen, following = rng.normal(size=(2, N_O)).astype(np.float32)
        one, two = adapter.act(seen), other.act(seen)
        assert one.normalised.tobytes() == two.normalised.tobytes()
        beliefs = [
            a.observe(Transition(seen, one.normalised, 0.5, following)) for a in (adapter, other)
        ]
        for name in ("state", "mean", "variance"):
            a, b = (getattr(belief, name) for belief in beliefs)
            assert a.tobytes() == b.tobytes()


def test_the_memory_of_a_prior_is_a_prior(tmp_path):
    bundle = load(tmp_path / "b", "mixture")
    adapter = make_adapter(bundle, 0)
    prior = adapter.snapshot()
    list(play(adapter, np.random.default_rng(0)))
    belief = adapter.restore_belief(prior)
    assert belief.count == 0 and belief.state.tolist() == INITIAL
    assert belief.mean.tolist() == [0.0] * N_Z and belief.variance.tolist() == [1.0] * N_Z


def test_a_memory_that_does_not_fit_is_refused_with_nothing_changed(tmp_path):
    bundle = load(tmp_path / "b")
    adapter = make_adapter(bundle, 0)
    list(play(adapter, np.random.default_rng(0)))
    before, state = adapter.belief, unseal(adapter.snapshot(), bundle.digest)
    good = msgspec.msgpack.decode(state.memory)
    nan = np.full(N_S, np.nan, "<f4").tobytes()
    for change in ({"state": good["state"][:-4]}, {"state": nan}, {"head": b""}, {"count": 0}):
        memory = msgspec.msgpack.encode({**good, **change})
        with pytest.raises(SnapshotError):
            adapter.restore(seal(msgspec.structs.replace(state, memory=memory)))
        assert adapter.belief is before


def test_a_bad_transition_and_a_bad_answer_leave_the_belief(tmp_path, monkeypatch):
    adapter = RecurrentAdapter(load(tmp_path / "b"), 0)
    list(play(adapter, np.random.default_rng(0)))
    before, zeros = adapter.belief, np.zeros(N_O, np.float32)
    with pytest.raises(ContextError, match="reward is nan"):
        adapter.observe(Transition(zeros, np.zeros(N_A, np.float32), float("nan"), zeros))
    for name, value in (("new_state", np.nan), ("variance", -1.0)):
        monkeypatch.setattr(
            adapter._step, "run", lambda n=name, v=value: adapter._step.outputs[n].fill(v)
        )
        with pytest.raises(BeliefError, match="belief_step answers"):
            adapter.observe(Transition(zeros, np.zeros(N_A, np.float32), 0.0, zeros))
        assert adapter.belief is before
        adapter._step.outputs["new_state"].fill(0.0)


def test_a_frozen_belief_stays(tmp_path):
    adapter = make_adapter(load(tmp_path / "b"), 0)
    adapter.adapting = False
    before = adapter.belief
    assert all(belief is before for _, _, belief in play(adapter, np.random.default_rng(0)))


def test_the_guard_judges_mean_and_variance(tmp_path):
    bundle = load(tmp_path / "b")
    guard, belief = Guard(bundle.manifest), make_adapter(bundle, 0).belief
    assert guard.belief(belief).inside
    away = msgspec.structs.replace(belief, mean=np.array([9.0, 0.0]), version=1)
    assert "9 prior standard deviations" in guard.belief(away).reason
    wide = msgspec.structs.replace(belief, variance=np.array([101.0, 1.0]), version=2)
    assert not guard.belief(wide).inside


def test_each_phase_has_its_policy_and_its_condition(tmp_path):
    manifest, graphs, golden, _, weights = tiny_recurrent.build(conditions=EXPLORE)
    bundle = write_bundle(tmp_path / "b", manifest, graphs, golden)
    adapter, rng = make_adapter(bundle, 0), np.random.default_rng(0)
    acted = []
    for _ in range(2):
        for action, transition, belief in play(adapter, rng, 3):
            acted.append(adapter.policy)
            asked = np.concatenate([transition.observation, action.latent])
            expected = np.tanh(asked @ weights[adapter.policy])
            np.testing.assert_allclose(action.normalised, expected, atol=1e-5)
            last = belief
    # An episode that was cut does not count: the next one explores again.
    adapter.reset()
    for complete, policy in [(True, "explore"), (False, "explore"), (True, "explore")]:
        adapter.begin_episode()
        assert adapter.policy == policy
        adapter.end_episode(complete)
    adapter.begin_episode()
    assert adapter.policy == "policy"
    fed = adapter.act(np.zeros(N_O, np.float32)).latent
    prior = adapter.belief
    assert fed.tolist() == [*prior.mean, *np.log(prior.variance)]
    assert acted == ["explore"] * 6 and last.count == 6


def test_robots_in_different_phases_share_their_runs(tmp_path):
    bundle = load(tmp_path / "b", conditions=EXPLORE)
    together, alone = ([make_adapter(bundle, seed) for seed in range(4)] for _ in range(2))
    for robots in (together, alone):
        for seed, adapter in enumerate(robots):
            for _ in range(seed):
                list(play(adapter, np.random.default_rng(seed), 2))
            adapter.begin_episode()
    seen = np.random.default_rng(9).normal(size=(4, N_O)).astype(np.float32)
    found = Batch(bundle).act(list(zip(together, seen, strict=True)))
    for answer, adapter, observation in zip(found, alone, seen, strict=True):
        assert isinstance(answer, Action)
        expected = adapter.act(observation)
        np.testing.assert_allclose(answer.normalised, expected.normalised, atol=1e-6)
        assert answer.latent.tobytes() == expected.latent.tobytes()


def test_a_snapshot_remembers_the_phase(tmp_path):
    bundle = load(tmp_path / "b", conditions=EXPLORE)
    adapter, other = make_adapter(bundle, 0), make_adapter(bundle, 1)
    rng = np.random.default_rng(0)
    for number in range(4):
        list(play(adapter, rng, 2))
        other.restore(adapter.snapshot())
        for each in (adapter, other):
            each.begin_episode()
        expected = "explore" if number < 1 else "policy"
        assert adapter.policy == other.policy == expected
        assert adapter.act(np.zeros(N_O, np.float32)).latent.tobytes() == (
            other.act(np.zeros(N_O, np.float32)).latent.tobytes()
        )
        for each in (adapter, other):
            each.end_episode(complete=False)
    # A belief that is taken back brings the exploration behind it.
    third = make_adapter(bundle, 2)
    third.restore_belief(adapter.snapshot())
    third.begin_episode()
    assert third.policy == "policy"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"head": "none"}, "'none' and latent.size 2"),
        ({"head": "mixture"}, "components is 0 for the head 'mixture'"),
        ({"components": 2}, "components is 2 for the head 'gaussian'"),
        ({"initial_state": []}, "initial_state"),
    ],
)
def test_a_block_that_contradicts_itself_is_refused(changes, why):
    manifest = tiny_recurrent.build()[0]
    block = msgspec.structs.replace(manifest.algorithm, **changes)
    manifest = msgspec.structs.replace(manifest, algorithm=block)
    with pytest.raises(BundleError, match=why):
        decode_manifest(encode_manifest(manifest), "here")


def test_a_synchronous_belief_that_is_slow_is_refused(tmp_path, monkeypatch):
    path = tiny_recurrent.write(tmp_path / "b", synchronous=True)
    monkeypatch.setattr(policy_bundle, "PROMPT", 1e-9)
    with pytest.raises(BundleError, match=r"synchronous, and one row of belief_step\.onnx takes"):
        PolicyBundle.load(path)

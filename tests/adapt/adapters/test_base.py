"""What a robot may rely on: order of calls, refusals that change nothing, repeatability."""

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

import adapt
from adapt.adapters.base import Transition
from adapt.adapters.fixed import FixedAdapter
from adapt.adapters.gaussian import GaussianAdapter
from adapt.adapters.registry import make_adapter
from adapt.bundle.policy_bundle import PolicyBundle, write_bundle
from adapt.errors import (
    ContextError,
    EpisodeError,
    InferenceError,
    SnapshotError,
)
from tests.support import tiny_bundle
from tests.support.tiny_play import (
    CAPACITY,
    N_A,
    N_O,
    assert_same_action,
    observation,
    play,
    state,
    transitions,
)


@pytest.fixture(scope="module")
def pearl(tmp_path_factory: pytest.TempPathFactory) -> PolicyBundle:
    folder = tmp_path_factory.mktemp("pearl") / "bundle"
    return PolicyBundle.load(tiny_bundle.write(folder, capacity=CAPACITY))


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> PolicyBundle:
    folder = tmp_path_factory.mktemp("held") / "bundle"
    return PolicyBundle.load(tiny_bundle.write(folder, hold=3))


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> PolicyBundle:
    folder = tmp_path_factory.mktemp("fixed") / "bundle"
    return PolicyBundle.load(tiny_bundle.write(folder, algorithm="none"))


def test_the_bundle_chooses_the_adapter(pearl: PolicyBundle, fixed: PolicyBundle) -> None:
    assert isinstance(make_adapter(pearl, 0), GaussianAdapter)
    assert isinstance(make_adapter(fixed, 0), FixedAdapter)


def test_an_action_is_the_policy_squashed_and_scaled(pearl: PolicyBundle) -> None:
    adapter = make_adapter(pearl, 0)
    adapter.begin_episode()
    action = adapter.act(observation())
    mean = pearl.policy.run(observation=observation()[None], latent=action.latent[None])["mean"]
    np.testing.assert_allclose(action.normalised, np.tanh(mean[0]), atol=1e-6)
    np.testing.assert_allclose(action.physical, action.normalised * [1e-3, 1e-3, 0.02], rtol=1e-6)
    assert action.normalised.dtype == action.physical.dtype == np.float32


def test_physical_actions_never_pass_their_bounds(pearl: PolicyBundle) -> None:
    adapter = make_adapter(pearl, 0)
    adapter.begin_episode()
    for sign in (-1, 1):
        action = adapter.act(observation(sign * 1e6))
        assert np.abs(action.normalised).max() == 1.0
        for value, bound in zip(action.physical, (1e-3, 1e-3, 0.02), strict=True):
            assert abs(float(value)) <= bound


def test_clip_squashes_by_clipping(tmp_path: Path) -> None:
    manifest, graphs, golden = tiny_bundle.build()
    manifest = msgspec.structs.replace(manifest, squash="clip")
    adapter = make_adapter(write_bundle(tmp_path / "clip", manifest, graphs, golden), 0)
    adapter.begin_episode()
    action = adapter.act(observation(0.3))
    run = adapter.bundle.policy.run(observation=observation(0.3)[None], latent=action.latent[None])
    np.testing.assert_allclose(action.normalised, np.clip(run["mean"][0], -1, 1), atol=1e-6)


def test_an_action_is_not_overwritten_by_the_next(pearl: PolicyBundle) -> None:
    adapter = make_adapter(pearl, 0)
    adapter.begin_episode()
    first = adapter.act(observation(0.1))
    kept = first.normalised.copy(), first.physical.copy(), first.latent.copy()
    adapter.act(observation(-0.4))
    adapter.observe(transitions(1)[0])
    adapter.end_episode()
    adapter.begin_episode()
    adapter.act(observation(0.9))
    for now, then in zip((first.normalised, first.physical, first.latent), kept, strict=True):
        assert now.tolist() == then.tolist()


def test_calls_out_of_order_are_errors(pearl: PolicyBundle) -> None:
    adapter = make_adapter(pearl, 0)
    for call in (lambda: adapter.act(observation()), adapter.end_episode):
        with pytest.raises(EpisodeError, match="begin_episode comes first"):
            call()
    adapter.begin_episode()
    with pytest.raises(EpisodeError, match="within an episode"):
        adapter.begin_episode()
    adapter.end_episode()
    with pytest.raises(EpisodeError):
        adapter.act(observation())


def test_a_fixed_policy_answers_and_never_learns(fixed: PolicyBundle) -> None:
    adapter = make_adapter(fixed, 0)
    adapter.begin_episode()
    first = adapter.act(observation())
    assert first.latent.shape == (0,)
    for transition in transitions(3):
        belief = adapter.observe(transition)
        assert (belief.mean.shape, belief.count, belief.version) == ((0,), 0, 0)
    assert_same_action(adapter.act(observation()), first)
    with pytest.raises(ContextError):
        adapter.observe(
            Transition(observation(np.nan), np.zeros(N_A, np.float32), 0, observation())
        )
    data = adapter.snapshot()
    adapter.reset()
    adapter.restore(data)
    assert_same_action(adapter.act(observation()), first)


def _bad(index: int, value: float) -> np.ndarray:
    array = observation()
    array[index] = value
    return array


OBSERVATION_FAULTS = {
    "short": (observation()[:-1], r"shape \(5,\); expected \(6,\): tip_position \(3,\), wrench"),
    "batch": (observation()[None], r"shape \(1, 6\)"),
    "nan": (_bad(1, np.nan), r"tip_position\[1\] is nan"),
    "infinite": (_bad(5, -np.inf), r"wrench\[2\] is -inf"),
    "beyond float32": (np.array([0, 0, 1e300, 0, 0, 0]), r"\[2\] is inf"),
    "integers": (np.ones(N_O, np.int64), "is int64; expected an array of float32"),
    "text": (np.array(["1"] * N_O), "expected an array of float32"),
    "list": ([0.0] * N_O, "is list; expected an array of float32"),
}


def test_an_observation_that_was_checked_before_is_answered_alike(held: PolicyBundle) -> None:
    one, other = make_adapter(held, 0), make_adapter(held, 0)
    for adapter in (one, other):
        adapter.begin_episode()
    for _ in range(5):
        before, after = one.act(observation()), other.act(observation(), checked=True)
        assert before.physical.tobytes() == after.physical.tobytes()
        assert before.latent.tobytes() == after.latent.tobytes()


@pytest.mark.parametrize("fault", OBSERVATION_FAULTS)
def test_a_faulty_observation_is_named_and_changes_nothing(held: PolicyBundle, fault: str) -> None:
    value, message = OBSERVATION_FAULTS[fault]
    adapter = make_adapter(held, 0)
    adapter.begin_episode()
    good = transitions(1)[0]
    # At the end of a hold, where an answer would draw a new latent.
    for _ in range(3):
        adapter.act(observation())
    adapter.observe(good)
    before = state(adapter)
    with pytest.raises(ContextError, match=f"^observation.*{message}"):
        adapter.act(value)
    with pytest.raises(ContextError, match=message):
        adapter.observe(Transition(value, good.action, 0.0, good.next_observation))
    with pytest.raises(ContextError, match=r"^next observation"):
        adapter.observe(Transition(good.observation, good.action, 0.0, value))
    assert state(adapter) == before


@pytest.mark.parametrize(
    ("action", "reward", "message"),
    [
        (np.zeros(2, np.float32), 0.0, r"action has shape \(2,\)"),
        (np.array([0, 0, np.nan], np.float32), 0.0, r"action yaw\[0\] is nan"),
        (np.array([0, -1.01, 0], np.float32), 0.0, r"translation\[1\] is -1\.0.* normalised"),
        (np.zeros(3, np.float32), np.nan, "reward is nan"),
        (np.zeros(3, np.float32), -np.inf, "reward is -inf"),
        (np.zeros(3, np.float32), 1e39, "reward is 1e"),
    ],
)
def test_a_faulty_transition_is_named_and_changes_nothing(
    pearl: PolicyBundle, action: np.ndarray, reward: float, message: str
) -> None:
    adapter = make_adapter(pearl, 0)
    for transition in transitions(CAPACITY + 1):
        adapter.observe(transition)
    before = state(adapter)
    with pytest.raises(ContextError, match=message):
        adapter.observe(Transition(observation(), action, reward, observation()))
    assert state(adapter) == before


def test_a_policy_that_overflows_is_an_error(pearl: PolicyBundle) -> None:
    adapter = make_adapter(pearl, 0)
    adapter.begin_episode()
    with pytest.raises(InferenceError, match="policy answers"):
        adapter.act(observation(float(np.finfo(np.float32).max)))


@pytest.mark.parametrize("stochastic", [False, True])
def test_the_seed_decides_everything(held: PolicyBundle, stochastic: bool) -> None:
    once, again, other = (play(make_adapter(held, seed), stochastic) for seed in (3, 3, 4))
    assert once == again
    assert once != other


def test_stochastic_actions_spread_as_the_policy_says(pearl: PolicyBundle) -> None:
    adapter = make_adapter(pearl, 0)
    adapter.begin_episode()
    likely = adapter.act(observation())
    run = pearl.policy.run(observation=observation()[None], latent=likely.latent[None])
    samples = np.array(
        [np.arctanh(adapter.act(observation(), stochastic=True).normalised) for _ in range(4000)]
    )
    assert np.isfinite(samples).all()
    np.testing.assert_allclose(samples.mean(axis=0), run["mean"][0], atol=0.15)
    np.testing.assert_allclose(samples.std(axis=0), np.exp(run["log_std"][0]), rtol=0.1)


def test_two_adapters_share_a_bundle_and_nothing_else(pearl: PolicyBundle) -> None:
    alone = play(make_adapter(pearl, 1))
    one, two = make_adapter(pearl, 1), make_adapter(pearl, 2)
    out = []
    for episode in range(3):
        one.begin_episode()
        two.begin_episode()
        for transition in transitions(10, seed=episode):
            action = one.act(transition.observation)
            two.act(observation(-0.9))
            belief = one.observe(transition)
            two.observe(transitions(1, seed=99)[0])
            out += [action.normalised.tobytes(), action.latent.tobytes(), belief.mean.tobytes()]
        one.end_episode()
        two.end_episode()
    assert out == alone


def test_the_runtime_loads_no_training_framework(tmp_path: Path) -> None:
    """A whole episode in a process of its own: what a robot must have installed, and no more."""
    folder = tiny_bundle.write(tmp_path / "bundle")
    program = f"""
import importlib, pkgutil, sys
import numpy as np
import adapt
for module in pkgutil.walk_packages(adapt.__path__, "adapt."):
    importlib.import_module(module.name)
from adapt.adapters.base import Transition
from adapt.adapters.registry import make_adapter
from adapt.bundle.policy_bundle import PolicyBundle
adapter = make_adapter(PolicyBundle.load({str(folder)!r}), 0)
adapter.begin_episode()
observation = np.zeros({N_O}, np.float32)
action = adapter.act(observation)
adapter.observe(Transition(observation, action.normalised, 0.0, observation))
adapter.restore(adapter.snapshot())
names = ("torch", "mujoco", "dm_control", "gymnasium", "onnx", "scipy", "zmq", "sim", "policies")
print([name for name in names if name in sys.modules])
"""
    root = Path(adapt.__file__).parents[1]
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=False
    )
    assert found.stderr == ""
    assert found.stdout.strip() == "[]"


def test_without_trust_latents_come_from_the_prior_and_learning_goes_on(held: PolicyBundle) -> None:
    adapter, other = make_adapter(held, 5), make_adapter(held, 5)
    for one in (adapter, other):
        one.begin_episode()
        for transition in transitions(6):
            one.observe(transition)
    adapter.trust(False)
    assert not adapter.trusted
    # At once, and as a fresh adapter would draw it, whose belief is the prior.
    other.reset()
    other.begin_episode()
    np.testing.assert_array_equal(adapter.latent, other.latent)
    assert adapter.latent_version == 0
    assert adapter.belief.count == 6
    before = adapter.latent
    adapter.trust(True)
    assert adapter.latent_version == adapter.belief.version
    assert not np.array_equal(adapter.latent, before)
    before = adapter.latent
    adapter.trust(True)
    assert adapter.latent is before


def test_a_snapshot_without_trust_goes_on_from_the_prior(held: PolicyBundle) -> None:
    adapter = make_adapter(held, 5)
    adapter.begin_episode()
    for transition in transitions(3):
        adapter.observe(transition)
    adapter.trust(False)
    data = adapter.snapshot()
    other = make_adapter(held, 8)
    other.restore(data)
    for step in range(7):
        one, same = adapter.act(observation(0.1 * step)), other.act(observation(0.1 * step))
        assert_same_action(one, same)
        assert one.belief_version == same.belief_version


def test_a_belief_is_restored_without_the_rest(held: PolicyBundle) -> None:
    adapter = make_adapter(held, 5)
    adapter.begin_episode()
    for transition in transitions(2):
        adapter.observe(transition)
    data, kept = adapter.snapshot(), adapter.belief
    for transition in transitions(6):
        adapter.observe(transition)
    adapter.act(observation())
    version, latent = adapter.belief.version, adapter.latent
    belief = adapter.restore_belief(data)
    assert (belief.count, belief.version) == (kept.count, version + 1)
    np.testing.assert_array_equal(belief.mean, kept.mean)
    # The episode goes on, and no action more is taken on what was rolled back.
    assert adapter.latent_version == belief.version
    assert not np.array_equal(adapter.latent, latent)
    adapter.act(observation())
    adapter.end_episode()


def test_a_belief_that_cannot_be_restored_changes_nothing(
    held: PolicyBundle, pearl: PolicyBundle
) -> None:
    adapter = make_adapter(held, 5)
    adapter.begin_episode()
    belief, latent = adapter.belief, adapter.latent
    foreign = make_adapter(pearl, 0).snapshot()
    for data in (b"", adapter.snapshot()[:-1], foreign):
        with pytest.raises(SnapshotError):
            adapter.restore_belief(data)
    assert adapter.belief is belief
    assert adapter.latent is latent


def test_an_observe_that_hangs_holds_up_no_snapshot(held: PolicyBundle) -> None:
    adapter = make_adapter(held, 5)
    data = adapter.snapshot()
    # As a worker inside an encoder does.
    with adapter._memory_lock:
        for call in (adapter.snapshot, lambda: adapter.restore_belief(data)):
            with pytest.raises(SnapshotError, match="under way"):
                call()
    assert adapter.restore_belief(data).count == 0

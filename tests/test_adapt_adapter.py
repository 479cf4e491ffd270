"""What a robot may rely on: the order of calls, refusals that change nothing, and repeatability."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tiny_bundle
from onnx import helper

import adapt
from adapt.adapter import Action, Adapter, Transition, make_adapter
from adapt.belief import Belief
from adapt.bundle import PolicyBundle, write_bundle
from adapt.errors import (
    BeliefError,
    ContextError,
    EpisodeError,
    InferenceError,
    SnapshotError,
)
from adapt.fixed import FixedAdapter
from adapt.pearl import PearlAdapter

N_O, N_A, N_Z, CAPACITY = 6, 3, 2, 8


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


def transitions(count: int, seed: int = 0) -> list[Transition]:
    rng = np.random.default_rng(seed)

    def draw(size: int) -> np.ndarray:
        return rng.uniform(-1, 1, size).astype(np.float32)

    return [Transition(draw(N_O), draw(N_A), float(rng.normal()), draw(N_O)) for _ in range(count)]


def features(transition: Transition) -> np.ndarray:
    reward = np.array([transition.reward], np.float32)
    parts = (transition.observation, transition.action, reward, transition.next_observation)
    return np.concatenate(parts)


def observation(value: float = 0.5) -> np.ndarray:
    return np.full(N_O, value, np.float32)


def state(adapter: Adapter) -> bytes:
    """Everything the adapter knows, for `nothing changed`."""
    return adapter.snapshot()


def assert_same_action(one: Action, other: Action) -> None:
    for name in ("normalised", "physical", "latent"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()


def test_the_bundle_chooses_the_adapter(pearl: PolicyBundle, fixed: PolicyBundle) -> None:
    assert isinstance(make_adapter(pearl, 0), PearlAdapter)
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


def test_belief_is_the_product_over_the_context(pearl: PolicyBundle) -> None:
    """Against the encoder in one batch: the last CAPACITY transitions and the prior, no more."""
    adapter = PearlAdapter(pearl, 0)
    seen = transitions(CAPACITY * 2 + 3)
    for n, transition in enumerate(seen, start=1):
        belief = adapter.observe(transition)
        rows = np.array([features(t) for t in seen[max(0, n - CAPACITY) : n]])
        factor = pearl.encoder.run(transition=rows)
        precision = 1.0 + (1.0 / factor["variance"].astype(np.float64)).sum(axis=0)
        mean = (factor["mean"].astype(np.float64) / factor["variance"]).sum(axis=0) / precision
        np.testing.assert_allclose(belief.mean, mean, atol=1e-5)
        np.testing.assert_allclose(belief.variance, 1 / precision, atol=1e-5)
        assert adapter.context.tolist() == rows.tolist()
        assert (belief.count, belief.version) == (len(rows), n)
        assert adapter.belief is belief


@pytest.mark.parametrize(("reward", "following"), [(False, False), (True, False), (False, True)])
def test_context_features_are_those_the_bundle_names(
    tmp_path: Path, reward: bool, following: bool
) -> None:
    # Graphs for a context of a given width come from a bundle that has that width by other means.
    width = N_O + N_A + int(reward) + N_O * int(following)
    manifest, graphs, golden = tiny_bundle.build()
    spec = msgspec.structs.replace(manifest.context, reward=reward, next_observation=following)
    manifest = msgspec.structs.replace(manifest, context=spec)
    nodes = [
        helper.make_node("MatMul", ["transition", "pick"], ["mean"]),
        helper.make_node("Exp", ["mean"], ["variance"]),
    ]
    pick = np.zeros((width, N_Z), np.float32)
    pick[0, 0] = pick[-1, 1] = 1.0
    outputs = {"mean": N_Z, "variance": N_Z}
    graphs["encoder"] = tiny_bundle.model(
        "encoder", nodes, {"transition": width}, outputs, {"pick": pick}
    )
    rows = np.linspace(-1, 1, 2 * width, dtype=np.float32).reshape(2, width)
    golden |= {
        "encoder/transition": rows,
        "encoder/mean": rows @ pick,
        "encoder/variance": np.exp(rows @ pick),
    }
    adapter = PearlAdapter(write_bundle(tmp_path / "bundle", manifest, graphs, golden), 0)
    transition = transitions(1)[0]
    adapter.observe(transition)
    whole = features(transition)
    expected = np.concatenate(
        (
            whole[: N_O + N_A],
            whole[N_O + N_A : N_O + N_A + 1] if reward else [],
            whole[-N_O:] if following else [],
        )
    )
    assert adapter.context.tolist() == [expected.astype(np.float32).tolist()]


def test_a_latent_lasts_the_episode(pearl: PolicyBundle) -> None:
    adapter = make_adapter(pearl, 0)
    latents = []
    for _ in range(3):
        adapter.begin_episode()
        actions = []
        for transition in transitions(5):
            actions.append(adapter.act(observation()))
            adapter.observe(transition)
        adapter.end_episode()
        assert len({action.latent.tobytes() for action in actions}) == 1
        assert len({action.belief_version for action in actions}) == 1
        latents.append(actions[0].latent.tobytes())
    assert len(set(latents)) == 3


def test_a_latent_lasts_its_hold(held: PolicyBundle) -> None:
    adapter = make_adapter(held, 0)
    adapter.begin_episode()
    actions = []
    # Ten, so that the episode ends within a hold.
    for transition in transitions(10):
        actions.append(adapter.act(observation()))
        adapter.observe(transition)
    groups = [{a.latent.tobytes() for a in actions[n : n + 3]} for n in (0, 3, 6)]
    assert [len(group) for group in groups] == [1, 1, 1]
    assert len(set.union(*groups)) == 3
    # Each was drawn from the belief as it stood then.
    assert [action.belief_version for action in actions] == [0, 0, 0, 3, 3, 3, 6, 6, 6, 9]
    adapter.end_episode()
    adapter.begin_episode()
    # A new episode begins a new hold.
    versions = []
    for transition in transitions(4):
        versions.append(adapter.act(observation()).belief_version)
        adapter.observe(transition)
    assert versions == [10, 10, 10, 13]


def test_reset_forgets_and_end_of_episode_does_not(pearl: PolicyBundle) -> None:
    adapter = PearlAdapter(pearl, 0)
    prior = adapter.belief
    adapter.begin_episode()
    for transition in transitions(3):
        adapter.observe(transition)
    adapter.end_episode()
    assert adapter.belief.count == 3
    adapter.begin_episode()
    assert adapter.belief.count == 3
    adapter.reset()
    assert adapter.belief.mean.tolist() == prior.mean.tolist()
    assert adapter.belief.variance.tolist() == prior.variance.tolist()
    assert (adapter.belief.count, adapter.belief.version) == (0, 4)
    assert adapter.context.shape[0] == 0
    adapter.begin_episode()


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


def test_a_frozen_adapter_does_not_learn(pearl: PolicyBundle) -> None:
    adapter = PearlAdapter(pearl, 0)
    adapter.observe(transitions(1)[0])
    adapter.adapting = False
    before = state(adapter)
    for transition in transitions(4):
        adapter.observe(transition)
    assert state(adapter) == before
    with pytest.raises(ContextError):
        adapter.observe(Transition(observation()[:2], np.zeros(N_A, np.float32), 0, observation()))
    adapter.adapting = True
    assert adapter.observe(transitions(1)[0]).count == 2


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


def test_an_encoder_that_overflows_changes_nothing(pearl: PolicyBundle) -> None:
    adapter = make_adapter(pearl, 0)
    for transition in transitions(CAPACITY + 1):
        adapter.observe(transition)
    before = state(adapter)
    huge = observation(float(np.finfo(np.float32).max))
    with pytest.raises(BeliefError, match="expected finite"):
        adapter.observe(Transition(huge, np.zeros(N_A, np.float32), 0.0, huge))
    assert state(adapter) == before


def test_a_policy_that_overflows_is_an_error(pearl: PolicyBundle) -> None:
    adapter = make_adapter(pearl, 0)
    adapter.begin_episode()
    with pytest.raises(InferenceError, match="policy answers"):
        adapter.act(observation(float(np.finfo(np.float32).max)))


def play(adapter: Adapter, stochastic: bool = False) -> list[bytes]:
    """Three episodes of ten periods; every answer and belief as bytes."""
    out = []
    for episode in range(3):
        adapter.begin_episode()
        for transition in transitions(10, seed=episode):
            action = adapter.act(transition.observation, stochastic)
            belief = adapter.observe(transition)
            out += [action.normalised.tobytes(), action.latent.tobytes(), belief.mean.tobytes()]
        adapter.end_episode()
    return out


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


@pytest.mark.parametrize("seen", [0, 5, CAPACITY, CAPACITY + 3])
def test_a_restored_adapter_goes_on_to_the_last_bit(
    pearl: PolicyBundle, held: PolicyBundle, seen: int
) -> None:
    for bundle in (pearl, held):
        first = PearlAdapter(bundle, 7)
        first.begin_episode()
        for transition in transitions(seen):
            first.act(transition.observation, stochastic=True)
            first.observe(transition)
        data = first.snapshot()
        # Into a fresh process's adapter, of another seed, and back into one that went on.
        second = PearlAdapter(bundle, 8)
        second.restore(data)
        assert second.context.tolist() == first.context.tolist()
        assert second.belief.count == first.belief.count
        results = []
        for adapter in (first, second, first):
            adapter.restore(data)
            actions = []
            for transition in transitions(6, seed=5):
                actions.append(adapter.act(transition.observation, stochastic=True))
                adapter.observe(transition)
            adapter.end_episode()
            results.append(
                [a.normalised.tobytes() + a.latent.tobytes() for a in actions]
                + [adapter.belief.mean.tobytes(), adapter.belief.variance.tobytes()]
                + play(adapter)
            )
        assert results[0] == results[1] == results[2]


def test_no_version_names_two_beliefs(pearl: PolicyBundle) -> None:
    adapter = make_adapter(pearl, 0)
    data = adapter.snapshot()
    seen = [adapter.belief.version]
    for transition in transitions(3):
        seen.append(adapter.observe(transition).version)
    adapter.restore(data)
    seen.append(adapter.belief.version)
    adapter.reset()
    seen.append(adapter.belief.version)
    seen.append(adapter.observe(transitions(1)[0]).version)
    assert seen == sorted(set(seen))


def test_a_snapshot_of_another_bundle_is_refused(pearl: PolicyBundle, held: PolicyBundle) -> None:
    adapter = make_adapter(held, 0)
    before = state(adapter)
    with pytest.raises(SnapshotError, match=rf"bundle {pearl.digest}; .* runs {held.digest}"):
        adapter.restore(make_adapter(pearl, 0).snapshot())
    assert state(adapter) == before


def test_a_damaged_snapshot_is_refused_and_changes_nothing(pearl: PolicyBundle) -> None:
    adapter = make_adapter(pearl, 0)
    for transition in transitions(CAPACITY + 2):
        adapter.observe(transition)
    data, other = adapter.snapshot(), make_adapter(pearl, 1)
    before = state(other)
    for position in np.linspace(0, len(data) - 1, 200).astype(int):
        bad = bytearray(data)
        bad[position] ^= 0x01
        with pytest.raises(SnapshotError):
            other.restore(bytes(bad))
    for bad in (b"", data[:-1], data[: len(data) // 2], data + b"x", b"\xc1" * 10):
        with pytest.raises(SnapshotError):
            other.restore(bad)
    assert state(other) == before


def test_a_snapshot_whose_parts_disagree_is_refused(pearl: PolicyBundle) -> None:
    """A right checksum over wrong content, as another program's fault would make it."""
    from adapt.snapshot import AdapterState, seal, unseal

    adapter = make_adapter(pearl, 0)
    adapter.observe(transitions(1)[0])
    good = unseal(adapter.snapshot(), pearl.digest)
    before = state(adapter)
    nan = np.full(N_Z, np.nan, np.float32).tobytes()
    changes: list[Callable[[AdapterState], AdapterState]] = [
        lambda s: msgspec.structs.replace(s, latent=b""),
        lambda s: msgspec.structs.replace(s, latent=nan),
        lambda s: msgspec.structs.replace(s, latent=b"123"),
        lambda s: msgspec.structs.replace(s, memory=b""),
        lambda s: msgspec.structs.replace(s, period=-1),
        lambda s: msgspec.structs.replace(
            s, generator=msgspec.structs.replace(s.generator, state="not a number")
        ),
    ]
    for change in changes:
        with pytest.raises(SnapshotError):
            adapter.restore(seal(change(good)))
    assert state(adapter) == before


def test_act_sees_whole_beliefs_while_another_thread_observes(
    held: PolicyBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each latent is drawn from a belief that `observe` published, mean and variance together."""
    adapter = make_adapter(held, 0)
    published: dict[int, tuple[bytes, bytes]] = {
        0: (adapter.belief.mean.tobytes(), adapter.belief.variance.tobytes())
    }
    drawn: list[tuple[int, tuple[bytes, bytes]]] = []
    real = Belief.sample

    def sample(belief: Belief, rng: np.random.Generator) -> np.ndarray:
        drawn.append((belief.version, (belief.mean.tobytes(), belief.variance.tobytes())))
        return real(belief, rng)

    monkeypatch.setattr(Belief, "sample", sample)
    failures: list[BaseException] = []
    done = threading.Event()

    def work() -> None:
        try:
            for transition in transitions(1500):
                belief = adapter.observe(transition)
                published[belief.version] = (belief.mean.tobytes(), belief.variance.tobytes())
        except BaseException as error:
            failures.append(error)
        finally:
            done.set()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    worker = threading.Thread(target=work)
    adapter.begin_episode()
    worker.start()
    try:
        while not done.is_set():
            action = adapter.act(observation())
            assert action.belief_version == drawn[-1][0]
            assert np.isfinite(action.normalised).all()
    finally:
        worker.join()
        sys.setswitchinterval(interval)
    assert not failures
    assert len({version for version, _ in drawn}) > 10
    assert all(published[version] == parts for version, parts in drawn)
    # The worker lost nothing to the thread that acts: alone, it comes to the same belief.
    alone = make_adapter(held, 0)
    for transition in transitions(1500):
        alone.observe(transition)
    assert alone.belief.mean.tobytes() == adapter.belief.mean.tobytes()


def test_act_does_not_wait_for_the_memory(pearl: PolicyBundle) -> None:
    """A belief update under way, however long, holds a lock that `act` never asks for."""
    adapter = make_adapter(pearl, 0)
    answered = threading.Event()

    def control() -> None:
        adapter.begin_episode()
        adapter.act(observation())
        adapter.end_episode()
        answered.set()

    thread = threading.Thread(target=control, daemon=True)
    with adapter._memory_lock:
        thread.start()
        assert answered.wait(10.0)
    thread.join()


def test_the_runtime_loads_no_training_framework(tmp_path: Path) -> None:
    """A whole episode in a process of its own: what a robot must have installed, and no more."""
    folder = tiny_bundle.write(tmp_path / "bundle")
    program = f"""
import importlib, pkgutil, sys
import numpy as np
import adapt
for module in pkgutil.iter_modules(adapt.__path__):
    importlib.import_module("adapt." + module.name)
from adapt.adapter import Transition, make_adapter
from adapt.bundle import PolicyBundle
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

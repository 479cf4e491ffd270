"""The belief on the robot: what it is made of, when it is asked, and by which thread."""

import sys
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest
from onnx import helper

from adapt.adapters.base import Transition
from adapt.adapters.gaussian import GaussianAdapter
from adapt.adapters.registry import make_adapter
from adapt.belief.gaussian import Belief
from adapt.bundle.algorithms import Gaussian, TransitionRow
from adapt.bundle.policy_bundle import PolicyBundle, write_bundle
from adapt.errors import (
    BeliefError,
    ContextError,
)
from tests.support import tiny_bundle
from tests.support.tiny_play import (
    CAPACITY,
    N_A,
    N_O,
    N_Z,
    features,
    observation,
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


def test_belief_is_the_product_over_the_context(pearl: PolicyBundle) -> None:
    """Against the encoder in one batch: the last CAPACITY transitions and the prior, no more."""
    adapter = GaussianAdapter(pearl, 0)
    seen = transitions(CAPACITY * 2 + 3)
    for n, transition in enumerate(seen, start=1):
        belief = adapter.observe(transition)
        rows = np.array([features(t) for t in seen[max(0, n - CAPACITY) : n]])
        factor = pearl.graphs["encoder"].run(transition=rows)
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
    spec = Gaussian(TransitionRow(reward, following), CAPACITY)
    manifest = msgspec.structs.replace(manifest, algorithm=spec)
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
    adapter = GaussianAdapter(write_bundle(tmp_path / "bundle", manifest, graphs, golden), 0)
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
    adapter = GaussianAdapter(pearl, 0)
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


def test_a_frozen_adapter_does_not_learn(pearl: PolicyBundle) -> None:
    adapter = GaussianAdapter(pearl, 0)
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


def test_an_encoder_that_overflows_changes_nothing(pearl: PolicyBundle) -> None:
    adapter = make_adapter(pearl, 0)
    for transition in transitions(CAPACITY + 1):
        adapter.observe(transition)
    before = state(adapter)
    huge = observation(float(np.finfo(np.float32).max))
    with pytest.raises(BeliefError, match="expected finite"):
        adapter.observe(Transition(huge, np.zeros(N_A, np.float32), 0.0, huge))
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

    def sample(belief: Belief, rng: np.random.Generator, exploration: float) -> np.ndarray:
        drawn.append((belief.version, (belief.mean.tobytes(), belief.variance.tobytes())))
        return real(belief, rng, exploration)

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
    assert len({version for version, _ in drawn}) > 2
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

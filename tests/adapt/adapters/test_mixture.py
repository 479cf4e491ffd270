"""A belief with a prior of several Gaussians, against the encoder's factors in one batch."""

import msgspec
import numpy as np

from adapt.adapters.base import Transition
from adapt.adapters.mixture import MixtureAdapter
from adapt.adapters.registry import make_adapter
from adapt.belief.mixture import MixtureBelief, MixturePrior
from adapt.bundle.algorithms import Component, Mixture, TransitionRow
from adapt.bundle.policy_bundle import write_bundle
from adapt.guard import Guard
from tests.support import tiny_bundle

PRIOR = [Component(0.6, [-1.0, 0.0], [0.3, 1.0]), Component(0.4, [1.0, 0.5], [0.2, 0.8])]
CAPACITY = 8


def bundle(path):
    manifest, graphs, golden = tiny_bundle.build()
    block = Mixture(TransitionRow(True, True), CAPACITY, PRIOR)
    return write_bundle(path, msgspec.structs.replace(manifest, algorithm=block), graphs, golden)


def transitions(count):
    rng = np.random.default_rng(0)
    for _ in range(count):
        seen, following = rng.normal(size=(2, 6)).astype(np.float32)
        action = rng.uniform(-1, 1, 3).astype(np.float32)
        yield Transition(seen, action, float(rng.normal()), following)


def row(t):
    return np.concatenate([t.observation, t.action, [t.reward], t.next_observation])


def test_the_belief_is_the_prior_times_the_last_factors(tmp_path):
    made = bundle(tmp_path / "b")
    adapter = make_adapter(made, 0)
    assert isinstance(adapter, MixtureAdapter)
    rows = []
    prior = MixturePrior(*([getattr(c, n) for c in PRIOR] for n in ("weight", "mean", "variance")))
    for transition in transitions(2 * CAPACITY + 3):
        belief = adapter.observe(transition)
        rows.append(row(transition).astype(np.float32))
        factors = made.graphs["encoder"].run(transition=np.array(rows[-CAPACITY:]))
        precision = 1.0 / factors["variance"].astype(np.float64)
        information = (factors["mean"] * precision).sum(axis=0)
        expected = prior.times(precision.sum(axis=0), information, 0, 0)
        assert isinstance(belief, MixtureBelief)
        np.testing.assert_allclose(belief.weights, expected.weights, atol=1e-6)
        np.testing.assert_allclose(belief.mean, expected.mean, atol=1e-6)
        np.testing.assert_allclose(belief.variance, expected.variance, atol=1e-6)
    assert Guard(made.manifest).belief(belief).inside


def test_a_snapshot_goes_on_to_the_last_bit(tmp_path):
    made = bundle(tmp_path / "b")
    adapter, other = make_adapter(made, 0), make_adapter(made, 1)
    seen = list(transitions(20))
    for transition in seen[:12]:
        adapter.observe(transition)
    other.restore(adapter.snapshot())
    for one in (adapter, other):
        for transition in seen[12:]:
            one.observe(transition)
        one.begin_episode()
    assert adapter.latent.tobytes() == other.latent.tobytes()
    assert adapter.belief.mean.tobytes() == other.belief.mean.tobytes()

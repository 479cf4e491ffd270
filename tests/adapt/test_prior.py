"""A measured prior becomes the prior of the latent, by the manifest's factors, or says why not."""

import json
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pytest
from msgspec import structs

from adapt.adapters.registry import make_adapter
from adapt.adapters.snapshot import seal, unseal
from adapt.belief.gaussian import GaussianPrior
from adapt.belief.mixture import MixtureBelief
from adapt.bundle.algorithms import Component, Mixture, TransitionRow
from adapt.bundle.fields import Factor, Term
from adapt.bundle.policy_bundle import PolicyBundle, write_bundle
from adapt.errors import PriorError, SnapshotError
from adapt.guard import Guard
from adapt.prior import MeasuredPrior, MeasuredQuantity, latent_prior, read_prior
from tests.support import tiny_bundle, tiny_recurrent
from tests.support.tiny_play import play, transitions

ROOT = Path(__file__).parents[2]
FACTORS = [Factor("seat_x", "m", 0.5, 0.01, 1), Factor("clearance", "log m", -8.0, 0.5, 0)]
TERMS = {"seat_x": [Term("socket_x", 0.008), Term("grasp_x", 0.006, -1.0, 0.001)]}


def quantity(
    name="seat_x", mean=0.5, std: float | None = 0.002, unit="m", scale="linear", measured=True
):
    return MeasuredQuantity(name, unit, cast("Any", scale), mean, measured=measured, std=std)


def prior(*quantities, **more):
    return MeasuredPrior("acclimate-prior-1", list(quantities), **more)


BARE = quantity(std=None), quantity("grasp_x", std=None)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    manifest, graphs, golden = tiny_bundle.build()
    latent = structs.replace(manifest.latent, factors=FACTORS)
    manifest = structs.replace(manifest, latent=latent, factor_terms=TERMS)
    return write_bundle(tmp_path_factory.mktemp("b") / "b", manifest, graphs, golden)


@pytest.fixture(scope="module")
def narrow(bundle):
    return latent_prior(prior(quantity(mean=0.503)), bundle.manifest)


def test_a_factor_that_was_measured_is_taken_as_it_is_and_the_others_keep_theirs(narrow):
    np.testing.assert_allclose(narrow.mean, [0.0, 0.3])
    np.testing.assert_allclose(narrow.variance, [1.0, 0.2**2])


def test_a_sum_adds_variances_and_what_was_not_measured_bounds_the_claim(bundle):
    found = latent_prior(prior(quantity("socket_x", 0.002, 1e-6)), bundle.manifest)
    np.testing.assert_allclose(found.mean, [0.0, 0.2])
    np.testing.assert_allclose(found.variance[1], 0.6**2, rtol=1e-6)


def test_covariance_within_a_sum_counts(bundle):
    both = quantity("socket_x", 0.002, None), quantity("grasp_x", 0.002, None)
    covariance = [[4e-6, 3e-6], [3e-6, 4e-6]]
    found = latent_prior(prior(*both, covariance=covariance), bundle.manifest)
    # The grasp's mean in training is 0.001, and it is subtracted.
    np.testing.assert_allclose(found.mean[1], 0.1)
    np.testing.assert_allclose(found.variance[1], (4e-6 + 4e-6 - 2 * 3e-6) / 0.01**2)


def test_a_logarithmic_quantity_meets_a_logarithmic_factor(bundle):
    found = latent_prior(prior(quantity("clearance", -8.5, 0.1, scale="log")), bundle.manifest)
    np.testing.assert_allclose([found.mean[0], found.variance[0]], [-1.0, 0.2**2])


@pytest.mark.parametrize("std", [1e200, 1e300])
def test_numbers_whose_squares_no_float_holds_do_no_harm(bundle, std):
    own = latent_prior(prior(quantity(std=5.0)), bundle.manifest)
    none = [structs.replace(FACTORS[0], scale=0.0)]
    latent = structs.replace(bundle.manifest.latent, factors=none)
    for found in (
        latent_prior(prior(quantity("socket_x", 1e300, std)), bundle.manifest),
        latent_prior(prior(quantity()), structs.replace(bundle.manifest, latent=latent)),
    ):
        assert found.encode() == own.encode()


def test_what_is_known_no_better_than_in_training_keeps_the_bundles_prior(bundle):
    found = latent_prior(
        prior(quantity(mean=0.503, std=5.0), quantity("clearance", 1e9, 1.0, measured=False)),
        bundle.manifest,
    )
    np.testing.assert_allclose(found.variance, [1.0, 1.0])
    np.testing.assert_allclose(found.mean, [0.0, 0.0])


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (prior(quantity("socket_y")), "measures socket_y; expected .* seat_x, .* grasp_x"),
        (prior(quantity(measured=False)), "measures nothing"),
        (prior(quantity(unit="mm")), "unit 'mm' and scale 'linear'; the bundle expects unit 'm'"),
        (prior(quantity("clearance")), "expects unit 'm' and scale 'log'"),
        (prior(quantity(std=1e-9)), "'seat_x': .* claims .* at least 0.001 of training's"),
        (prior(quantity(mean=1e300)), "inf standard deviations"),
        (prior(quantity(mean=0.6)), "10 standard .* within .* 'seat_x', at 0.6 m"),
        (prior(quantity(), quantity()), "'seat_x' is given twice"),
        (prior(quantity(std=None)), "'seat_x' has no std"),
        (prior(quantity(), covariance=[[1.0]]), "both std and covariance"),
        (prior(quantity(std=None), covariance=[[1.0, 0.0]]), "1 rows of 1"),
        (prior(quantity(std=None), covariance=[[0.0]]), "variance 0; expected above 0"),
        (
            prior(*BARE, covariance=[[1.0, 0.5], [0.4, 1.0]]),
            "not symmetric",
        ),
    ],
)
def test_what_cannot_be_meant_is_named(bundle, made, words):
    with pytest.raises(PriorError, match=words):
        latent_prior(made, bundle.manifest)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p.update(format="other"), "other.*expected .acclimate-prior-1"),
        (lambda p: p["parameters"][0].update(maen=1), "maen"),
        (lambda p: p["parameters"][0].update(mean=None), "mean"),
        (lambda p: p["parameters"][0].update(std=0.0), "std"),
        (lambda p: p.update(parameters=[]), "parameters"),
        (lambda p: p["parameters"][0].pop("std"), "no std"),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, change, words):
    path = tmp_path / "prior.json"
    path.write_bytes(msgspec.json.encode(prior(quantity())))
    assert read_prior(path) == prior(quantity())
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(PriorError, match=f"prior.json: .*({words})"):
        read_prior(path)


def test_a_file_whose_matrix_is_no_covariance_is_refused(tmp_path):
    made = prior(*BARE, covariance=[[1.0, 2.0], [2.0, 1.0]])
    (tmp_path / "prior.json").write_bytes(msgspec.json.encode(made))
    with pytest.raises(PriorError, match="negative eigenvalue"):
        read_prior(tmp_path / "prior.json")


def test_a_file_that_is_not_there_or_no_json_is_named(tmp_path):
    with pytest.raises(PriorError, match="No such file"):
        read_prior(tmp_path / "none.json")
    (tmp_path / "x").write_bytes(b"\xff\x00")
    with pytest.raises(PriorError, match="x: "):
        read_prior(tmp_path / "x")


def test_a_latent_without_meaning_is_refused_and_an_algorithm_of_one_prior(tmp_path, bundle):
    plain = structs.replace(
        bundle.manifest, latent=structs.replace(bundle.manifest.latent, factors=[])
    )
    with pytest.raises(PriorError, match="no physical meaning"):
        latent_prior(prior(quantity()), plain)
    shipped = PolicyBundle.load(ROOT / "bundles/insertion-maesn")
    with pytest.raises(PriorError, match="no physical meaning"):
        latent_prior(prior(quantity()), shipped.manifest)
    with pytest.raises(PriorError, match="'stepped' start from the bundle's own"):
        make_adapter(shipped, 0).start_from(GaussianPrior.of([0.0] * 8, [1.0] * 8))


def test_the_shipped_bundle_knows_that_the_seat_is_socket_plus_grasp():
    manifest = PolicyBundle.load(ROOT / "bundles/insertion-pearl").manifest
    found = latent_prior(prior(quantity("socket_x", 0.0, 1e-5)), manifest)
    factor = manifest.latent.factors[0]
    std = factor.scale * found.variance[0] ** 0.5
    # ±0.5 mm of the grasp, uniformly.
    assert std == pytest.approx(1e-3 / np.sqrt(12), rel=1e-3)
    wide = sum(t.std**2 for t in manifest.factor_terms["seat_yaw"]) ** 0.5
    assert wide == pytest.approx(manifest.latent.factors[2].scale, rel=1e-9)


def test_beliefs_start_from_it_and_factors_multiply_it(bundle, narrow):
    adapter, plain = make_adapter(bundle, 0), make_adapter(bundle, 0)
    adapter.start_from(narrow)
    np.testing.assert_allclose(adapter.belief.mean, narrow.mean, atol=1e-15)
    first, second = adapter.belief, plain.belief
    # More than the context holds, so that what leaves it is the factors' and never the prior.
    for transition in transitions(20):
        first, second = adapter.observe(transition), plain.observe(transition)
    own = make_adapter(bundle, 0).start
    precision, information = narrow.ratio(own)
    np.testing.assert_allclose(1 / first.variance, 1 / second.variance + precision, rtol=1e-9)
    expected = second.mean / second.variance + information
    np.testing.assert_allclose(first.mean / first.variance, expected, rtol=1e-9)
    adapter.reset()
    np.testing.assert_allclose(adapter.belief.mean, narrow.mean, atol=1e-15)
    assert Guard(bundle.manifest).belief(first).inside


@pytest.mark.parametrize("seen", [0, 5])
def test_a_snapshot_carries_it_to_the_last_bit(bundle, narrow, seen):
    first, second = make_adapter(bundle, 7), make_adapter(bundle, 8)
    first.start_from(narrow)
    first.begin_episode()
    for transition in transitions(seen):
        first.observe(transition)
    data = first.snapshot()
    second.restore(data)
    results = []
    for adapter in (first, second, first):
        adapter.restore(data)
        # More than the ring holds: the sums are formed anew from the prior.
        for transition in transitions(20, seed=3):
            adapter.observe(transition)
        adapter.end_episode()
        adapter.trust(False)
        results.append([adapter.belief.mean.tobytes(), *play(adapter)])
        adapter.trust(True)
        adapter.reset()
        np.testing.assert_allclose(adapter.belief.mean, narrow.mean, atol=1e-15)
    assert results[0] == results[1] == results[2]


def test_a_belief_comes_back_with_the_prior_that_it_started_from(bundle, narrow):
    first, second = make_adapter(bundle, 0), make_adapter(bundle, 0)
    first.start_from(narrow)
    for transition in transitions(3):
        first.observe(transition)
    plain = second.snapshot()
    found = second.restore_belief(first.snapshot())
    assert found.mean.tobytes() == first.belief.mean.tobytes()
    assert second.start.mean.tobytes() == narrow.mean.tobytes()
    assert found.version > 1
    second.restore_belief(plain)
    np.testing.assert_array_equal(second.start.mean, bundle.manifest.latent.prior_mean)


def test_a_damaged_prior_in_a_snapshot_changes_nothing(bundle, narrow):
    adapter = make_adapter(bundle, 0)
    state = unseal(adapter.snapshot(), bundle.digest)
    for data in (b"x", b"\x00" * 32, np.full(4, np.nan).tobytes()):
        with pytest.raises(SnapshotError, match="prior"):
            adapter.restore(seal(structs.replace(state, prior=data)))
    with pytest.raises(SnapshotError, match="memory"):
        adapter.restore(seal(structs.replace(state, prior=narrow.encode(), memory=b"x")))
    assert adapter.start.encode() == make_adapter(bundle, 0).start.encode()
    assert adapter.belief.version == 0


def test_a_recurrent_belief_is_multiplied_by_the_ratio_of_the_priors(tmp_path):
    plain = make_adapter(PolicyBundle.load(tiny_recurrent.write(tmp_path / "b", "gaussian")), 0)
    adapter = make_adapter(plain.bundle, 0)
    own = adapter.start
    narrow = GaussianPrior(own.mean + 0.5, own.variance * 0.1)
    adapter.start_from(narrow)
    np.testing.assert_array_equal(adapter.belief.mean, narrow.mean)
    precision, information = narrow.ratio(own)
    for transition in transitions(3):
        wide, found = plain.observe(transition), adapter.observe(transition)
        np.testing.assert_array_equal(found.state, wide.state)
        np.testing.assert_allclose(1 / found.variance, 1 / wide.variance + precision)
        expected = (wide.mean / wide.variance + information) * found.variance
        np.testing.assert_allclose(found.mean, expected)
    other = make_adapter(plain.bundle, 1)
    other.restore(adapter.snapshot())
    assert other.belief.mean.tobytes() == adapter.belief.mean.tobytes()
    refusing = make_adapter(PolicyBundle.load(tiny_recurrent.write(tmp_path / "n", "none")), 0)
    with pytest.raises(PriorError, match="fed the state"):
        refusing.start_from(narrow)


def test_a_recurrent_mixture_is_multiplied_by_the_ratio_of_the_priors(tmp_path):
    plain = make_adapter(PolicyBundle.load(tiny_recurrent.write(tmp_path / "b", "mixture")), 0)
    adapter, own = make_adapter(plain.bundle, 0), plain.start
    narrow = GaussianPrior(own.mean + 0.5, own.variance * 0.1)
    adapter.start_from(narrow)
    np.testing.assert_array_equal(adapter.belief.mean, narrow.mean)
    for transition in transitions(3):
        wide, found = plain.observe(transition), adapter.observe(transition)
        assert isinstance(wide, MixtureBelief)
        expected = wide.times(*narrow.ratio(own))
        np.testing.assert_array_equal(found.state, wide.state)
        np.testing.assert_allclose(found.mean, expected.mean)
        assert (found.variance < wide.variance).all()
    other = make_adapter(plain.bundle, 1)
    other.restore(adapter.snapshot())
    assert other.belief.mean.tobytes() == adapter.belief.mean.tobytes()
    adapter.start_from(own)
    assert adapter.observe(transitions(1)[0]).mean == pytest.approx(
        make_adapter(plain.bundle, 0).observe(transitions(1)[0]).mean
    )


def test_a_mixture_loses_the_components_that_a_measurement_speaks_against(tmp_path):
    components = [Component(0.5, [-1.0, 0.0], [0.1, 1.0]), Component(0.5, [1.0, 0.0], [0.1, 1.0])]
    manifest, graphs, golden = tiny_bundle.build()
    block = Mixture(TransitionRow(True, True), 8, components)
    latent = structs.replace(manifest.latent, prior_variance=[1.1, 1.0])
    manifest = structs.replace(manifest, algorithm=block, latent=latent)
    adapter = make_adapter(write_bundle(tmp_path / "b", manifest, graphs, golden), 0)
    adapter.start_from(GaussianPrior(np.array([1.0, 0.0]), np.array([0.05, 1.0])))
    assert adapter.belief.mean[0] == pytest.approx(1.0, abs=0.05)
    assert adapter.belief.variance[0] < 0.05
    for transition in transitions(1):
        adapter.observe(transition)
    other = make_adapter(adapter.bundle, 0)
    other.restore(adapter.snapshot())
    assert other.belief.mean.tobytes() == adapter.belief.mean.tobytes()

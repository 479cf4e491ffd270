"""The incremental belief equals the batch product of Gaussians after any updates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from adapt.belief.context import Context
from adapt.belief.gaussian import Accumulator
from adapt.errors import BeliefError, ContextError, SnapshotError

N_Z = 3
PRIOR_MEAN, PRIOR_VARIANCE = [0.5, -1.0, 0.0], [1.0, 0.3, 2.0]


def product(factors: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance (n_z,) of prior x factors, all at once, from the textbook formula."""
    means = np.array([PRIOR_MEAN, *(mean for mean, _ in factors)], np.longdouble)
    variances = np.array([PRIOR_VARIANCE, *(variance for _, variance in factors)], np.longdouble)
    precision = (1 / variances).sum(axis=0)
    return (means / variances).sum(axis=0) / precision, 1 / precision


def assert_is_product(ring: Accumulator, factors: list[tuple[np.ndarray, np.ndarray]]) -> None:
    belief = ring.belief(0)
    mean, variance = product(factors)
    # The unit of the mean's error is the larger of 1 and the means that went in.
    size = max([1.0, *(float(np.abs(m).max()) for m, _ in factors)])
    np.testing.assert_allclose(belief.mean.astype(float), mean.astype(float), atol=1e-5 * size)
    np.testing.assert_allclose(belief.variance, variance.astype(float), rtol=1e-5)
    assert belief.count == len(factors)


vectors = hnp.arrays(np.float32, N_Z, elements=st.floats(-100, 100, width=32))
# From near certainty to near ignorance: the hard case is a sure factor leaving the ring.
spreads = hnp.arrays(np.float32, N_Z, elements=st.floats(-7, 6, width=32)).map(
    lambda exponent: np.float32(10.0) ** exponent
)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 6), st.lists(st.tuples(vectors, spreads), max_size=30))
def test_belief_is_the_product_of_the_last_factors(
    capacity: int, factors: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    ring = Accumulator(PRIOR_MEAN, PRIOR_VARIANCE, capacity)
    for n, (mean, variance) in enumerate(factors, start=1):
        ring.add(mean, variance)
        assert_is_product(ring, factors[max(0, n - capacity) : n])


@settings(max_examples=50, deadline=None)
@given(st.permutations(range(5)))
def test_order_does_not_matter(order: list[int]) -> None:
    rng = np.random.default_rng(0)
    means, variances = rng.normal(size=(5, N_Z)), rng.uniform(0.1, 2.0, (5, N_Z))
    straight, shuffled = (Accumulator(PRIOR_MEAN, PRIOR_VARIANCE, 5) for _ in range(2))
    for n in range(5):
        straight.add(means[n], variances[n])
        shuffled.add(means[order[n]], variances[order[n]])
    np.testing.assert_allclose(straight.belief(0).mean, shuffled.belief(0).mean, rtol=1e-12)
    np.testing.assert_allclose(straight.belief(0).variance, shuffled.belief(0).variance, rtol=1e-12)


def test_rounding_does_not_build_up() -> None:
    rng = np.random.default_rng(1)
    ring = Accumulator(PRIOR_MEAN, PRIOR_VARIANCE, 50)
    factors = [
        (rng.normal(size=N_Z).astype(np.float32), (10.0 ** rng.uniform(-6, 3, N_Z)))
        for _ in range(5000)
    ]
    for mean, variance in factors:
        ring.add(mean, variance)
    mean, variance = product(factors[-50:])
    np.testing.assert_allclose(ring.belief(0).mean, mean.astype(float), atol=1e-11)
    np.testing.assert_allclose(ring.belief(0).variance, variance.astype(float), rtol=1e-11)


def test_a_sure_factor_leaves_no_trace() -> None:
    """Subtracting a precision of 1e30 alone would wipe out everything it was added to."""
    ring = Accumulator(PRIOR_MEAN, PRIOR_VARIANCE, 5)
    sure = (np.full(N_Z, 3.0), np.full(N_Z, 1e-30))
    vague = (np.full(N_Z, -1.0), np.full(N_Z, 2.0))
    for factor in (sure, *[vague] * 5):
        ring.add(*factor)
    assert_is_product(ring, [vague] * 5)


def test_a_fresh_belief_is_the_prior() -> None:
    ring = Accumulator(PRIOR_MEAN, PRIOR_VARIANCE, 2)
    assert_is_product(ring, [])
    ring.add(np.ones(N_Z), np.ones(N_Z))
    assert_is_product(ring, [(np.ones(N_Z), np.ones(N_Z))])


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    ("mean", "variance"),
    [(np.nan, 1.0), (np.inf, 1.0), (0.0, np.nan), (0.0, np.inf), (0.0, 0.0), (0.0, -1.0)],
)
def test_what_is_no_gaussian_is_refused(mean: float, variance: float, full: bool) -> None:
    ring = Accumulator(PRIOR_MEAN, PRIOR_VARIANCE, 2)
    good = (np.ones(N_Z), np.ones(N_Z))
    for _ in range(3 if full else 1):
        ring.add(*good)
    means, variances = np.zeros(N_Z), np.ones(N_Z)
    means[1], variances[1] = mean, variance
    with pytest.raises(BeliefError, match="dimension 1"):
        ring.add(means, variances)
    assert_is_product(ring, [good] * (2 if full else 1))


def test_a_belief_cannot_be_written_to() -> None:
    belief = Accumulator(PRIOR_MEAN, PRIOR_VARIANCE, 2).belief(0)
    for array in (belief.mean, belief.variance, belief.sample(np.random.default_rng(0))):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0


def test_samples_follow_the_belief() -> None:
    ring = Accumulator(PRIOR_MEAN, PRIOR_VARIANCE, 2)
    rng = np.random.default_rng(0)
    samples = np.array([ring.belief(0).sample(rng) for _ in range(20_000)])
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples.mean(axis=0), PRIOR_MEAN, atol=0.05)
    np.testing.assert_allclose(samples.var(axis=0), PRIOR_VARIANCE, rtol=0.05)
    wide = np.array([ring.belief(0).sample(rng, 2.0) for _ in range(20_000)])
    np.testing.assert_allclose(wide.var(axis=0), 4 * np.array(PRIOR_VARIANCE), rtol=0.05)


def test_a_restored_accumulator_goes_on_to_the_last_bit() -> None:
    rng = np.random.default_rng(2)
    first, second = (Accumulator(PRIOR_MEAN, PRIOR_VARIANCE, 4) for _ in range(2))
    for _ in range(6):
        first.add(rng.normal(size=N_Z), rng.uniform(0.1, 2.0, N_Z))
    second.restore(first.snapshot())
    for _ in range(6):
        factor = rng.normal(size=N_Z), rng.uniform(0.1, 2.0, N_Z)
        first.add(*factor)
        second.add(*factor)
        assert first.belief(0).mean.tobytes() == second.belief(0).mean.tobytes()
        assert first.belief(0).variance.tobytes() == second.belief(0).variance.tobytes()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 5), st.integers(0, 12))
def test_context_keeps_the_last_rows_in_order(capacity: int, appended: int) -> None:
    # Values that can be told apart: row x 10 + column.
    rows = np.arange(appended)[:, None] * 10.0 + np.arange(3)
    context, copy = Context(capacity, 3), Context(capacity, 3)
    for row in rows:
        context.append(row)
    assert context.array().tolist() == rows[max(0, appended - capacity) :].tolist()
    assert context.array().dtype == np.float32
    copy.restore(context.snapshot())
    for ring in (context, copy):
        ring.append(np.full(3, 999.0))
    assert context.array().tolist() == copy.array().tolist()


def test_context_refuses_what_does_not_fit() -> None:
    context = Context(3, 2)
    with pytest.raises(ContextError, match=r"\(3,\); expected \(2,\)"):
        context.append(np.zeros(3))
    context.append(np.ones(2))
    larger = Context(5, 2)
    for _ in range(4):
        larger.append(np.zeros(2))
    with pytest.raises(SnapshotError, match="ring of 3 cannot hold 4 rows"):
        context.restore(larger.snapshot())
    wider = Context(3, 3)
    wider.append(np.zeros(3))
    with pytest.raises(SnapshotError, match="take 8 bytes; found 12"):
        context.restore(wider.snapshot())
    assert context.array().tolist() == [[1.0, 1.0]]

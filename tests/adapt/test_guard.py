"""Inside or outside of what training saw."""

import math

import msgspec
import numpy as np
import pytest

from adapt.belief.gaussian import Belief
from adapt.bundle.algorithms import Stepped
from adapt.bundle.observed_range import Seen
from adapt.bundle.policy_bundle import PolicyBundle, write_bundle
from adapt.errors import BundleError
from adapt.guard import Guard, GuardSettings, chi_square_bound, chi_square_tail
from tests.support import tiny_bundle, tiny_maesn

ZERO = np.zeros(6, np.float32)
SEEN = Seen(1000, [0.0] * 6, [0.1] * 6, [-1.0] * 6, [1.0] * 6)


def manifest(seen=None, **changes):
    made = tiny_bundle.build(**changes)[0]
    return msgspec.structs.replace(made, seen=seen)


def belief(mean, variance=None, version=0):
    mean = np.asarray(mean, np.float64)
    variance = np.full(mean.size, 0.1) if variance is None else np.asarray(variance, np.float64)
    return Belief(mean, variance, 1, version)


# Upper 5 % and 0.1 % points as every table of the chi-square distribution has them.
@pytest.mark.parametrize(
    ("freedom", "tail", "point"),
    [
        (1, 0.05, 3.841),
        (2, 0.05, 5.991),
        (5, 0.05, 11.070),
        (8, 0.001, 26.125),
        (31, 0.05, 44.985),
        (100, 0.001, 149.449),
    ],
)
def test_the_bound_is_the_tables(freedom, tail, point):
    assert chi_square_bound(freedom, tail) == pytest.approx(point, abs=1e-3)


@pytest.mark.parametrize("freedom", [1, 2, 3, 8, 400])
def test_the_bound_undoes_the_tail(freedom):
    for tail in (0.4, 1e-3, 1e-6, 1e-12):
        assert chi_square_tail(chi_square_bound(freedom, tail), freedom) == pytest.approx(tail)


def test_tasks_of_the_prior_are_inside_as_often_as_the_tail_says():
    guard = Guard(manifest(latent_size=4), GuardSettings(tail=0.01))
    rng = np.random.default_rng(0)
    beliefs = [belief(mean, version=n) for n, mean in enumerate(rng.normal(size=(4000, 4)))]
    outside = sum(not guard.belief(one).inside for one in beliefs)
    # 40 expected; five standard deviations of a binomial around it.
    assert 8 <= outside <= 72


def test_a_belief_far_from_the_prior_is_outside_and_names_the_dimension():
    guard = Guard(manifest())
    assert guard.belief(belief([0.5, -2.0], version=1)).inside
    far = guard.belief(belief([9.0, 0.0], version=2))
    assert not far.inside
    assert far.score > 1.0
    assert "socket_x" in far.reason
    assert "9 prior standard deviations" in far.reason
    assert guard.belief(belief([0.0, 0.0], version=3)).inside


def test_the_prior_need_not_be_standard():
    made = manifest()
    latent = msgspec.structs.replace(made.latent, prior_mean=[100.0, 0.0], prior_variance=[4.0, 1])
    guard = Guard(msgspec.structs.replace(made, latent=latent))
    assert guard.belief(belief([104.0, 0.0], version=1)).inside
    assert not guard.belief(belief([80.0, 0.0], version=2)).inside


@pytest.mark.parametrize(
    ("mean", "variance"),
    [
        ([math.nan, 0.0], [0.1, 0.1]),
        ([0.0, math.inf], [0.1, 0.1]),
        ([0.0, 0.0], [0.1, 0.0]),
        ([0.0, 0.0], [math.nan, 0.1]),
        ([0.0, 0.0], [0.1, 1.1]),
    ],
)
def test_a_belief_that_is_no_narrower_gaussian_is_outside(mean, variance):
    verdict = Guard(manifest()).belief(belief(mean, variance))
    assert not verdict.inside
    assert "belief" in verdict.reason


def test_a_bundle_without_a_latent_or_without_seen_has_nothing_to_hold_against():
    guard = Guard(manifest(algorithm="none"))
    assert guard.judge(belief([]), ZERO + 9.0).inside


def test_one_spike_is_not_outside_and_a_lasting_one_is_until_it_has_passed():
    guard = Guard(manifest(SEEN), GuardSettings(patience=3))
    # Within the slack: a tenth of the range, or one standard deviation where that is more.
    assert all(guard.observation(ZERO + 1.19).inside for _ in range(10))
    spike = ZERO.copy()
    spike[4] = 1.5
    assert [guard.observation(spike).inside for _ in range(2)] == [True, True]
    assert guard.observation(ZERO).inside
    assert guard.observation(spike).inside
    verdict = guard.observation(spike)
    assert not verdict.inside
    assert "wrench[1] is 1.5; training saw -1 to 1" in verdict.reason
    assert [guard.observation(ZERO).inside for _ in range(3)] == [False, False, True]


def test_a_belief_that_was_judged_beforehand_is_not_weighed_again(monkeypatch):
    guard = Guard(manifest())
    far = belief([9.0, 0.0])
    # By another thread, before the one that acts sees the belief.
    found = guard.belief(far)
    monkeypatch.setattr(guard, "_weigh", lambda _: 1 / 0)
    assert guard.judge(far, ZERO) is found
    with pytest.raises(ZeroDivisionError):
        guard.judge(belief([9.0, 0.0]), ZERO)


def test_a_new_task_is_judged_anew():
    guard = Guard(manifest(SEEN), GuardSettings(patience=1))
    assert not guard.judge(belief([9.0, 0.0]), ZERO + 5.0).inside
    guard.reset()
    assert guard.judge(belief([0.0, 0.0]), ZERO).inside


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mean": [0.0] * 5}, "seen.mean has 5 numbers; the observation has 6"),
        ({"low": [2.0] * 6}, "seen: number 0 has std 0.1, low 2.0, high 1.0"),
        ({"std": [-1.0] * 6}, "expected std >= 0"),
    ],
)
def test_a_manifest_whose_seen_does_not_fit_is_refused(tmp_path, change, words):
    made, graphs, golden = tiny_bundle.build()
    wrong = msgspec.structs.replace(made, seen=msgspec.structs.replace(SEEN, **change))
    with pytest.raises(BundleError, match=words):
        write_bundle(tmp_path / "wrong", wrong, graphs, golden)


def test_seen_survives_the_bundle(tmp_path):
    made, graphs, golden = tiny_bundle.build()
    write_bundle(tmp_path / "b", msgspec.structs.replace(made, seen=SEEN), graphs, golden)
    assert PolicyBundle.load(tmp_path / "b").manifest.seen == SEEN


def test_a_belief_that_moves_by_steps_is_judged_by_their_bounds(tmp_path):
    bundle = PolicyBundle.load(tiny_maesn.write(tmp_path / "b", max_norm=6.0))
    step = bundle.manifest.algorithm
    assert isinstance(step, Stepped)
    guard = Guard(bundle.manifest)
    wide = np.exp(2 * step.log_std_high)
    assert guard.belief(belief([6.0, 0.0], [wide, wide], 1)).inside
    assert not guard.belief(belief([6.1, 0.0], [wide, wide], 2)).inside
    assert not guard.belief(belief([0.0, 0.0], [wide, 1.01 * wide], 3)).inside

"""What the factors say of themselves is what the task's geometry does."""

import math

import pytest

from adapt.bundle.policy_bundle import PolicyBundle
from sim.demo import SHIPPED
from sim.insertion.space import FACTOR_TERMS, FACTORS, SPACE, task_factors


@pytest.mark.parametrize("name", FACTOR_TERMS)
def test_a_sum_has_its_terms_slopes_and_their_spread(name):
    factor = next(f for f in FACTORS if f.name == name)
    terms = FACTOR_TERMS[name]
    assert math.hypot(*(t.weight * t.std for t in terms)) == pytest.approx(factor.scale)
    start = task_factors(SPACE.task())[factor.index]
    for term in terms:
        step = 0.1 * term.std
        moved = task_factors(SPACE.task(**{term.name: term.mean + step}))[factor.index]
        assert (moved - start) * factor.scale / step == pytest.approx(term.weight)


def test_the_shipped_bundles_space_is_this_one():
    """Seeds draw the tasks that they drew when the bundle was trained and its numbers recorded."""
    assert PolicyBundle.load(SHIPPED).manifest.task_space == SPACE.to_dict()

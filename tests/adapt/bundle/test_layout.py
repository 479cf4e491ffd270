"""A normalised action never leaves its field's range on the way to physical units."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from adapt.bundle.fields import LEAST_SCALE, ActionField, action_problems
from adapt.bundle.layout import ActionMap


@given(st.floats(1e-6, 1e6), st.floats(-1e6, 1e6))
def test_the_ends_of_an_action_stay_within_the_exact_range(scale, offset):
    field = ActionField("a", (), "m", offset - scale, offset + scale, scale, offset)
    assume(scale >= LEAST_SCALE * abs(offset))
    assert action_problems([field]) == []
    found = [ActionMap([field]).physical(np.array([end], np.float32))[0] for end in (-1.0, 1.0)]
    assert field.low <= found[0] < found[1] <= field.high
    np.testing.assert_allclose(found, [field.low, field.high], rtol=1e-6, atol=1e-3 * scale)


def test_without_an_offset_the_sign_of_zero_stays():
    plain = ActionMap([ActionField("a", (2,), "m", -1.0, 1.0, 0.5)])
    assert np.signbit(plain.physical(np.array([-0.0, 0.0], np.float32))).tolist() == [True, False]

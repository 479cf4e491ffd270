"""The broad distribution: every plug fits its socket, its plate and one model's sizes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.insertion.parts.outline import PLUG_BOXES, PLUG_CAPSULES, SOCKET_BOXES
from sim.insertion.parts.procedural import PROCEDURAL, procedural_plug
from sim.insertion.parts.spaces import BROAD
from sim.insertion.plugs import MM, GeometryError, Plug
from sim.insertion.shapes import PLATE_DEPTH, Box, Capsule, plug_shapes, socket_shapes
from sim.insertion.wrist import SHAPE, wrist_model
from tests.support.plug_outline import gap

number = st.one_of(st.sampled_from([-1.0, 1.0]), st.floats(-1, 1))
every_family = pytest.mark.parametrize("family", PROCEDURAL)


@every_family
@given(size=number, shape=st.tuples(*[number] * 6))
@settings(max_examples=40, deadline=None)
def test_every_plug_has_its_clearance_its_length_and_its_budget(family, size, shape):
    plug = procedural_plug(family, size, shape)
    for clearance in (BROAD["clearance"].low, BROAD["clearance"].high):
        assert gap(plug, clearance) == pytest.approx(clearance, abs=1e-9)
        assert len(socket_shapes(plug, clearance)) <= SOCKET_BOXES
    shapes = plug_shapes(plug)
    assert sum(isinstance(s, Box) for s in shapes) <= PLUG_BOXES
    assert sum(isinstance(s, Capsule) for s in shapes) <= PLUG_CAPSULES
    for s in shapes:
        if isinstance(s, Capsule):
            assert math.dist(s.start, s.end) > 1e-5  # MuJoCo takes no capsule without length
        else:
            assert min(s.half) > 0
    assert plug.depth == pytest.approx((15 + 9 * shape[0]) * MM) and plug.depth < PLATE_DEPTH
    span = max(p.x + p.width / 2 for p in plug.pins) - min(p.x - p.width / 2 for p in plug.pins)
    assert 3 * MM - 1e-9 <= span <= 30 * MM + 1e-9


@every_family
def test_every_number_of_a_shape_counts_somewhere(family):
    rng = np.random.default_rng(2)
    moved = np.zeros(7, bool)

    def made(row: np.ndarray) -> Plug:
        size, a, b, c, d, e, f = row.tolist()
        return procedural_plug(family, size, (a, b, c, d, e, f))

    for _ in range(20):
        row = rng.uniform(-0.9, 0.9, 7)
        for i in range(7):
            other = row.copy()
            other[i] = -row[i]
            moved[i] |= made(other) != made(row)
    # Size and length count everywhere.
    assert moved[[0, 1]].all() and moved.sum() >= 4


def test_all_of_the_space_compiles_to_one_signature():
    reference = wrist_model(BROAD.task()).signature
    rng = np.random.default_rng(0)
    for task in BROAD.sample(24, rng, "all"):
        assert wrist_model(task).signature == reference
    for family in PROCEDURAL:
        for corner in (-1.0, 1.0):
            task = BROAD.task(family=family, size=corner, **dict.fromkeys(SHAPE, corner))
            assert wrist_model(task).signature == reference


def test_numbers_outside_are_refused():
    with pytest.raises(GeometryError, match=r"plug peg: size 1.5, .* outside \[−1, 1\]"):
        procedural_plug("peg", 1.5, (0, 0, 0, 0, 0, 0))

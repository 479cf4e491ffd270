"""Laws of plugs and sockets, on their shapes and on the models that are compiled from them."""

import math

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.insertion.plugs import FAMILIES, MM, PROCEDURAL, STANDARD, GeometryError, make_plug
from sim.insertion.shapes import (
    MIN_CLEARANCE,
    PLATE_DEPTH,
    PLATE_HALF,
    Box,
    Capsule,
    plug_shapes,
    socket_shapes,
)
from sim.insertion.space import SPACE
from sim.insertion.wrist import (
    PLUG_BOXES,
    PLUG_CAPSULES,
    SHAPE,
    SOCKET_BOXES,
    seat_pose,
    task_plug,
    wrist_model,
)
from tests.support.plug_outline import distance, outline, pins_of

SIZES = (-1.0, 0.37, 1.0)
CLEARANCES = (MIN_CLEARANCE, 0.25 * MM)
every_plug = pytest.mark.parametrize("size", SIZES)
every_family = pytest.mark.parametrize("family", sorted(FAMILIES))


@every_family
@every_plug
@pytest.mark.parametrize("clearance", CLEARANCES)
def test_the_gap_between_plug_and_socket_is_the_clearance_asked_for(family, size, clearance):
    plug = make_plug(family, size)
    boxes = socket_shapes(plug, clearance)
    points = np.concatenate([outline(s) for s in pins_of(plug)])
    # No pin nearer than asked for, in its own hole or another's.
    assert min(distance(points, b).min() for b in boxes) == pytest.approx(clearance, abs=1e-9)
    # And exactly so far in each direction: moved by the clearance, the plug touches its socket.
    for step in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        moved = points + clearance * np.array(step)
        assert min(distance(moved, b).min() for b in boxes) == pytest.approx(0, abs=1e-9)


@every_family
@every_plug
def test_every_pin_is_as_long_and_as_wide_as_its_family_says(family, size):
    plug = make_plug(family, size)
    shapes = pins_of(plug)
    lowest = []
    for shape in shapes:
        if isinstance(shape, Capsule):
            lowest.append(min(shape.start[2], shape.end[2]) - shape.radius)
        else:
            lowest.append(shape.centre[2] - shape.half[2])
    # The origin is the longest pin's end, and the housing begins where the pins are seated.
    assert min(lowest) == pytest.approx(0, abs=1e-12)
    housing = plug_shapes(plug)[-1]
    assert isinstance(housing, Box)
    assert housing.centre[2] - housing.half[2] == pytest.approx(plug.depth)
    points = np.concatenate([outline(s) for s in shapes])
    for axis, name in ((0, "width"), (1, "depth")):
        low = min((p.x, p.y)[axis] - getattr(p, name) / 2 for p in plug.pins)
        high = max((p.x, p.y)[axis] + getattr(p, name) / 2 for p in plug.pins)
        assert points[:, axis].min() == pytest.approx(low, abs=1e-6)
        assert points[:, axis].max() == pytest.approx(high, abs=1e-6)
        # The housing covers them, so that a plug cannot slip through its socket.
        assert housing.half[axis] >= max(-low, high)


@every_family
def test_a_socket_fills_its_plate_but_for_the_holes(family):
    plug = make_plug(family, 0.0)
    boxes = [b for b in socket_shapes(plug, 0.1 * MM) if b.yaw == 0]
    rng = np.random.default_rng(0)
    points = rng.uniform(-PLATE_HALF, PLATE_HALF, (4000, 2))
    solid = np.min([distance(points, b) for b in boxes], axis=0) <= 0
    hole = np.zeros(len(points), bool)
    for p in plug.pins:
        half = np.array([p.width, p.depth]) / 2 + 0.1 * MM
        hole |= (abs(points - [p.x, p.y]) < half).all(axis=1)
    assert (solid | hole).all()
    for b in boxes:
        assert b.centre[2] + b.half[2] == pytest.approx(0) and 2 * b.half[2] == PLATE_DEPTH
    assert plug.depth < PLATE_DEPTH


@every_family
def test_a_larger_size_is_a_larger_plug_and_none_repeats(family):
    spans = []
    for size in (-1, 0, 1):
        pins = make_plug(family, size).pins
        outer = max(abs(p.x) + p.width / 2 + abs(p.y) + p.depth / 2 for p in pins)
        spans.append(outer + max(p.length for p in pins))
    assert spans[0] < spans[1] < spans[2]


number = st.one_of(st.sampled_from([-1.0, 1.0]), st.floats(-1, 1))


@pytest.mark.parametrize("family", sorted(PROCEDURAL))
@given(size=number, shape=st.tuples(*[number] * 6))
@settings(max_examples=30, deadline=None)
def test_every_procedural_plug_has_its_clearance_and_its_budget(family, size, shape):
    plug = make_plug(family, size, shape)
    boxes, shapes = socket_shapes(plug, 0.1 * MM), plug_shapes(plug)
    assert len(boxes) <= SOCKET_BOXES and plug.depth < PLATE_DEPTH
    assert sum(isinstance(s, Box) for s in shapes) <= PLUG_BOXES
    assert sum(isinstance(s, Capsule) for s in shapes) <= PLUG_CAPSULES
    for s in shapes:
        if isinstance(s, Capsule):
            assert math.dist(s.start, s.end) > 1e-5  # MuJoCo takes no capsule without length
    points = np.concatenate([outline(s) for s in pins_of(plug)])
    gap = min(distance(points, b).min() for b in boxes)
    assert gap == pytest.approx(0.1 * MM, abs=1e-9)


@pytest.mark.parametrize("family", sorted(PROCEDURAL))
def test_every_number_of_a_shape_counts_and_only_where_it_is_said_to(family):
    base = (0.1, 0.1, 0.1, 0.1, 0.1, -0.5)
    alike = []
    for i in range(6):
        other = [*base]
        other[i] = 0.9
        alike.append(make_plug(family, 0, tuple(other)) == make_plug(family, 0, base))  # pyright: ignore[reportArgumentType]
    # A pair has neither height nor a pin that is longer than the rest.
    assert alike == [False, family == "procedural_2", False, False, family == "procedural_2", False]
    for standard in STANDARD:
        assert make_plug(standard, 0, base) == make_plug(standard, 0)


@pytest.mark.parametrize("corner", [-1.0, 1.0])
def test_procedural_plugs_compile_at_the_corners_of_their_space(corner):
    for family in PROCEDURAL:
        for kind in (-1.0, 1.0):
            shape = {name: kind if name == SHAPE[5] else corner for name in SHAPE}
            task = SPACE.task(family=family, size=corner, **shape)
            assert wrist_model(task).signature == wrist_model(SPACE.task()).signature


def test_every_family_and_size_compiles_to_one_signature_within_its_budget():
    signatures = set()
    for family in FAMILIES:
        for size in (-1.0, 0.37, 1.0):
            shapes = plug_shapes(make_plug(family, size))
            assert sum(isinstance(s, Box) for s in shapes) <= PLUG_BOXES
            assert sum(isinstance(s, Capsule) for s in shapes) <= PLUG_CAPSULES
            for clearance in (0.08 * MM, 0.25 * MM):
                assert len(socket_shapes(make_plug(family, size), clearance)) <= SOCKET_BOXES
        model = wrist_model(SPACE.task(family=family, size=0.37))
        signatures.add(model.signature)
        assert model.ngeom == PLUG_BOXES + PLUG_CAPSULES + SOCKET_BOXES
    assert len(signatures) == 1


def touches(task, model, along: float, across: float, depth: float) -> bool:
    """Whether the plug, aligned but for an offset in the socket's own axes, touches anything."""
    seat, data = seat_pose(task), mujoco.MjData(model)
    c, s = math.cos(task["socket_yaw"]), math.sin(task["socket_yaw"])
    x, y = seat.x + c * along - s * across, seat.y + s * along + c * across
    data.qpos[:] = [x, y, seat.z - depth, seat.yaw, 0, 0]
    mujoco.mj_forward(model, data)
    return data.ncon > 0


@every_family
@pytest.mark.parametrize("clearance", [0.08 * MM, 0.25 * MM])
def test_a_compiled_plug_has_exactly_its_clearance_to_move_in(family, clearance):
    task = SPACE.task(
        family=family,
        size=0.4,
        clearance=clearance,
        socket_x=2e-3,
        socket_y=-1e-3,
        socket_z=0.3e-3,
        socket_yaw=0.06,
        grasp_x=0.4e-3,
        grasp_y=-0.3e-3,
        grasp_yaw=-0.02,
    )
    model, depth = wrist_model(task), task_plug(task).depth
    for d in (0.5 * depth, depth - 0.01 * MM):
        assert not touches(task, model, 0, 0, d)
        for sign in (-1, 1):
            for factor, expected in ((0.95, False), (1.05, True)):
                offset = sign * factor * clearance
                assert touches(task, model, offset, 0, d) == expected
                assert touches(task, model, 0, offset, d) == expected
    # The housing lands on the face.
    assert touches(task, model, 0, 0, depth + 0.01 * MM)
    # Out of the socket there is nothing to touch.
    assert not touches(task, model, 1e-3, 1e-3, -0.5e-3)


@pytest.mark.parametrize("clearance", [-0.1 * MM, 0.0, 0.99 * MIN_CLEARANCE, math.nan])
def test_a_plug_wider_than_its_socket_is_refused(clearance):
    with pytest.raises(GeometryError, match=r"peg_round: clearance .* mm a side .* wider than"):
        socket_shapes(make_plug("peg_round", 0.0), clearance)


def test_a_slot_wider_than_the_plate_is_refused():
    with pytest.raises(GeometryError, match="past the plate's half size 40 mm"):
        socket_shapes(make_plug("connector", 1.0), 40 * MM)


def test_a_family_or_size_that_there_is_not_is_refused():
    with pytest.raises(GeometryError, match=r"no plug family 'usb_c'; there are .*bs_1363"):
        make_plug("usb_c", 0.0)
    for size in (1.01, -2.0, math.nan):
        with pytest.raises(GeometryError, match=r"peg_rect: size .*outside \[−1, 1\]"):
            make_plug("peg_rect", size)
    with pytest.raises(GeometryError, match=r"procedural_3: .*1\.5.*outside \[−1, 1\]"):
        make_plug("procedural_3", 0.0, (0, 1.5, 0, 0, 0, 0))

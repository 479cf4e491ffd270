"""The seat from touches that a known cell would give."""

import numpy as np
import pytest
from msgspec import structs

from robot_bridge.errors import ProbeError
from robot_bridge.probing import pose
from robot_bridge.probing.limits import ProbeSettings, matrix
from robot_bridge.probing.plan import approaches
from robot_bridge.protocol.probe_messages import Level, Post, ProbeReport, ProbeTarget, Touch

TWO = tuple(Post(x, 0.0, 0.002, 0.002, 0.0) for x in (-0.009, 0.009))
ROUND = (Post(0.0, 0.0, 0.006, 0.001, 0.0),)
TRUE = np.array([0.002, -0.0015, 3e-4, 0.05, 0.006, -0.004, 4e-4, -2e-4, 0.02])


def target(posts) -> ProbeTarget:
    return ProbeTarget(
        (0.04, 0.04), posts, ((0.0, 0.025), (0.02, -0.025), (-0.02, -0.025)),
        0.003, 5e-4, 0.08, 0.01, 5e-4, 0.03, (1200.0, 1200.0, 2500.0),
    )  # fmt: skip


def report(known: ProbeTarget, u: np.ndarray, noise: float = 0.0, rng=None) -> ProbeReport:
    """Touches where the gap closes, pressed into a contact that yields 1/20 mm a newton."""
    rng = rng or np.random.default_rng(0)
    touches = []
    for plan in approaches(known, ProbeSettings(reach=0.07)):
        towards = plan.direction
        touch = Touch(plan.surface, tuple(towards.tolist()), LEVEL, LEVEL)
        at = np.append(plan.start[:3], [plan.start[3], 0.0, 0.0])
        for _ in range(8):  # a secant along the approach
            at[:3] += pose.gap(touch, at, known, u) * towards
        levels = []
        for force in (1.5, 3.5):
            there = at.copy()
            there[:3] += towards * (force * 5e-5 + noise * rng.normal())
            levels.append(Level(tuple(there.tolist()), tuple((force * towards).tolist()), ZERO))
        touches.append(structs.replace(touch, light=levels[0], firm=levels[1]))
    return ProbeReport(known, tuple(touches), (), "", 3.5, 50.0)


ZERO = (0.0, 0.0, 0.0)
LEVEL = Level((0.0, 0.0, 0.0, 0.0, 0.0, 0.0), ZERO, ZERO)


def test_a_known_cell_is_found():
    found = pose.seat_pose(report(target(TWO), TRUE))
    np.testing.assert_allclose(found.mean[:2], pose.seat(TRUE)[:2], atol=2e-5)
    assert (np.abs(found.mean - pose.seat(TRUE)) < found.std).all()
    assert (found.std < 0.4 * found.known).all()


def test_what_is_claimed_holds():
    known, rng = target(TWO), np.random.default_rng(1)
    inside = []
    for _ in range(30):
        u = rng.uniform(-1, 1, 9) * [3e-3, 3e-3, 5e-4, 0.08, 0.01, 0.01, 5e-4, 5e-4, 0.03]
        # 0.03 mm of each level make 0.06 mm of the touch.
        found = pose.seat_pose(report(known, u, 2e-5, rng))
        inside.append(np.abs(found.mean - pose.seat(u)) < pose.Z90 * found.std)
    assert 0.85 <= np.mean(inside)


def test_a_round_peg_tells_its_yaw_hardly_and_the_prior_says_so():
    found = pose.seat_pose(report(target(ROUND), TRUE))
    prior = pose.measured_prior(found, {"method": "touches"})
    told = {quantity.name: quantity.measured for quantity in prior.parameters}
    assert told["seat_x"] and told["seat_y"] and told["face_z"]
    # The grasp's yaw stays as unknown as it was.
    assert found.std[pose.TOLD.index("seat_yaw")] > 0.03 / np.sqrt(3)


def test_no_claim_is_below_the_floor():
    found = pose.seat_pose(report(target(TWO), TRUE))
    assert (found.std >= pose.FLOOR).all()


@pytest.mark.parametrize("touch", range(3, 9))
def test_a_side_that_moved_is_a_contradiction(touch):
    good = report(target(TWO), TRUE)
    touches = list(good.touches)
    levels = {}
    for name in ("light", "firm"):
        level = getattr(touches[touch], name)
        shifted = np.array(level.pose)
        shifted[:3] += 0.001 * np.array(touches[touch].direction)
        levels[name] = structs.replace(level, pose=tuple(shifted.tolist()))
    touches[touch] = structs.replace(touches[touch], **levels)
    with pytest.raises(ProbeError, match="contradict each other"):
        pose.seat_pose(structs.replace(good, touches=tuple(touches)))


def test_touches_of_no_use_are_named():
    good = report(target(TWO), TRUE)
    with pytest.raises(ProbeError, match="no surface was touched"):
        pose.seat_pose(structs.replace(good, touches=()))
    with pytest.raises(ProbeError, match="the sensor is dead"):
        pose.seat_pose(structs.replace(good, problem="the sensor is dead"))
    weak = structs.replace(good.touches[0], firm=good.touches[0].light)
    with pytest.raises(ProbeError, match=r"touch of face: forces 1\.5 and 1\.5 N"):
        pose.seat_pose(structs.replace(good, touches=(weak, *good.touches[1:])))


def test_the_matrix_is_a_rotation():
    turn = matrix(np.array([0.3, -0.2, 0.1]))
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)

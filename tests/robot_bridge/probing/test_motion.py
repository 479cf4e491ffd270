"""Touches on a simulated plate: what they find, and what stops them."""

import numpy as np
import pytest
from msgspec import structs

from adapt.bundle.policy_bundle import read_manifest
from robot_bridge.errors import ProbeError
from robot_bridge.probing.limits import Layout, ProbeSettings, check_probing
from robot_bridge.probing.motion import FIRM, Prober
from robot_bridge.probing.pose import TOLD, measured_prior, seat_pose
from sim.demo import SHIPPED
from sim.insertion.arm import ArmBody
from sim.insertion.parts.described import plug_file
from sim.insertion.parts.spaces import plug_space
from sim.insertion.spec import SPEC
from sim.twin.twin import draw_tasks
from tests.support.probed_cell import WRENCH, Cell, task, touched, truth


@pytest.mark.parametrize("group", ["unseen_choice", "held_out"])
def test_touches_find_the_seat(group):
    one = task(1, group)
    report = touched(Cell(one))
    assert report.problem == ""
    assert [t.surface for t in report.touches] == [
        *["face"] * 3, "y-", "y-", "x+", "y+", "y+", "x-",
    ]  # fmt: skip
    found = seat_pose(report)
    error = np.abs(found.mean - truth(one))
    assert (error < 3 * found.std).all()
    assert (found.std[:2] < 1e-4).all() and (error[:2] < 1e-4).all()
    assert found.std[TOLD.index("seat_yaw")] < 0.01
    assert report.peak_force < 2 * FIRM
    assert 30 < report.seconds < 90
    prior = measured_prior(found, {})
    assert all(quantity.measured for quantity in prior.parameters)


def test_a_plug_without_symmetry_is_found_however_far_its_socket_is_turned():
    """Fits from no yaw alone end in a minimum in which another edge touches."""
    space = plug_space(plug_file("nema_14_30p"))
    for number in (0, 9):
        one = draw_tasks(space, {"held_out": 100}, 0)[number]
        cell = Cell(one, body=ArmBody)
        cell.worlds.rng = np.random.default_rng([0, number, 1, 1])
        found = seat_pose(touched(cell))
        assert (np.abs(found.mean - truth(one)) < 4 * found.std).all()


def noisy(period, observation, cell):
    """As much noise again as the space's sensor has, and half more."""
    noise = np.random.default_rng(period).normal(size=6)
    observation[WRENCH] += noise * ([0.5] * 3 + [0.008] * 3)
    return observation


@pytest.mark.parametrize("number", range(3))
def test_a_sensor_with_twice_the_noise_finds_the_seat_too(number):
    one = task(number)
    report = touched(Cell(one, noisy))
    assert report.problem == ""
    found = seat_pose(report)
    assert (np.abs(found.mean - truth(one)) < 4 * found.std).all()


def test_the_contact_block_presses_and_slides_on_the_face_alone():
    report = touched(Cell(task()), blocks=("contact",))
    assert [touch.surface for touch in report.touches] == ["face"] * 3
    assert len(report.slides) == 2 and report.problem == ""


def pressed(change):
    """From the first downward approach on, this force [N] is added."""

    def spoil(period, observation, cell):
        if period > 45 and observation[2] < 0.0058:
            cell.down = True
        if getattr(cell, "down", False):
            observation[WRENCH.start : WRENCH.start + 3] += change
        return observation

    return spoil


def silent(period, observation, cell):
    observation[WRENCH] = 0.1
    return observation


def deaf(period, observation, cell):
    noise = np.random.default_rng(period).normal(size=6)
    observation[WRENCH] = noise * ([0.3] * 3 + [0.005] * 3)
    return observation


def leaning(period, observation, cell):
    observation[WRENCH.start] += 12.0
    return observation


def stuck(period, observation, cell):
    """A force that stays after the retraction."""
    observation[WRENCH.start] += 12.0 * (period > 200)
    return observation


def moved(period, observation, cell):
    if period == 600:
        cell.worlds.sim.model(0).body("socket").pos[:2] += 0.0007
    return observation


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (pressed([0, 0, -2.5]), "from the start of the approach"),
        (silent, "without any noise over 8 periods: the sensor is dead"),
        (deaf, "behind and the sensor reads"),
        (leaning, "N at rest at .* before a touch; expected a bias of at most"),
        (stuck, "something is in the way|still in contact|N at rest"),
    ],
)
def test_what_a_sensor_gets_wrong_is_named_and_the_robot_retracts(spoil, said):
    cell = Cell(task(), spoil)
    report = touched(cell)
    with pytest.raises(ProbeError, match=said):
        seat_pose(report)
    assert cell.worlds.peak_force[0] < 20
    assert cell.worlds.sim.qpos[0, 2] > 0.001


@pytest.mark.parametrize(
    ("plate", "said"),
    [(0.049, "no contact with the plate's side"), (0.03, "something is in the way")],
)
def test_a_plate_that_is_not_as_the_target_says_is_named(plate, said):
    cell = Cell(task())
    report = touched(cell, structs.replace(cell.target, plate=(plate, plate)))
    assert said in report.problem


def test_a_socket_that_moved_meanwhile_contradicts_itself():
    report = touched(Cell(task(), moved))
    assert report.problem == ""
    with pytest.raises(ProbeError, match=r"contradict each other .* has moved meanwhile"):
        seat_pose(report)


def test_a_disturbance_gives_up_and_retracts():
    cell = Cell(task())
    layout = Layout(SPEC.observation, SPEC.action)
    prober = Prober(layout, ProbeSettings(reach=0.07), cell.target, ("socket",), 0.05)
    observation = cell.reset()
    while not prober.report.touches:
        observation = cell.follow(prober.step(observation))
    low = observation[2]
    prober.disturbed("force wrench is 30 N")
    count = 0
    while not prober.over:
        observation = cell.follow(prober.step(observation))
        count += 1
    assert prober.report.problem == "force wrench is 30 N"
    assert observation[2] - low > 0.002 and count < 40


def test_what_the_bridge_does_not_allow_is_refused_before_any_motion():
    cell = Cell(task())
    layout = Layout(SPEC.observation, SPEC.action)
    with pytest.raises(ProbeError, match=r"side y- takes probing to \d+ mm .* probe.reach is 50"):
        Prober(layout, ProbeSettings(reach=0.05), cell.target, ("socket",), 0.05)
    turned = structs.replace(cell.target, yaw=0.3)
    with pytest.raises(ProbeError, match=r"may be turned by 0\.3 rad"):
        Prober(layout, ProbeSettings(reach=0.07), turned, ("socket",), 0.05)


def test_bundles_that_gain_nothing_are_refused_by_name():
    manifest, _ = read_manifest(SHIPPED)
    with pytest.raises(ProbeError, match=r"probe\.reach is 0"):
        check_probing(manifest, ProbeSettings())
    reach = ProbeSettings(reach=0.07)
    check_probing(manifest, reach)
    maesn, _ = read_manifest(SHIPPED.parent / "insertion-maesn")
    with pytest.raises(ProbeError, match=r"'insertion-maesn' gains nothing .* physical meaning"):
        check_probing(maesn, reach)
    with pytest.raises(ProbeError, match="it lacks observation 'wrench'"):
        Layout([field for field in SPEC.observation if field.name != "wrench"], SPEC.action)

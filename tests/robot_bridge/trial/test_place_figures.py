"""The picture of where a belief still places what it seeks."""

import re

import pytest
from msgspec import structs

from adapt.bundle.fields import Factor, Latent
from robot_bridge.protocol.operator_messages import BeliefPoint
from robot_bridge.trial.folder import read_lines
from robot_bridge.trial.place_figures import MOST, Moment, draw_places, moments, place_of
from robot_bridge.trial.svg import Drawing
from robot_bridge.trial.tasks import by_task
from tests.robot_bridge.trial.test_report import HEADER, make, page

FACTORS = [
    Factor("friction", "1", 0.5, 0.1, 0),
    Factor("seat_x", "m", 0.0, 0.002, 2),
    Factor("seat_y", "m", 0.001, 0.002, 1),
    Factor("seat_yaw", "rad", 0.0, 0.05, 3),
]
LATENT = Latent(4, [0.0] * 4, [1.0] * 4, 0, FACTORS)
BELIEF = BeliefPoint(0, 0, (0.0, 0.5, -1.0, 2.0), (1.0, 0.25, 0.01, 0.04))


def drawn(held, latent=LATENT):
    with Drawing() as drawing:
        return draw_places(drawing, latent, held)


def test_the_place_is_the_pair_in_metres_and_its_yaw():
    place = place_of(LATENT)
    assert place is not None and place.yaw is not None
    assert (place.x.name, place.y.name, place.yaw.name) == ("seat_x", "seat_y", "seat_yaw")
    for factors in (FACTORS[:2], [*FACTORS[:2], structs.replace(FACTORS[2], unit="N")]):
        latent = structs.replace(LATENT, factors=factors)
        assert place_of(latent) is None and drawn([Moment("now", BELIEF, {})], latent) == []
    place = place_of(structs.replace(LATENT, factors=FACTORS[:3]))
    assert place is not None and place.yaw is None


def test_a_chart_tells_the_belief_and_the_truth_in_words():
    truth = {"seat_x": 0.001, "seat_y": -0.0004, "seat_yaw": 0.03}
    known, unknown = drawn([Moment("now", BELIEF, truth), Moment("then", BELIEF, {})])
    said = "now: x -2.00 ± 0.20 mm, y 2.00 ± 1.00 mm; the truth is 1.00, -0.40 mm"
    assert f"{said}; yaw 100 ± 10 mrad, in truth 30." in known
    assert "then: x -2.00" in unknown and "truth" not in unknown.split(">")[0]


def test_there_is_one_for_the_start_each_failure_and_touches(tmp_path):
    first, second, blind, *_ = by_task(read_lines(make(tmp_path / "trial")))
    said = [moment.said for moment in moments(first, {(0, 1), (2, 1)})]
    assert said == ["before the first episode", "after episode 1 failed", "after touches"]
    assert moments(second, set()) == []
    held = moments(blind, set())
    assert [m.belief for m in held[1:]] == [line.belief_after for line in blind]
    assert len(drawn([Moment("now", BELIEF, {})] * (MOST + 3))) == MOST


def test_the_page_draws_them_for_tasks_that_failed(tmp_path):
    plain = page(make(tmp_path / "plain"))
    assert "Where the socket still may be" not in plain
    latent = structs.replace(
        HEADER.latent,
        factors=[structs.replace(f, unit="m", name=n) for f, n in zip(
            HEADER.latent.factors, ("seat_x", "seat_y"), strict=True
        )],
    )  # fmt: skip
    text = page(make(tmp_path / "t", header=structs.replace(HEADER, latent=latent)))
    labels = re.findall(r'aria-label="The place that the belief holds, ([^:]*):', text)
    # Tasks 7, 0 and 3 are shown, as they failed before they succeeded, or the reverse.
    assert labels.count("before the first episode") == 3
    assert labels.count("after episode 1 failed") == 2


@pytest.mark.parametrize("reach", [1e-4, 1e-2])
def test_a_truth_far_off_is_within_the_chart(reach):
    (chart,) = drawn([Moment("now", BELIEF, {"seat_x": reach, "seat_y": reach})])
    assert "<svg" in chart

"""Plugs in files of a user's own: what fits, and what is refused by key, value and remedy."""

from pathlib import Path

import pytest

from sim.core.registry import family
from sim.insertion.parts.described import described_plug, plug_file
from sim.insertion.plugs import MM, GeometryError
from sim.insertion.wrist import task_plug, wrist_model
from tests.support.plug_outline import gap

GOOD = """
name: bench connector
unit: mm
clearance: 0.15
pins:
  - {shape: rectangular, at: [-6, 0], size: [1.5, 6], length: 16}
  - {shape: round, at: [6, 0], size: 4.8, length: 19}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "plug.yaml"
    path.write_text(text)
    return path


def pin(row: str) -> str:
    """The good plug with other pins."""
    return GOOD[: GOOD.index("  - ")] + row


def test_a_plug_of_ten_lines_is_a_family(tmp_path):
    path = written(tmp_path, GOOD)
    space = family(str(path)).space
    plug = task_plug(space.task())
    assert plug.depth == pytest.approx(19 * MM) and len(plug.pins) == 2
    assert space["clearance"].low == pytest.approx(0.15 * MM) == space["clearance"].high
    assert wrist_model(space.task()).nq == 6


@pytest.mark.parametrize(
    "pins",
    [
        "  - {shape: d, at: [0, 0], size: [8, 7], length: 12}",
        "  - {shape: shell, at: [1, 2], size: [12, 4.5], length: 12, wall: 0.8}",
        "  - {shape: round, at: [-2, 0], size: 12, length: 12}",
        "  - {shape: rectangular, at: [0, 0], size: [8, 2], length: 9}\n"
        "  - {shape: rectangular, at: [3, 3], size: [2, 4], length: 9}",
    ],
)
def test_every_outline_keeps_its_clearance_and_compiles(tmp_path, pins):
    path = written(tmp_path, pin(pins))
    assert gap(described_plug(path).plug, 0.15 * MM) == pytest.approx(0.15 * MM, abs=1e-9)
    reference = wrist_model(family(str(written(tmp_path, GOOD))).space.task())
    assert wrist_model(family(str(path)).space.task()).signature == reference.signature


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("unit: mm", "unit: inch"), "unit is 'inch'; expected mm"),
        (GOOD.replace("unit: mm\n", ""), "lacks unit: mm"),
        (
            GOOD.replace("name:", "nmae:"),
            "no key 'nmae' .did you mean 'name'..; the keys are name,",
        ),
        (GOOD.replace("0.15", "0.02"), r"clearance is 0.02; expected 0.05 to 1 mm a side"),
        (GOOD.replace("0.15", ".nan"), "clearance is nan; expected 0.05 to 1 mm"),
        (GOOD.replace("0.15", "[0.2, 0.1]"), r"clearance is \[0.2, 0.1\]; .* smallest first"),
        (GOOD.replace("0.15", "small"), "clearance is 'small'; expected a number of mm a side"),
        (GOOD.replace("[1.5, 6]", "[-1.5, 6]"), r"pin 1: size is .*-1.5.*at least 0.6 mm"),
        (GOOD.replace("4.8", "[4.8, 4.8]"), r"pin 2: size is \[4.8, 4.8\]; expected its diameter"),
        (GOOD.replace("length: 19", "length: 40"), "pin 2: length is 40; expected 3 to 25 mm"),
        (GOOD.replace(", length: 19", ""), "pin 2: lacks length: a number of mm"),
        (GOOD.replace("round", "hexagonal"), "pin 2: shape is 'hexagonal'; expected rectangular,"),
        (GOOD.replace("[6, 0]", "[6]"), r"pin 2: at is \[6\]; expected \[x, y\] of its centre"),
        (GOOD.replace("[6, 0]", "[-5, 0]"), "pins 1 and 2 overlap by 2.15 mm; move one"),
        (GOOD.replace("[6, 0]", "[-2.5, 0]"), "pins 1 and 2 are 0.35 mm apart; expected at least"),
        (GOOD.replace("[6, 0]", "[36, 0]"), "pin 2: its hole reaches 38.55 mm along x; .* 38 mm"),
        (pin("  - 7"), "pin 1 is 7; expected {shape"),
        (pin("  []"), r"pins is \[\]; expected at least one"),
        (
            pin("  - {shape: shell, at: [0, 0], size: [9, 4], length: 9, wall: 1.8}"),
            "pin 1: wall is 1.8; expected 0.5 to 1 mm",
        ),
        (pin("  - {shape: shell, at: [0, 0], size: [9, 4], length: 9}"), "pin 1: wall is None"),
        (
            pin("  - {shape: round, at: [0, 0], size: 4, length: 9, edge: 3}"),
            "pin 1: edge is 3; expected 0.2 to 2 mm",
        ),
        (
            pin(
                "\n".join(
                    f"  - {{shape: rectangular, at: [{x}, 0], size: [3, 3], length: 9}}"
                    for x in range(-20, 21, 8)
                )
            ),
            "6 rows make 7 boxes and 24 capsules .* at most 5, 16 and 60",
        ),
        ("[1, 2]", r"expected the keys name, unit, clearance, pins, source, got \[1, 2\]"),
        ("a: [", "no YAML"),
    ],
)
def test_a_plug_that_cannot_be_is_refused_by_key_value_and_remedy(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(GeometryError, match=f"{path}: .*{message}"):
        family(str(path))


def test_a_file_or_a_name_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(GeometryError, match=r"none\.yaml: No such file"):
        family(str(tmp_path / "none.yaml"))
    with pytest.raises(GeometryError, match=r"no plug 'us_dc' .did you mean 'us_ac'"):
        plug_file("us_dc")

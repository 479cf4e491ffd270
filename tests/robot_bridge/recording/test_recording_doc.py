"""The page about recordings names what there is."""

import re
from pathlib import Path

import pytest

from adapt.bundle.policy_bundle import read_manifest
from robot_bridge.recording.json_schema import schemas
from robot_bridge.recording.rotation import FLUSH, Rotation
from robot_bridge.recording.rows import EVENTS, LOG, LOSSES
from robot_bridge.recording.writer import CAPACITY
from robot_bridge.session.event_throttle import BURST, RATE

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/recording.md").read_text()


@pytest.fixture(scope="module")
def known():
    manifest, _ = read_manifest(ROOT / "bundles/insertion-pearl")
    return schemas(manifest)


def first_column(header):
    """Names in the first column of the table under that header."""
    rows = PAGE.split(header)[1].split("\n\n")[0].splitlines()[2:]
    cells = [row.split("|")[1] for row in rows]
    return [name.strip(" `") for cell in cells for name in cell.split(",")]


def test_every_topic_and_schema_is_named(known):
    rows = re.findall(r"\| `(/\S+)` \| (\S+) \|", PAGE)
    assert {topic for topic, _ in rows if "ROBOT" not in topic} == {EVENTS, LOG, LOSSES}
    assert {schema for _, schema in rows} == set(known)


def test_every_field_of_a_step_is_named(known):
    named = {name.partition(".")[0] for name in first_column("| field | unit | meaning |")}
    assert named == set(known["acclimate.Step"]["properties"])


def test_the_numbers_are_those_of_the_code():
    assert f"every {FLUSH:g} s;" in PAGE
    assert f"{BURST} at once and {RATE:g} a second" in PAGE
    assert f"up to {CAPACITY} records wait" in PAGE
    assert f"tried every {Rotation.retry:g} s" in PAGE
    assert f"after {Rotation.size >> 20} MiB or {Rotation.age / 60:g} minutes" in PAGE

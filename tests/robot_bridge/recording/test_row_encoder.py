"""Rows and schemas are, byte for byte, those of recordings made before."""

import json
from dataclasses import fields
from pathlib import Path

import msgspec
import numpy as np
import pytest
from mcap.records import Message, Schema
from mcap.stream_reader import StreamReader

from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.protocol.messages import Mode, Outcome
from robot_bridge.recording.json_schema import schemas
from robot_bridge.recording.reader import RecordingReader
from robot_bridge.recording.row_encoder import RowEncoder
from robot_bridge.recording.rows import (
    AdaptationRow,
    EndRow,
    EventRow,
    StateRow,
    StepRow,
    gathered,
    numbers,
    unpacked,
)
from robot_bridge.telemetry.records import (
    AdaptationRecord,
    EndRecord,
    EventRecord,
    StateRecord,
    StepRecord,
)

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("insertion-pearl", "insertion-maesn")


def parts(name):
    bundle = PolicyBundle.load(ROOT / "bundles" / name)
    return bundle.manifest, ROOT / "tests" / "data" / f"{name}.mcap"


def again(row, manifest, encoder):
    """The row's bytes, from a record with the row's content."""
    same = msgspec.structs.asdict(row)
    match row:
        case StepRow():
            del same["answer_time"]
            same |= {
                "robot": "twin",
                "observation": gathered(row.observation, manifest.observation),
                "command": gathered(row.command, manifest.action),
                "wanted": None
                if row.wanted is msgspec.UNSET
                else gathered(row.wanted, manifest.action),
                "mode": Mode[row.mode],
                "latent": numbers(row.latent),
                "belief_mean": numbers(row.belief_mean, np.float64),
                "belief_variance": numbers(row.belief_variance, np.float64),
            }
            return encoder.step(StepRecord(**same))
        case AdaptationRow():
            sizes = manifest.observation_size, manifest.action_size
            same = {f.name: same[f.name] for f in fields(AdaptationRecord) if f.name in same}
            same["transition"] = unpacked(row, *sizes) if row.transition else None
            return encoder.adaptation(AdaptationRecord("twin", **same))
        case StateRow():
            return encoder.state(StateRecord("twin", **same))
        case EndRow():
            time_ns, task, episode = (same.pop(name) for name in ("time_ns", "task", "episode"))
            return encoder.end(EndRecord("twin", time_ns, task, episode, Outcome(**same)))
        case EventRow():
            return encoder.event(EventRecord(**same))
    raise AssertionError(row)


@pytest.mark.parametrize("name", NAMES)
def test_records_are_encoded_as_they_were(name):
    manifest, path = parts(name)
    encoder, seen = RowEncoder(manifest), set()
    for entry in RecordingReader(path).entries():
        seen.add(type(entry.row))
        assert again(entry.row, manifest, encoder) == msgspec.json.encode(entry.row)
    assert seen == {StepRow, AdaptationRow, StateRow, EndRow, EventRow}


@pytest.mark.parametrize("name", NAMES)
def test_what_was_read_is_written_again_byte_for_byte(name):
    _, path = parts(name)
    rows = [entry.row for entry in RecordingReader(path).entries()]
    with path.open("rb") as file:
        recorded = [
            record.data
            for record in StreamReader(file).records
            if isinstance(record, Message) and b'"timestamp"' not in record.data
        ]
    assert [msgspec.json.encode(row) for row in rows] == recorded


def undescribed(schema):
    if not isinstance(schema, dict):
        return schema
    return {key: undescribed(value) for key, value in schema.items() if key != "description"}


@pytest.mark.parametrize("name", NAMES)
def test_schemas_differ_from_those_recorded_in_words_alone(name):
    manifest, path = parts(name)
    with path.open("rb") as file:
        records = [record for record in StreamReader(file).records if isinstance(record, Schema)]
    recorded = {record.name: json.loads(record.data) for record in records}
    made = json.loads(msgspec.json.encode(schemas(manifest)))
    assert undescribed(made) == undescribed(recorded)
    # Units, shapes and factors come from the bundle as before.
    step, old = made["acclimate.Step"]["properties"], recorded["acclimate.Step"]["properties"]
    assert step["observation"]["properties"] == old["observation"]["properties"]
    assert step["wanted"]["properties"] == old["wanted"]["properties"]
    assert step["belief_mean"] == old["belief_mean"]
    learnt = made["acclimate.Adaptation"]["properties"]["transition"]
    assert learnt == recorded["acclimate.Adaptation"]["properties"]["transition"]

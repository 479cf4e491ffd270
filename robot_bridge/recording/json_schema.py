"""JSON schemas of a recording's rows, from their classes, with shapes and units from the bundle.

They are plain, without references or alternatives: every reader takes such schemas.
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import getdoc
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec

from adapt.bundle.fields import Field
from adapt.bundle.manifest import Manifest
from robot_bridge.recording.rows import ROWS, Fields, Maybe

Schema = dict[str, Any]

KINDS: dict[Any, Schema] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    Maybe: {"type": "number"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    bytes: {"type": "string", "contentEncoding": "base64"},
    list[Maybe]: {"type": "array", "items": {"type": "number"}},
    Fields: {"type": "object", "properties": {}},
    Fields | msgspec.UnsetType: {"type": "object", "properties": {}},
    dict[str, float]: {"type": "object", "properties": {}},
}
LOG: Schema = {
    "title": "foxglove.Log",
    "type": "object",
    "description": "the events, for Foxglove's log panel",
    "properties": {
        "timestamp": {
            "type": "object",
            "title": "time",
            "properties": {
                "sec": {"type": "integer", "minimum": 0},
                "nsec": {"type": "integer", "minimum": 0, "maximum": 999999999},
            },
        },
        "level": {"type": "integer"},
        "message": {"type": "string"},
        "name": {"type": "string"},
        "file": {"type": "string"},
        "line": {"type": "integer", "minimum": 0},
    },
}


def schemas(manifest: Manifest) -> dict[str, Schema]:
    """JSON schema by name: those of this project with the bundle's units, and foxglove.Log."""
    factors = "; ".join(
        f"[{f.index}] {f.name} = {f.offset:g} + {f.scale:g} z {f.unit}".rstrip()
        for f in manifest.latent.factors
    )
    words = {
        "{factors}": factors,
        "{n_o}": str(manifest.observation_size),
        "{n_a}": str(manifest.action_size),
    }
    action = _fields(manifest.action)
    fields = {"observation": _fields(manifest.observation), "wanted": action, "command": action}
    made: dict[str, Schema] = {}
    for title, row in ROWS.items():
        properties = {
            name: _property(hint, words)
            for name, hint in get_type_hints(row, include_extras=True).items()
        }
        for name in fields.keys() & properties.keys():
            properties[name] |= {"properties": fields[name]}
        head = {"title": title, "type": "object", "description": getdoc(row)}
        made[title] = head | {"properties": properties}
    return made | {"foxglove.Log": LOG}


def _property(hint: Any, words: dict[str, str]) -> Schema:
    """Of one field: its kind, and what its Meta says."""
    if get_origin(hint) is not Annotated:
        return KINDS[hint].copy()
    kind, *_, meta = get_args(hint)
    description = meta.description or ""
    for word, text in words.items():
        description = description.replace(word, text)
    extra = meta.extra_json_schema or {}
    return KINDS[kind] | ({"description": description} if description else {}) | extra


def _fields(fields: Sequence[Field]) -> dict[str, Schema]:
    return {
        field.name: KINDS[list[Maybe]]
        | {"description": f"{field.unit}, shape {field.shape}, {field.low:g} to {field.high:g}"}
        for field in fields
    }

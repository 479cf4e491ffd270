"""JSON schemas of a recording's rows, with shapes and units from the bundle.

Plain ones, without references or alternatives: that is what every reader takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adapt.bundle.manifest import Field, Manifest
from robot_bridge.protocol.messages import Fault, Flag, Mode


def schemas(manifest: Manifest) -> dict[str, dict[str, Any]]:
    """JSON schema by name: those of this project with the bundle's units, and foxglove.Log."""
    latent = manifest.latent
    factors = "; ".join(
        f"[{f.index}] {f.name} = {f.offset:g} + {f.scale:g} z {f.unit}".rstrip()
        for f in latent.factors
    )
    action = _fields(manifest.action)
    step = {
        "sequence": _integer("of the observation answered"),
        "robot_time_ns": _integer("ns, the robot's monotonic clock when it measured"),
        "received_ns": _integer("ns, the bridge's monotonic clock when the observation was in"),
        "decided_ns": _integer("ns, the same clock when the command was made"),
        "sent_ns": _integer("ns, the same clock when the command had gone out"),
        "answer_time": _number("s, from receipt to sending"),
        "observation": _object(_fields(manifest.observation), "as received"),
        "reward": _number("measured for the command before"),
        "flags": _integer("bits: " + _bits(Flag)),
        "faults": _integer("bits: " + _bits(Fault)),
        "wanted": _object(action, "the policy's command before limits; absent when not asked"),
        "command": _object(action, "the command as sent; zero unless mode is TRACK"),
        "mode": {"type": "string", "enum": [mode.name for mode in Mode]},
        "latent": _list(f"(n_z,) in force. {factors}"),
        "belief_mean": _list(f"(n_z,) {factors}"),
        "belief_variance": _list("(n_z,)"),
        "belief_count": _integer("transitions behind the belief"),
        "belief_version": _integer("of the belief"),
        "latent_version": _integer("of the belief that the latent was drawn from"),
        "digest": _string("SHA-256 of the bundle's manifest"),
        "shadow": {"type": "boolean", "description": "computed, and not sent to be followed"},
    }
    adaptation = {
        "time_ns": _integer("ns, the bridge's monotonic clock when it was done"),
        "waited_ns": _integer("ns in the queue"),
        "took_ns": _integer("ns to learn; 0 when it found no room in the queue"),
        "belief_version": _integer("after it"),
        "problem": _string("why nothing was learnt; empty when something was"),
        "transition": _bytes(
            f"observation ({manifest.observation_size},), normalised action "
            f"({manifest.action_size},), next observation ({manifest.observation_size},), "
            "float32, little-endian; empty for the end of an episode"
        ),
        "reward": _number("measured for the action"),
        "terminal": {"type": "boolean", "description": "the task itself ended here"},
        "complete": {"type": "boolean", "description": "false at the end of a cut episode"},
        "adapter": _integer("whose, as in the states; another takes over with another model"),
    }
    numbered = {
        "time_ns": _integer("ns, the bridge's monotonic clock"),
        "task": _integer("as an operator asked; -1 where none did"),
        "episode": _integer("as an operator asked; -1 where none did"),
    }
    state = numbered | {
        "seed": _integer("as an operator asked; -1 where none did"),
        "cause": _string("episode: one begins now; otherwise what took over"),
        "digest": _string("SHA-256 of the bundle's manifest"),
        "adapting": {"type": "boolean"},
        "adapter": _integer("tells it from the one before"),
        "snapshot": _bytes(
            "all that the adapter knows, as adapt/adapters/snapshot.py seals it, or empty"
        ),
    }
    end = numbered | {
        "success": {"type": "boolean"},
        "steps": _integer("control periods"),
        "duration": _number("s"),
        "reason": _string("how it ended"),
        "measures": _object({}, "whatever else the robot measured, by name, SI"),
    }
    event = {
        "time_ns": _integer("ns, the bridge's monotonic clock"),
        "name": _string("one word for machines"),
        "robot": _string("whom it concerns; empty for the bridge itself"),
        "text": _string("one sentence for people"),
    }
    loss = {
        "time_ns": _integer("ns, the bridge's monotonic clock"),
        "lost": _integer("records that were not written since the row before"),
        "reason": _string("why"),
    }
    made = {
        "acclimate.Step": _object(step, "one answered observation"),
        "acclimate.Adaptation": _object(adaptation, "one transition learnt from, or refused"),
        "acclimate.State": _object(state, "from which a replay can start"),
        "acclimate.End": _object(end, "an episode is over"),
        "acclimate.Event": _object(event, "something that people should know"),
        "acclimate.Loss": _object(loss, "records that were not written"),
        "foxglove.Log": _object(_LOG, "the events, for Foxglove's log panel"),
    }
    return {name: {"title": name, **schema} for name, schema in made.items()}


_LOG: dict[str, Any] = {
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
}


def _fields(fields: Sequence[Field]) -> dict[str, Any]:
    return {
        field.name: _list(f"{field.unit}, shape {field.shape}, {field.low:g} to {field.high:g}")
        for field in fields
    }


def _object(properties: dict[str, Any], description: str) -> dict[str, Any]:
    return {"type": "object", "description": description, "properties": properties}


def _list(description: str) -> dict[str, Any]:
    return {"type": "array", "description": description, "items": {"type": "number"}}


def _number(description: str) -> dict[str, Any]:
    return {"type": "number", "description": description}


def _integer(description: str) -> dict[str, Any]:
    return {"type": "integer", "description": description}


def _string(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


def _bytes(description: str) -> dict[str, Any]:
    return {"type": "string", "contentEncoding": "base64", "description": description}


def _bits(kinds: type[Flag] | type[Fault]) -> str:
    return ", ".join(f"{int(kind)} {kind.name}" for kind in kinds)

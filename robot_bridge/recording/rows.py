"""What a recording holds: its topics and the rows on them, with the meaning of every field.

`json_schema` makes the files' schemas from these classes. Rows are JSON, so that `mcap cat`,
Foxglove and a text tool read them without this project. Numbers are written with as many digits as
it takes to get the same bits back; null stands for a number that is not finite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from adapt.adapters.base import Transition
from adapt.bundle.fields import Field
from robot_bridge.protocol.messages import Fault, Flag, Mode

FORMAT = "1"  # raised whenever a row of the old kind would be misread
PROFILE = ""  # of MCAP: none of the registered ones
LIBRARY = "acclimate"
ENCODING = "json"
METADATA = "acclimate"  # name of the metadata record at the start of every file
MANIFEST = "manifest.json"  # name of the attachment
EVENTS = "/events"
LOG = "/log"
LOSSES = "/recorder"
MALFORMED = "malformed"  # the field of an observation that has another size than the bundle's

Maybe = float | None
Fields = dict[str, list[Maybe]]


def told(description: str) -> msgspec.Meta:
    """What a field means. {factors}, {n_o} and {n_a} stand for what the bundle says."""
    return msgspec.Meta(description=description)


def bits(kinds: type[Flag] | type[Fault]) -> str:
    return "bits: " + ", ".join(f"{int(kind)} {kind.name}" for kind in kinds)


BRIDGE_NS = "ns, the bridge's monotonic clock"
ASKED = "as an operator asked; -1 where none did"
DIGEST = "SHA-256 of the bundle's manifest"


class StepRow(msgspec.Struct, frozen=True):
    """One answered observation."""

    sequence: Annotated[int, told("of the observation answered")]
    robot_time_ns: Annotated[int, told("ns, the robot's monotonic clock when it measured")]
    received_ns: Annotated[int, told(f"{BRIDGE_NS} when the observation was in")]
    decided_ns: Annotated[int, told("ns, the same clock when the command was made")]
    sent_ns: Annotated[int, told("ns, the same clock when the command had gone out")]
    answer_time: Annotated[float, told("s, from receipt to sending")]
    observation: Annotated[Fields, told("as received")]
    reward: Annotated[Maybe, told("measured for the command before")]
    flags: Annotated[int, told(bits(Flag))]
    faults: Annotated[int, told(bits(Fault))]
    command: Annotated[Fields, told("the command as sent; zero unless mode is TRACK")]
    mode: Annotated[str, msgspec.Meta(extra_json_schema={"enum": [mode.name for mode in Mode]})]
    latent: Annotated[list[Maybe], told("(n_z,) in force. {factors}")]
    belief_mean: Annotated[list[Maybe], told("(n_z,) {factors}")]
    belief_variance: Annotated[list[Maybe], told("(n_z,)")]
    belief_count: Annotated[int, told("transitions behind the belief")]
    belief_version: Annotated[int, told("of the belief")]
    latent_version: Annotated[int, told("of the belief that the latent was drawn from")]
    digest: Annotated[str, told(DIGEST)]
    shadow: Annotated[bool, told("computed, and not sent to be followed")]
    wanted: Annotated[
        Fields | msgspec.UnsetType,
        told("the policy's command before limits; absent when not asked"),
    ] = msgspec.UNSET


class AdaptationRow(msgspec.Struct, frozen=True):
    """One transition learnt from, or refused."""

    time_ns: Annotated[int, told(f"{BRIDGE_NS} when it was done")]
    waited_ns: Annotated[int, told("ns in the queue")]
    took_ns: Annotated[int, told("ns to learn; 0 when it found no room in the queue")]
    belief_version: Annotated[int, told("after it")]
    problem: Annotated[str, told("why nothing was learnt; empty when something was")]
    transition: Annotated[
        bytes,
        told(
            "observation ({n_o},), normalised action ({n_a},), next observation ({n_o},), float32, "
            "little-endian; empty for the end of an episode"
        ),
    ]
    reward: Annotated[Maybe, told("measured for the action")]
    terminal: Annotated[bool, told("the task itself ended with it")]
    complete: Annotated[bool, told("false at the end of a cut episode")]
    adapter: Annotated[
        int, told("number of the adapter, as in the states; another model has another one")
    ]


class StateRow(msgspec.Struct, frozen=True):
    """A point from which a replay can start."""

    time_ns: Annotated[int, told(BRIDGE_NS)]
    cause: Annotated[str, told("episode: an episode begins now; otherwise what has taken over")]
    digest: Annotated[str, told(DIGEST)]
    snapshot: Annotated[
        bytes, told("all that the adapter knows, as adapt/adapters/snapshot.py seals it, or empty")
    ]
    adapting: bool
    task: Annotated[int, told(ASKED)]
    episode: Annotated[int, told(ASKED)]
    seed: Annotated[int, told(ASKED)]
    adapter: Annotated[int, told("number of the adapter")]


class EndRow(msgspec.Struct, frozen=True):
    """An episode is over."""

    time_ns: Annotated[int, told(BRIDGE_NS)]
    task: Annotated[int, told(ASKED)]
    episode: Annotated[int, told(ASKED)]
    success: bool
    steps: Annotated[int, told("control periods")]
    duration: Annotated[float, told("s")]
    reason: Annotated[str, told("how it ended")]
    measures: Annotated[dict[str, float], told("further measurements of the robot, by name, SI")]


class EventRow(msgspec.Struct, frozen=True):
    """An event that an operator should know of."""

    time_ns: Annotated[int, told(BRIDGE_NS)]
    name: Annotated[str, told("one word, for programs")]
    robot: Annotated[str, told("the robot concerned; empty for the bridge itself")]
    text: Annotated[str, told("one sentence, for people")]


class LossRow(msgspec.Struct, frozen=True):
    """Records that were not written."""

    time_ns: Annotated[int, told(BRIDGE_NS)]
    lost: Annotated[int, told("records that were not written since the row before")]
    reason: Annotated[str, told("why")]


Row = StepRow | AdaptationRow | StateRow | EndRow | EventRow | LossRow

ROWS: dict[str, type[Row]] = {
    "acclimate.Step": StepRow,
    "acclimate.Adaptation": AdaptationRow,
    "acclimate.State": StateRow,
    "acclimate.End": EndRow,
    "acclimate.Event": EventRow,
    "acclimate.Loss": LossRow,
}
"""By the name of their schema."""


def encode_loss(row: LossRow) -> bytes:
    return msgspec.json.encode(row)


def numbers(values: Sequence[Maybe], dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
    """The array (n,) behind a row's list; NaN where the number was not finite."""
    return np.array([np.nan if value is None else value for value in values], dtype)


def gathered(fields: Fields, order: Sequence[Field]) -> npt.NDArray[np.float32]:
    """The array (n,) behind a row's fields, in the bundle's order. Raises KeyError."""
    return numbers([value for field in order for value in fields[field.name]])


def unpacked(row: AdaptationRow, n_o: int, n_a: int) -> Transition:
    """Raises ValueError when the row holds no transition of n_o and n_a numbers."""
    flat = np.frombuffer(row.transition, "<f4").astype(np.float32)
    if flat.size != 2 * n_o + n_a:
        raise ValueError(f"transition of {flat.size} numbers; expected {2 * n_o + n_a}")
    reward = float("nan") if row.reward is None else row.reward
    return Transition(flat[:n_o], flat[n_o : n_o + n_a], reward, flat[n_o + n_a :], row.terminal)

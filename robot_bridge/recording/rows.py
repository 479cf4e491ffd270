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


def meaning(description: str) -> msgspec.Meta:
    """What a field means. {factors}, {n_o} and {n_a} stand for what the bundle says."""
    return msgspec.Meta(description=description)


def bits(kinds: type[Flag] | type[Fault]) -> str:
    return "bits: " + ", ".join(f"{int(kind)} {kind.name}" for kind in kinds)


BRIDGE_NS = "ns, the bridge's monotonic clock"
ASKED = "as an operator asked; -1 where none did"
DIGEST = "SHA-256 of the bundle's manifest"


class StepRow(msgspec.Struct, frozen=True):
    """One answered observation."""

    sequence: Annotated[int, meaning("of the observation answered")]
    robot_time_ns: Annotated[int, meaning("ns, the robot's monotonic clock when it measured")]
    received_ns: Annotated[int, meaning(f"{BRIDGE_NS} when the observation was in")]
    decided_ns: Annotated[int, meaning("ns, the same clock when the command was made")]
    sent_ns: Annotated[int, meaning("ns, the same clock when the command had gone out")]
    answer_time: Annotated[float, meaning("s, from receipt to sending")]
    observation: Annotated[Fields, meaning("as received")]
    reward: Annotated[Maybe, meaning("measured for the command before")]
    flags: Annotated[int, meaning(bits(Flag))]
    faults: Annotated[int, meaning(bits(Fault))]
    command: Annotated[Fields, meaning("the command as sent; zero unless mode is TRACK")]
    mode: Annotated[str, msgspec.Meta(extra_json_schema={"enum": [mode.name for mode in Mode]})]
    latent: Annotated[list[Maybe], meaning("(n_z,) in force. {factors}")]
    belief_mean: Annotated[list[Maybe], meaning("(n_z,) {factors}")]
    belief_variance: Annotated[list[Maybe], meaning("(n_z,)")]
    belief_count: Annotated[int, meaning("transitions behind the belief")]
    belief_version: Annotated[int, meaning("of the belief")]
    latent_version: Annotated[int, meaning("of the belief that the latent was drawn from")]
    digest: Annotated[str, meaning(DIGEST)]
    shadow: Annotated[bool, meaning("computed, and not sent to be followed")]
    wanted: Annotated[
        Fields | msgspec.UnsetType,
        meaning("the policy's command before limits; absent when not asked"),
    ] = msgspec.UNSET


class AdaptationRow(msgspec.Struct, frozen=True):
    """One transition learnt from, or refused."""

    time_ns: Annotated[int, meaning(f"{BRIDGE_NS} when it was done")]
    waited_ns: Annotated[int, meaning("ns in the queue")]
    took_ns: Annotated[int, meaning("ns to learn; 0 when it found no room in the queue")]
    belief_version: Annotated[int, meaning("after it")]
    problem: Annotated[str, meaning("why nothing was learnt; empty when something was")]
    transition: Annotated[
        bytes,
        meaning(
            "observation ({n_o},), normalised action ({n_a},), next observation ({n_o},), float32, "
            "little-endian; empty for the end of an episode"
        ),
    ]
    reward: Annotated[Maybe, meaning("measured for the action")]
    terminal: Annotated[bool, meaning("the task itself ended with it")]
    complete: Annotated[bool, meaning("false at the end of a cut episode")]
    adapter: Annotated[
        int, meaning("number of the adapter, as in the states; another model has another one")
    ]


class StateRow(msgspec.Struct, frozen=True):
    """A point from which a replay can start."""

    time_ns: Annotated[int, meaning(BRIDGE_NS)]
    cause: Annotated[str, meaning("episode: an episode begins now; otherwise what has taken over")]
    digest: Annotated[str, meaning(DIGEST)]
    snapshot: Annotated[
        bytes,
        meaning("all that the adapter knows, as adapt/adapters/snapshot.py seals it, or empty"),
    ]
    adapting: bool
    task: Annotated[int, meaning(ASKED)]
    episode: Annotated[int, meaning(ASKED)]
    seed: Annotated[int, meaning(ASKED)]
    adapter: Annotated[int, meaning("number of the adapter")]


class EndRow(msgspec.Struct, frozen=True):
    """An episode is over."""

    time_ns: Annotated[int, meaning(BRIDGE_NS)]
    task: Annotated[int, meaning(ASKED)]
    episode: Annotated[int, meaning(ASKED)]
    success: bool
    steps: Annotated[int, meaning("control periods")]
    duration: Annotated[float, meaning("s")]
    reason: Annotated[str, meaning("how it ended")]
    measures: Annotated[dict[str, float], meaning("further measurements of the robot, by name, SI")]


class EventRow(msgspec.Struct, frozen=True):
    """An event that an operator should know of."""

    time_ns: Annotated[int, meaning(BRIDGE_NS)]
    name: Annotated[str, meaning("one word, for programs")]
    robot: Annotated[str, meaning("the robot concerned; empty for the bridge itself")]
    text: Annotated[str, meaning("one sentence, for people")]


class LossRow(msgspec.Struct, frozen=True):
    """Records that were not written."""

    time_ns: Annotated[int, meaning(BRIDGE_NS)]
    lost: Annotated[int, meaning("records that were not written since the row before")]
    reason: Annotated[str, meaning("why")]


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

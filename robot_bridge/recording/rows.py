"""What a recording holds: its topics and the rows on them; `recording_schema` has the units.

Rows are JSON, so that `mcap cat`, Foxglove and a text tool read them without this project. Numbers
are written with as many digits as it takes to get the same bits back; null stands for one that is
not finite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from adapt.adapters.base import Transition
from adapt.bundle.manifest import Field
from robot_bridge.protocol.messages import Numbers

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


class StepRow(msgspec.Struct, frozen=True):
    """StepRecord as written. observation, wanted, command: numbers by field. answer_time [s]:
    from the observation's receipt until the command was sent."""

    sequence: int
    robot_time_ns: int
    received_ns: int
    decided_ns: int
    sent_ns: int
    answer_time: float
    observation: Fields
    reward: Maybe
    flags: int
    faults: int
    command: Fields
    mode: str
    latent: list[Maybe]
    belief_mean: list[Maybe]
    belief_variance: list[Maybe]
    belief_count: int
    belief_version: int
    latent_version: int
    digest: str
    shadow: bool
    wanted: Fields | msgspec.UnsetType = msgspec.UNSET


class AdaptationRow(msgspec.Struct, frozen=True):
    """AdaptationRecord as written. transition: observation (n_o,), action (n_a,), next observation
    (n_o,), float32, little-endian, one after another; empty for the end of an episode."""

    time_ns: int
    waited_ns: int
    took_ns: int
    belief_version: int
    problem: str
    transition: bytes
    reward: Maybe
    terminal: bool
    complete: bool
    adapter: int


class StateRow(msgspec.Struct, frozen=True):
    """StateRecord as written."""

    time_ns: int
    cause: str
    digest: str
    snapshot: bytes
    adapting: bool
    task: int
    episode: int
    seed: int
    adapter: int


class EndRow(msgspec.Struct, frozen=True):
    """EndRecord as written. duration [s]."""

    time_ns: int
    task: int
    episode: int
    success: bool
    steps: int
    duration: float
    reason: str
    measures: Numbers


class EventRow(msgspec.Struct, frozen=True):
    """EventRecord as written."""

    time_ns: int
    name: str
    robot: str
    text: str


class LossRow(msgspec.Struct, frozen=True):
    """Records that were not written. lost: how many since the row before."""

    time_ns: int
    lost: int
    reason: str


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

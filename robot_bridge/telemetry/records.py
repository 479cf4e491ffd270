"""What the bridge tells whoever listens: recorder, metrics. Nothing here may hold up the loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from msgspec import Struct

from adapt.adapters.base import Transition
from robot_bridge.protocol.messages import Float32, Mode, Outcome

Float64 = np.ndarray


class StepRecord(Struct, frozen=True, eq=False):
    """One answered observation, with everything that explains the answer.

    received_ns, decided_ns, sent_ns: the bridge's monotonic clock when the frame was in, the
        command was made, and it had gone out. observation (n_o,), wanted (n_a,): the policy's
        command before limits; command (n_a,): as sent. Physical units.
    latent (n_z,); belief_mean, belief_variance (n_z,), belief_version: of the belief in force when
        the command was made.
    robot_time_ns: the robot's own monotonic clock when it measured. flags, faults: as received.
    """

    robot: str
    sequence: int
    robot_time_ns: int
    received_ns: int
    decided_ns: int
    sent_ns: int
    observation: Float32
    reward: float
    flags: int
    faults: int
    wanted: Float32 | None
    command: Float32
    mode: Mode
    latent: Float32
    belief_mean: Float64
    belief_variance: Float64
    belief_count: int
    belief_version: int
    latent_version: int
    digest: str
    shadow: bool


@dataclass(frozen=True)
class AdaptationRecord:
    """One lesson learnt, or refused: a transition or, without one, the end of an episode.

    waited_ns: in the queue; took_ns: to learn, 0 for a lesson that found no room there.
    belief_version: after it; the same as before when it changed nothing. complete: False at the end
    of an episode that was cut. adapter: whose, as in StateRecord.
    """

    robot: str
    time_ns: int
    waited_ns: int
    took_ns: int
    belief_version: int
    problem: str = ""
    transition: Transition | None = None
    complete: bool = True
    adapter: int = 0


@dataclass(frozen=True, eq=False)
class StateRecord:
    """All that an adapter knows, from which a replay can start.

    Told whenever anything but acting and learning is about to matter: before the first action of an
    episode (`cause` "episode"), and after another model, a restored belief or a fallback has taken
    over. time_ns: what was learnt before it is in the snapshot. snapshot: of `Adapter.snapshot`,
    empty where none could be taken. task, episode, seed: as an operator asked, -1 where none did.
    adapter: tells it from the one before, which may still be learning what it was given.
    """

    robot: str
    time_ns: int
    cause: str
    digest: str
    snapshot: bytes
    adapting: bool
    task: int = -1
    episode: int = -1
    seed: int = -1
    adapter: int = 0


@dataclass(frozen=True, eq=False)
class EndRecord:
    """An episode is over, learnt from and left."""

    robot: str
    time_ns: int
    task: int
    episode: int
    outcome: Outcome


@dataclass(frozen=True)
class EventRecord:
    """Something that people should know. time_ns: the bridge's monotonic clock."""

    time_ns: int
    name: str
    robot: str
    text: str


@dataclass(frozen=True)
class ClockRecord:
    """What a robot says of its clock: the bridge's minus its own, and the shortest round trip
    lately. time_ns: the bridge's monotonic clock when it said so."""

    robot: str
    time_ns: int
    offset_ns: int
    round_trip_ns: int


class Tap(Protocol):
    """Listens to a bridge. Called on the loop's thread (`adapted` on that which learnt, a robot's
    worker or the loop's): each call must return within microseconds, must not raise, and must not
    keep the loop waiting for a disk."""

    def step(self, record: StepRecord) -> None: ...

    def adapted(self, record: AdaptationRecord) -> None: ...

    def event(self, record: EventRecord) -> None: ...

    def close(self) -> None: ...


@runtime_checkable
class ClockTap(Tap, Protocol):
    """A tap that wants to hear of clocks, twice a second from each robot. The same rules hold."""

    def clock(self, record: ClockRecord) -> None: ...


@runtime_checkable
class GapTap(Tap, Protocol):
    """A tap with a thread of its own. The same rules hold."""

    def gap(self) -> None:
        """The answers are out: for most of a period that thread disturbs nobody."""
        ...


@runtime_checkable
class Recorder(Tap, Protocol):
    """A tap that keeps what a replay needs. A snapshot costs the loop about 0.1 ms once in an
    episode, so only those who want it are told. The same rules hold."""

    def state(self, record: StateRecord) -> None: ...

    def ended(self, record: EndRecord) -> None: ...

    def troubles(self) -> list[tuple[str, str]]:
        """(name, text) of the recorder's own events since the last call: for the bridge to tell."""
        ...

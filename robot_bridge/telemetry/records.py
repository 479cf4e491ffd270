"""What the bridge tells its taps, the recorder and the metrics, and what a tap is."""

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

    robot_time_ns: the robot's own monotonic clock when it measured.
    received_ns, decided_ns, sent_ns: the bridge's monotonic clock when the frame was in, when the
        command was made, when it had gone out.
    observation: (n_o,), physical units. flags, faults: as received.
    wanted: (n_a,), the policy's command before limits; None where the policy was not asked.
    command: (n_a,), as sent, physical units.
    latent, belief_mean, belief_variance: (n_z,), in force when the command was made.
    simulated: whether the robot's clock waits for answers, so that it keeps no period.
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
    simulated: bool = False


@dataclass(frozen=True)
class AdaptationRecord:
    """One lesson learnt, or refused: a transition or, without one, the end of an episode.

    waited_ns: in the queue. took_ns: to learn, 0 for a lesson that found no room in the queue.
    belief_version: after it; the same as before when it changed nothing. problem: why nothing was
    learnt, or "". complete: False at the end of a cut episode. adapter: as in StateRecord.
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

    Told before the first action of an episode (`cause` "episode"), and after another model, a
    restored belief or a fallback has taken over. time_ns: the snapshot has what was learnt before.
    snapshot: of `Adapter.snapshot`, empty where none could be taken. task, episode, seed: as an
    operator asked, -1 where none did. adapter: its number; the adapter before it may still be
    learning from transitions that it was given.
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
    """An event that an operator should know of. time_ns: the bridge's monotonic clock."""

    time_ns: int
    name: str
    robot: str
    text: str


@dataclass(frozen=True)
class ClockRecord:
    """What a robot reports of its clock. time_ns: the bridge's monotonic clock at the report.
    offset_ns: the bridge's clock minus the robot's. round_trip_ns: the shortest one lately."""

    robot: str
    time_ns: int
    offset_ns: int
    round_trip_ns: int


class Tap(Protocol):
    """Listens to a bridge. `adapted` is called on the thread that learnt, a robot's worker or the
    loop; the rest on the loop's thread. Each call must return within microseconds, must not raise
    and must not wait for a disk."""

    def step(self, record: StepRecord) -> None: ...

    def adapted(self, record: AdaptationRecord) -> None: ...

    def event(self, record: EventRecord) -> None: ...

    def close(self) -> None: ...


@runtime_checkable
class ClockTap(Tap, Protocol):
    """A tap that hears of clocks, twice a second from each robot. The same rules hold."""

    def clock(self, record: ClockRecord) -> None: ...


@runtime_checkable
class GapTap(Tap, Protocol):
    """A tap with a thread of its own. The same rules hold."""

    def gap(self) -> None:
        """The answers are out: for most of a period the thread delays no answer."""
        ...


@runtime_checkable
class Recorder(Tap, Protocol):
    """A tap that keeps what a replay needs. A snapshot costs the loop about 0.1 ms once in an
    episode, so only recorders are told of states. The same rules hold."""

    def state(self, record: StateRecord) -> None: ...

    def ended(self, record: EndRecord) -> None: ...

    def troubles(self) -> list[tuple[str, str]]:
        """(name, text) of the recorder's own events since the last call, for the bridge to tell."""
        ...

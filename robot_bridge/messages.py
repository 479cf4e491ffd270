"""The structs on the wire, with units. `codec` turns them into bytes and back.

Legend: n_o observation, n_a action, n_z latent, T kept steps of an episode. Arrays are float32, in
the order and units of the bundle's fields; times are int64 nanoseconds on the sender's monotonic
clock; a validity is a duration from receipt, so two machines' clocks need not agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from adapt.manifest import ActionField, Field, Latent, Limit

PROTOCOL = 1  # raised whenever a frame of the old kind would be misread

Float32 = npt.NDArray[np.float32]

# Every text, list and number that comes from the other side is bounded here, not where it is used.
Text = Annotated[str, Meta(max_length=4096)]
Name = Annotated[str, Meta(min_length=1, max_length=128)]
Number = Annotated[float, Meta(ge=-1e300, le=1e300)]  # refuses NaN and infinity too
Count = Annotated[int, Meta(ge=0, le=2**62)]
Numbers = Annotated[dict[Name, Number], Meta(max_length=256)]
Vector = Annotated[tuple[Number, ...], Meta(max_length=4096)]


class Kind(IntEnum):
    """What a frame carries, and who sends it."""

    HELLO = 1  # any peer → bridge
    WELCOME = 2  # bridge → peer
    REFUSED = 3  # bridge → peer: the handshake, or the session, is void
    OBSERVATION = 4  # robot → bridge
    COMMAND = 5  # bridge → robot
    BEGIN = 6  # operator → bridge
    RESET = 7  # bridge → robot
    READY = 8  # robot → bridge
    EPISODE_END = 9  # robot → bridge
    EPISODE_RECORD = 10  # bridge → operator
    EVENT = 11  # robot → bridge → robots and operators
    STOP = 12  # operator → bridge → robot: stop, and stay stopped
    RELEASE = 13  # operator → bridge → robot: the latch may open
    HEARTBEAT = 14  # bridge → peer: still here; no body
    BYE = 15  # peer → bridge: leaving; no body


class Mode(IntEnum):
    """What a robot does with a command, mildest first."""

    TRACK = 0  # follow the payload
    HOLD = 1  # stay where you are
    DAMP = 2  # no stiffness, only damping
    STOP = 3  # latched: no motion until an operator releases it


class Flag(IntFlag):
    """Header flags of an observation."""

    FIRST = 1  # of an episode: no command came before it
    LAST = 2  # of an episode: no command follows
    TERMINAL = 4  # the task itself ended here; nothing was cut off
    UNAPPLIED = 8  # the robot did not follow the previous command as sent; learn nothing from it


NO_FLAGS = Flag(0)


class Fault(IntFlag):
    """What the robot says about itself; any bit makes the bridge answer stop."""

    EMERGENCY_STOP = 1
    PROTECTIVE_STOP = 2
    SENSOR = 4
    ACTUATOR = 8
    OVERHEATED = 16
    OTHER = 1 << 31


@dataclass(frozen=True, eq=False)
class Observation:
    """What the robot measured.

    sequence: counts up by any step. time_ns: the robot's monotonic clock [ns].
    payload: (n_o,). reward: measured for the previous command. faults: `Fault` bits.
    """

    sequence: int
    time_ns: int
    payload: Float32
    reward: float = 0.0
    flags: Flag = NO_FLAGS
    faults: int = 0


@dataclass(frozen=True, eq=False)
class Command:
    """What the robot shall do.

    sequence: of the observation answered. validity_ns: good for so long after receipt [ns].
    payload: (n_a,) in the action fields' units; zero and without meaning unless mode is TRACK.
    belief_version: of the belief that the latent was drawn from.
    """

    sequence: int
    validity_ns: int
    mode: Mode
    payload: Float32
    belief_version: int = 0


class Message(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of everything that travels as MessagePack."""


class FieldSpec(Message, frozen=True):
    """What a driver says about one field of its observations or commands."""

    name: Name
    shape: Annotated[tuple[Count, ...], Meta(max_length=8)]
    unit: Annotated[str, Meta(max_length=64)]


Fields = Annotated[tuple[FieldSpec, ...], Meta(max_length=256)]


class Hello(Message, frozen=True):
    """A peer introduces itself; an operator leaves the robot's part empty.

    digest: SHA-256 of the bundle's manifest, or "" to take whichever the bridge serves; fields,
    units and period [s] must agree all the same. simulated_time: the robot's clock waits for the
    answer, so each transition is learnt from before the next action.
    """

    role: Literal["robot", "operator"]
    name: Name
    digest: Annotated[str, Meta(max_length=64)] = ""
    observation: Fields = ()
    action: Fields = ()
    control_period: Number = 0.0
    simulated_time: bool = False


class Welcome(Message, frozen=True):
    """The session and what is served. robots: names of those connected now."""

    session: Count
    digest: str
    bundle: str
    algorithm: str
    observation: tuple[Field, ...]
    action: tuple[ActionField, ...]
    control_period: float
    latent: Latent
    limits: tuple[Limit, ...]
    robots: tuple[str, ...]


class Refused(Message, frozen=True):
    reasons: Annotated[tuple[Text, ...], Meta(max_length=256)]


class Begin(Message, frozen=True):
    """Run one episode. new_task: forget the belief, and draw latents from `seed` and `task`.

    adapting: False freezes the belief. An empty robot means the only one connected.
    """

    robot: Annotated[str, Meta(max_length=128)]
    task: Count
    episode: Count
    seed: Count
    new_task: bool
    adapting: bool = True


class ResetRequest(Message, frozen=True):
    """Bring the robot to the start of this episode, then say Ready."""

    task: Count
    episode: Count
    seed: Count
    new_task: bool


class Ready(Message, frozen=True):
    """truth: hidden quantities by factor name [SI], for reports alone; empty on real hardware."""

    truth: Numbers = {}


class Outcome(Message, frozen=True):
    """How an episode ended. duration [s]; measures: whatever else was measured, by name [SI]."""

    success: bool
    steps: Count
    duration: Number
    reason: Text
    measures: Numbers = {}


class BeliefPoint(Message, frozen=True):
    """The belief when the action of `step` was chosen. mean, variance: (n_z,)."""

    step: Count
    version: Count
    mean: Vector
    variance: Vector


class EpisodeRecord(Message, frozen=True):
    """One episode as the bridge saw it.

    steps: (T,) little-endian int32, the index of each kept step; observations (T, n_o), commands
    (T, n_a) and rewards (T,): little-endian float32, row by row. Long episodes keep every second,
    fourth, ... step. events: what went wrong, in order.
    """

    robot: str
    task: Count
    episode: Count
    seed: Count
    outcome: Outcome
    truth: Numbers
    belief_before: BeliefPoint
    belief_after: BeliefPoint
    belief_trace: Annotated[tuple[BeliefPoint, ...], Meta(max_length=1000)]
    steps: bytes
    observations: bytes
    commands: bytes
    rewards: bytes
    events: Annotated[tuple[Text, ...], Meta(max_length=256)]

    def arrays(self) -> dict[str, np.ndarray]:
        """steps (T,) int32, observations (T, n_o), commands (T, n_a), rewards (T,) float32."""
        steps = np.frombuffer(self.steps, "<i4")
        rows = len(steps)

        def table(data: bytes) -> np.ndarray:
            flat = np.frombuffer(data, "<f4")
            return flat.reshape(rows, len(flat) // rows if rows else 0)

        return {
            "steps": steps,
            "observations": table(self.observations),
            "commands": table(self.commands),
            "rewards": np.frombuffer(self.rewards, "<f4"),
        }


STOPPED = "robot_stopped"  # the event with which a driver says that its stop has latched


class Event(Message, frozen=True):
    """Something worth telling. name: one word for machines; text: one sentence for people."""

    name: Name
    robot: Annotated[str, Meta(max_length=128)]
    text: Text


class Stop(Message, frozen=True):
    """closing: the bridge itself is going away."""

    reason: Text
    closing: bool = False


class Release(Message, frozen=True):
    robot: Annotated[str, Meta(max_length=128)]


BODIES: dict[Kind, type[Message]] = {
    Kind.HELLO: Hello,
    Kind.WELCOME: Welcome,
    Kind.REFUSED: Refused,
    Kind.BEGIN: Begin,
    Kind.RESET: ResetRequest,
    Kind.READY: Ready,
    Kind.EPISODE_END: Outcome,
    Kind.EPISODE_RECORD: EpisodeRecord,
    Kind.EVENT: Event,
    Kind.STOP: Stop,
    Kind.RELEASE: Release,
}

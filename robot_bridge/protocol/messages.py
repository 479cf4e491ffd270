"""The messages on the wire, with units. `codec` turns them into bytes and back.

Legend: n_o observation, n_a action, n_z latent, T kept steps of an episode. Arrays are float32, in
the order and units of the bundle's fields; times are int64 nanoseconds on the sender's monotonic
clock; a validity is a duration from receipt, so two machines' clocks need not agree.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from adapt.bundle.fields import ActionField, Field, Latent, Limit
from adapt.prior import MeasuredPrior
from robot_bridge.protocol.probe_messages import Blocks, ProbeTarget

PROTOCOL = 1  # raised whenever a frame of the old kind would be misread

Float32 = npt.NDArray[np.float32]

# All texts, lists and numbers from the other side are bounded here, not where they are used.
Text = Annotated[str, Meta(max_length=4096)]
Name = Annotated[str, Meta(min_length=1, max_length=128)]
Number = Annotated[float, Meta(ge=-1e300, le=1e300)]  # refuses NaN and infinity too
Count = Annotated[int, Meta(ge=0, le=2**62)]
Nanoseconds = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Numbers = Annotated[dict[Name, Number], Meta(max_length=256)]
VECTOR = 4096  # numbers of a belief
Vector = Annotated[tuple[Number, ...], Meta(max_length=VECTOR)]


class Kind(IntEnum):
    """What a frame carries, and who sends it to whom."""

    HELLO = 1  # any peer → bridge
    WELCOME = 2  # bridge → peer
    REFUSED = 3  # bridge → peer: the handshake, or the session, is void
    OBSERVATION = 4  # robot → bridge
    COMMAND = 5  # bridge → robot
    BEGIN = 6  # operator → bridge
    RESET = 7  # bridge → robot
    READY = 8  # robot → bridge
    EPISODE_END = 9  # robot → bridge
    EPISODE_RECORD = 10  # bridge → operator; in `operator_messages`
    EVENT = 11  # robot → bridge → robots and operators
    STOP = 12  # any peer → bridge → robots: stop, and stay stopped
    RELEASE = 13  # operator → bridge → robot: the latch may open
    HEARTBEAT = 14  # bridge → peer, robot → bridge: still here
    BYE = 15  # peer → bridge: leaving; no body
    # From here on in `operator_messages`.
    MODEL = 16  # operator → bridge: load, swap, roll back
    BELIEF = 17  # operator → bridge: keep, restore, forget
    REPLY = 18  # bridge → operator: what has become of one of these
    STATUS = 19  # operator → bridge, without a body; bridge → operator


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
# By their bits: making a member from a number takes a microsecond.
FLAGS = tuple(Flag(bits) for bits in range(16))


class Fault(IntFlag):
    """Faults that the robot reports; for any bit the bridge answers STOP."""

    EMERGENCY_STOP = 1
    PROTECTIVE_STOP = 2
    SENSOR = 4
    ACTUATOR = 8
    OVERHEATED = 16
    OTHER = 1 << 31


def fault_names(bits: int) -> str:
    """Fault bits in words: `fault EMERGENCY_STOP, SENSOR`."""
    names = [str(fault.name) for fault in Fault if bits & fault]
    rest = bits & ~sum(Fault)
    return f"fault {', '.join(names + ([hex(rest)] if rest else []))}"


# Structs, although these two do not travel as MessagePack: making one takes a tenth of the time of
# a frozen dataclass, a thousand times a second at each end.
class Observation(Struct, frozen=True, eq=False):
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


class Command(Struct, frozen=True, eq=False):
    """What the robot shall do.

    sequence: of the observation answered. validity_ns: good for so long after receipt [ns].
    payload: (n_a,) in the action fields' units; not to be followed unless mode is TRACK.
    belief_version: of the belief that the latent was drawn from.
    received_ns, sent_ns: when the bridge had the observation and let the command go, on its own
    monotonic clock [ns]. shadow: the bridge only watches; the payload is what it would have
    commanded, and the mode is never TRACK. over: a probing episode needs no more: measure once
    again, with LAST, and end it.
    """

    sequence: int
    validity_ns: int
    mode: Mode
    payload: Float32
    belief_version: int = 0
    received_ns: int = 0
    sent_ns: int = 0
    shadow: bool = False
    over: bool = False


class Message(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all messages that travel as MessagePack."""


class Lasting(Struct, frozen=True):
    """Base of what every version of the protocol can read: a later one may add fields, which are
    ignored here, but neither changes nor drops one."""


class FieldSpec(Lasting, frozen=True):
    """What a driver says about one field of its observations or commands."""

    name: Name
    shape: Annotated[tuple[Count, ...], Meta(max_length=8)]
    unit: Annotated[str, Meta(max_length=64)]


Fields = Annotated[tuple[FieldSpec, ...], Meta(max_length=256)]


class Hello(Lasting, frozen=True):
    """A peer introduces itself; an operator leaves the robot's part empty.

    digest: SHA-256 of the bundle's manifest, or "" for any bundle that the bridge serves; fields,
    units and period [s] must agree in both cases. simulated_time: the robot's clock waits for the
    answer, so each transition is learnt from before the next action. probes: the driver performs
    probing episodes.
    """

    role: Literal["robot", "operator"]
    name: Name
    digest: Annotated[str, Meta(max_length=64)] = ""
    observation: Fields = ()
    action: Fields = ()
    control_period: Number = 0.0
    simulated_time: bool = False
    probes: bool = False


class Welcome(Message, frozen=True):
    """The session and what is served.

    shadow: the bridge computes and never commands.
    robots: names of those connected now. stop: number of the latest stop that concerns the peer;
    for an operator, of the latest at all. latches: of each robot, the number of the latest stop of
    its own. stopped: the robot was stopped when it left, or a stop was given since, and it
    was not released.
    """

    session: Count
    shadow: bool
    digest: str
    bundle: str
    algorithm: str
    observation: tuple[Field, ...]
    action: tuple[ActionField, ...]
    control_period: Number
    latent: Latent
    limits: tuple[Limit, ...]
    robots: tuple[str, ...]
    stop: Count
    latches: dict[str, Count]
    stopped: bool


class Refused(Lasting, frozen=True):
    reasons: Annotated[tuple[Text, ...], Meta(max_length=256)]


class Begin(Message, frozen=True):
    """Run one episode. new_task: forget the belief, and draw latents from `seed` and `task`.

    adapting: False freezes the belief. An empty robot means the only one connected. prior: what the
    beliefs start from, of a new task or anew within one; None for the bridge's own setting, or to
    go on with a task. probe: the bridge touches the cell instead of acting by its policy, for these
    quantities; empty for none.
    """

    robot: Annotated[str, Meta(max_length=128)]
    task: Count
    episode: Count
    seed: Count
    new_task: bool
    adapting: bool = True
    prior: MeasuredPrior | None = None
    probe: Blocks = ()


# A driver that never probes need not know of what it is never sent.
class ResetRequest(Message, frozen=True, omit_defaults=True):
    """Bring the robot to the start of this episode, then say Ready.

    limits: of a probing episode, in place of the bundle's; empty for any other.
    """

    task: Count
    episode: Count
    seed: Count
    new_task: bool
    limits: tuple[Limit, ...] = ()


class Ready(Message, frozen=True):
    """truth: hidden quantities by factor name [SI], for reports alone; empty on real hardware.
    target: of a probing episode, what the cell is known to hold."""

    truth: Numbers = {}
    target: ProbeTarget | None = None


class Outcome(Message, frozen=True):
    """How an episode ended. duration [s]; measures: further measured values, by name [SI].

    judged_by: the measure that says how good the episode was, more being better; empty where
    success says it.
    """

    success: bool
    steps: Count
    duration: Number
    reason: Text
    measures: Numbers = {}
    judged_by: Annotated[str, Meta(max_length=128)] = ""


# Events about stops. A driver says that its stop has latched, or opened; the bridge, that a peer
# has given a stop, or that a release comes too late for the stop that stands.
STOPPED = "robot_stopped"
RELEASED = "robot_released"
STOP_GIVEN = "stop_given"
RELEASE_REFUSED = "release_refused"
# Events about answers that could not be given; a replay of the robot's steps ends there.
FAILURES = ("policy_failed", "answer_failed")
# For the bridge alone to say.
BRIDGE_ONLY = (STOP_GIVEN, *FAILURES)


class Event(Message, frozen=True):
    """Something worth telling. name: one word for machines; text: one sentence for people.

    number: of `robot_stopped`, the robot's count of its own stops; of `stop_given`, the bridge's.
    """

    name: Name
    robot: Annotated[str, Meta(max_length=128)]
    text: Text
    number: Count = 0


class Stop(Message, frozen=True):
    """Stop, and stay stopped until an operator's release.

    closing: the bridge itself ends. number: the bridge's, rising as long as it runs; a peer's is
    ignored. robot: the one concerned; "" for all.
    """

    reason: Text
    closing: bool = False
    number: Count = 0
    robot: Annotated[str, Meta(max_length=128)] = ""


class Release(Message, frozen=True):
    """The operator has looked, and it is safe.

    stop: highest number of the bridge's stops that the operator knows of. latch: the same of the
    robot's own. A stop that latched since, whose number is higher, stays.
    """

    robot: Annotated[str, Meta(max_length=128)]
    stop: Count
    latch: Count


class Heartbeat(Message, frozen=True):
    """A sign of life.

    stop: from the bridge, number of the latest stop that concerns the peer, so that none is lost
    with a frame; from a robot, the highest that it knows of. latch: count of the robot's own stops.
    stopped: whether its stop is latched. clock_offset_ns: the bridge's clock minus the robot's
    [ns]; round_trip_ns: of the exchange that says so, the bridge's own time taken off [ns]; None
    where not known.
    """

    stop: Count = 0
    latch: Count = 0
    stopped: bool = False
    clock_offset_ns: Nanoseconds | None = None
    round_trip_ns: Nanoseconds | None = None


BODIES: dict[Kind, type[Message | Lasting]] = {
    Kind.HELLO: Hello,
    Kind.WELCOME: Welcome,
    Kind.REFUSED: Refused,
    Kind.BEGIN: Begin,
    Kind.RESET: ResetRequest,
    Kind.READY: Ready,
    Kind.EPISODE_END: Outcome,
    Kind.EVENT: Event,
    Kind.STOP: Stop,
    Kind.RELEASE: Release,
    Kind.HEARTBEAT: Heartbeat,
}

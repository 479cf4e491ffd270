"""Messages of operators: requests about models, beliefs and status, and records of episodes."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from msgspec import Meta

from robot_bridge.protocol.messages import (
    Count,
    Event,
    Kind,
    Message,
    Name,
    Nanoseconds,
    Number,
    Numbers,
    Outcome,
    Text,
    Vector,
)
from robot_bridge.protocol.probe_messages import ProbeReport

RobotName = Annotated[str, Meta(max_length=128)]
Digest = Annotated[str, Meta(max_length=64)]


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
    fourth, ... step. events: what went wrong, in order. probe: of a probing episode, which keeps
    no steps.
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
    probe: ProbeReport | None = None

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


class ModelRequest(Message, frozen=True):
    """load: read and verify the bundle at `path`, on the bridge's machine, beside the one that
    serves. swap: let the loaded one serve. rollback: let the one before serve again, at once.

    number: the operator's own, which comes back in the reply. when: swap each robot at once, or at
    the end of its episode.
    """

    number: Count
    action: Literal["load", "swap", "rollback"]
    path: Text = ""
    when: Literal["now", "episode"] = "episode"


class BeliefRequest(Message, frozen=True):
    """keep: the belief as it is, to go back to. restore: go back to the kept belief `kept`.
    forget: back to the prior. An empty robot means the only one connected."""

    number: Count
    robot: RobotName
    action: Literal["keep", "restore", "forget"]
    kept: Count = 0


class Reply(Message, frozen=True):
    """What has become of a request. text: one sentence for people."""

    number: Count
    done: bool
    text: Text


class KeptBelief(Message, frozen=True):
    """A belief that a robot can go back to. number: to ask for it by. cause: why it was kept.
    age: since then [s]."""

    number: Count
    cause: Text
    digest: Digest
    version: Count
    count: Count
    age: Number


class RobotStatus(Message, frozen=True):
    """One robot.

    digest: of the model that acts; next_digest: of the one that waits for its episode to end.
    mode: of the last answer, "" before the first. episode: none, open or over. step: of it.
    belief: as it stands; count: transitions behind it. adapting: False for a frozen belief.
    inside: by the guard; outside, guard says why, and trusted whether latents still come from the
    belief. rate: of its observations [1/s]; late: share of late answers. waiting: transitions not
    yet learnt from. stop: why it is stopped by the bridge, or "". quiet: since it was heard [s].
    no_probing: why it cannot probe on this bridge, or "".
    """

    name: Name
    simulated_time: bool
    digest: Digest
    next_digest: Digest
    mode: str
    episode: Literal["none", "open", "over"]
    step: Count
    belief: BeliefPoint
    count: Count
    kept: Annotated[tuple[KeptBelief, ...], Meta(max_length=100)]
    adapting: bool
    inside: bool
    trusted: bool
    guard: Text
    rate: Number
    late: Number
    waiting: Count
    stop: Text
    quiet: Number
    no_probing: Text
    clock_offset_ns: Nanoseconds | None
    round_trip_ns: Nanoseconds | None


class StageStatus(Message, frozen=True):
    """How long one stage of the work takes: quantiles over the last while [s]."""

    name: Name
    count: Count
    p50: Number
    p99: Number
    p999: Number
    max: Number


class ModelStatus(Message, frozen=True):
    name: Name
    digest: Digest


class Status(Message, frozen=True):
    """The whole bridge. served, candidate, previous: models; loading: the path being read, or "".
    events: the latest, oldest first. uptime [s]. stop: number of the latest."""

    served: ModelStatus
    candidate: ModelStatus | None
    previous: ModelStatus | None
    loading: Text
    shadow: bool
    uptime: Number
    stop: Count
    robots: Annotated[tuple[RobotStatus, ...], Meta(max_length=1000)]
    operators: Annotated[tuple[Name, ...], Meta(max_length=1000)]
    events: Annotated[tuple[Event, ...], Meta(max_length=100)]
    stages: Annotated[tuple[StageStatus, ...], Meta(max_length=100)]


OPERATOR_BODIES: dict[Kind, type[Message]] = {
    Kind.EPISODE_RECORD: EpisodeRecord,
    Kind.MODEL: ModelRequest,
    Kind.BELIEF: BeliefRequest,
    Kind.REPLY: Reply,
    Kind.STATUS: Status,
}

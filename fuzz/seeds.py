"""Inputs to start from: one of every kind of frame, and whole conversations."""

from __future__ import annotations

import numpy as np

from adapt.bundle.manifest import Manifest
from adapt.bundle.policy_bundle import PolicyBundle
from adapt.prior import MeasuredPrior, MeasuredQuantity
from fuzz.frames import piece, raw
from robot_bridge.protocol import codec
from robot_bridge.protocol.handshake import specs, welcome
from robot_bridge.protocol.messages import (
    FLAGS,
    Begin,
    Command,
    Event,
    Fault,
    Heartbeat,
    Hello,
    Kind,
    Mode,
    Observation,
    Outcome,
    Ready,
    Refused,
    Release,
    ResetRequest,
    Stop,
)
from robot_bridge.protocol.operator_messages import (
    BeliefPoint,
    BeliefRequest,
    EpisodeRecord,
    KeptBelief,
    ModelRequest,
    ModelStatus,
    Reply,
    RobotStatus,
    StageStatus,
    Status,
)


def observation(sequence: int, size: int, flags: int = 0, value: float = 0.5) -> bytes:
    numbers = np.full(size, value, np.float32)
    return codec.encode_observation(Observation(sequence, 1, numbers, 0.5, FLAGS[flags]), 0)


def singles(bundle: PolicyBundle) -> list[bytes]:
    """Inputs of one frame each."""
    manifest = bundle.manifest
    point = BeliefPoint(1, 2, (0.5,), (1.0,))
    model = ModelStatus("tiny", "ab")
    quantity = MeasuredQuantity("socket_x", "m", "linear", 0.5, std=0.002)
    measured = MeasuredPrior("acclimate-prior-1", [quantity])
    kept = KeptBelief(1, "episode", "ab", 2, 3, 0.5)
    place = ("arm", False, "ab", "", "TRACK", "open", 3)
    mind = (point, 2, (kept,), True, True, True, "")
    fares = RobotStatus(*place, *mind, 20.0, 0.0, 1, "", 0.1, "", 5, None)
    event = Event("stop_given", "arm", "x", 2)
    stage = StageStatus("answer", 9, 1e-4, 2e-4, 3e-4, 4e-4)
    messages = [
        welcome(bundle, 5, ["arm"], stop=2, latches={"arm": 1}),
        EpisodeRecord(
            "arm",
            1,
            2,
            3,
            Outcome(True, 1, 0.1, "done"),
            {"x": 0.5},
            point,
            point,
            (point,),
            bytes(4),
            bytes(8),
            bytes(4),
            bytes(4),
            ("step 1: x",),
        ),
        Status(model, None, model, "", False, 5.0, 2, (fares,), ("o",), (event,), (stage,)),
        robot_hello(manifest),
        Hello("operator", "o"),
        Refused(("why",)),
        Begin("arm", 1, 2, 3, True),
        Begin("arm", 1, 0, 3, True, prior=measured),
        ResetRequest(1, 2, 3, False),
        Ready({"socket_x": 0.5}),
        Outcome(True, 4, 0.2, "done", {"depth": 0.01}),
        Event("robot_stopped", "arm", "x", 2),
        Stop("enough", False, 3, "arm"),
        Release("arm", 3, 2),
        Heartbeat(3, 2, True, -5, 7),
        Heartbeat(),
        ModelRequest(1, "load", "/srv/b"),
        BeliefRequest(2, "arm", "restore", 4),
        Reply(2, True, "so"),
    ]
    found = [codec.encode_message(message) for message in messages]
    found.append(observation(1, manifest.observation_size, 1))
    command = Command(1, 5, Mode.TRACK, np.ones(manifest.action_size, np.float32), 2, 3, 4)
    found += [codec.encode_command(command, 0), codec.encode(Kind.BYE), codec.encode(Kind.STATUS)]
    return [piece(data) for data in found] + [raw(found[3]), raw(found[-3])]


def conversations(manifest: Manifest) -> list[bytes]:
    """Inputs of several frames of one peer."""
    size = manifest.observation_size
    hello = codec.encode_message(robot_hello(manifest))
    person = codec.encode_message(Hello("operator", "o"))
    end = codec.encode_message(Outcome(True, 2, 0.1, "done"))
    fault = Observation(3, 1, np.zeros(size, np.float32), faults=int(Fault.SENSOR))

    def said(*messages: bytes) -> bytes:
        return b"".join(piece(data) for data in messages)

    return [
        said(hello, *(observation(n, size, (1, 0, 0, 2)[n]) for n in range(4)), end),
        said(hello, observation(1, size, 1), codec.encode_observation(fault, 0)),
        said(hello, observation(1, size, 1, float("nan")), codec.encode(Kind.BYE), hello),
        said(hello, codec.encode_message(Heartbeat(0, 3, True)), codec.encode_message(Stop("x"))),
        said(hello, codec.encode_message(Event("robot_stopped", "arm", "x", 1)), observation(1, 3)),
        said(person, codec.encode_message(Begin("", 0, 0, 0, True)), codec.encode(Kind.STATUS)),
        said(person, codec.encode_message(Stop("x", robot="arm")), codec.encode(Kind.STATUS)),
        said(person, codec.encode_message(Release("arm", 1, 1)), person),
        said(person, codec.encode_message(BeliefRequest(1, "arm", "forget"))),
        said(person, codec.encode_message(ModelRequest(1, "rollback"))),
        said(observation(1, size, 1), hello),
    ]


def robot_hello(manifest: Manifest) -> Hello:
    return Hello(
        "robot",
        "arm",
        observation=specs(manifest.observation),
        action=specs(manifest.action),
        control_period=manifest.control_period,
    )

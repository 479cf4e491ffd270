"""A robot's client without a socket: a test reads its frames, and answers as a bridge."""

import msgspec
import numpy as np

from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.client import robot_client as module
from robot_bridge.client.robot_client import RobotClient
from robot_bridge.protocol import codec
from robot_bridge.protocol.handshake import welcome
from robot_bridge.protocol.messages import (
    Command,
    Event,
    Kind,
    Mode,
    ResetRequest,
)
from tests.support.client.fake_socket import FakeSocket

GOOD = np.zeros(6, np.float32)
RESET = ResetRequest(0, 0, 0, True)
CALM = 10**12  # [ns]
PERIOD_NS = 50_000_000


class Wire:
    """A client and the frames around it. replies: what follows each observation, as functions of
    its sequence; nothing is silence."""

    def __init__(self, bundle, monkeypatch, limits=None, spacing=None, **welcomed):
        manifest = bundle.manifest
        if limits is not None:
            manifest = msgspec.structs.replace(manifest, limits=limits)
            bundle = PolicyBundle(manifest, bundle.digest, bundle.graphs, 0.0)
        self.link = FakeSocket(self.post)
        monkeypatch.setattr(module, "ClientSocket", lambda *arguments: self.link)
        self.replies = []
        self.now_ns = 10**15 - PERIOD_NS + 3000
        fields = manifest.observation, manifest.action, manifest.control_period
        self.client = RobotClient(
            "ipc:///nowhere",
            "arm",
            *fields,
            patience=CALM / 1e9,
            now_ns=lambda: self.now_ns,
            spacing=spacing,
        )
        self.bridge(welcome(bundle, 5, ["arm"], **welcomed))
        self.client.connect()

    def post(self, data):
        frame = codec.decode(data)
        if frame.kind is Kind.OBSERVATION and self.replies:
            self.now_ns += 3000
            for make in self.replies.pop(0):
                self.link.inbox.append(make(frame.sequence))

    def bridge(self, *messages):
        for message in messages:
            self.link.inbox.append(codec.encode_message(message))

    def exchange(self, *makes, measured=GOOD, **flags):
        self.now_ns += PERIOD_NS - 3000
        self.replies.append(makes)
        return self.client.exchange(measured, **flags)

    def flags(self):
        """Of the latest observation."""
        sent = [frame for frame in self.link.sent if frame.kind is Kind.OBSERVATION]
        return codec.decode_observation(sent[-1]).flags

    def events(self, name):
        found = [codec.decode_message(f, Event) for f in self.link.sent if f.kind is Kind.EVENT]
        return [event for event in found if event.name == name]


def track(*numbers, mode=Mode.TRACK, shadow=False):
    payload = np.array(numbers or (0, 0, 0), np.float32)
    return lambda sequence: codec.encode_command(
        Command(sequence, CALM, mode, payload, 0, 1000, 2000, shadow), 5
    )


def says(message):
    return lambda sequence: codec.encode_message(message)

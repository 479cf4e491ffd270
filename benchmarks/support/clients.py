"""One robot's client for each server; one call sends an observation and takes a command."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Self

import numpy as np
import zmq

from adapt.bundle.manifest import Manifest
from adapt.bundle.policy_bundle import read_manifest
from benchmarks.support.servers import METHOD, Policy, command, request
from robot_bridge.client.robot_client import RobotClient
from robot_bridge.protocol.messages import Mode

# Longer than any answer takes, so that late answers are measured [s].
PATIENCE = 1.0


def middle(manifest: Manifest) -> np.ndarray:
    """An observation (n_o,) within every limit and every field's range, as near to zero as they
    allow: a robot at rest."""
    parts = []
    for field in manifest.observation:
        low, high = field.low, field.high
        for limit in manifest.limits:
            if limit.field == field.name:
                low, high = max(low, limit.low), min(high, limit.high)
        parts.append(np.full(field.size, min(max(0.0, low), high), np.float32))
    return np.concatenate(parts)


class Client:
    """Closed at the end of a `with` block."""

    def exchange(self) -> object:
        """Send an observation, take its command."""
        raise NotImplementedError

    def rest(self) -> None:
        """Another client's turn begins: leave, where the server would miss a silent client."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Floor(Client):
    """Frames of the bridge's sizes over bare pyzmq. public: the server's CURVE key, or ""."""

    def __init__(self, address: str, policy: Policy, public: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.set(zmq.LINGER, 100)
        if public:
            mine, secret = zmq.curve_keypair()
            self._socket.set(zmq.CURVE_SERVERKEY, public.encode())
            self._socket.set(zmq.CURVE_PUBLICKEY, mine)
            self._socket.set(zmq.CURVE_SECRETKEY, secret)
        self._socket.connect(address)
        self._frame = bytes(policy.observation_bytes)

    def exchange(self) -> bytes:
        self._socket.send(self._frame)
        return self._socket.recv()

    def close(self) -> None:
        self._socket.close()
        self._context.term()


class Bridge(Client):
    """A driver in one episode a turn; adaptation uses every step. held: exchanges without an answer
    in time."""

    def __init__(self, address: str, bundle: Path, keys: Path) -> None:
        self._manifest, self._digest = read_manifest(bundle)
        self._address, self._keys = address, keys
        self._observation = middle(self._manifest)
        self._steps = self.held = 0
        self._robot: RobotClient | None = None

    def _connected(self) -> RobotClient:
        robot = RobotClient(
            self._address,
            "bench",
            self._manifest.observation,
            self._manifest.action,
            self._manifest.control_period,
            digest=self._digest,
            patience=PATIENCE,
            keys=self._keys,
        )
        robot.connect(30.0)
        return robot

    def exchange(self) -> None:
        if self._robot is None:
            self._robot, self._steps = self._connected(), 0
        command = self._robot.exchange(self._observation, first=self._steps == 0)
        if command.mode is Mode.STOP:
            raise RuntimeError(f"the robot stopped: {self._robot.state.reason}")
        self._steps += 1
        self.held += command.mode is not Mode.TRACK

    def rest(self) -> None:
        if self._robot is not None:
            self._robot.close()
            self._robot = None

    def close(self) -> None:
        self.rest()


class WebSocket(Client):
    """Like openpi's client: the blocking client of `websockets`, without compression."""

    def __init__(self, address: str, policy: Policy) -> None:
        from websockets.sync.client import connect

        self._connection = connect(f"ws://{address}", compression=None, max_size=None)
        self._observation = np.zeros(policy.observation.shape, np.float32)

    def exchange(self) -> np.ndarray:
        self._connection.send(request(self._observation, time.monotonic_ns()))
        reply = self._connection.recv()
        if isinstance(reply, str):
            raise RuntimeError(f"text instead of bytes: {reply}")
        return command(reply)

    def close(self) -> None:
        self._connection.close()


class Grpc(Client):
    """Like LeRobot's client: one blocking stub over one channel."""

    def __init__(self, address: str, policy: Policy) -> None:
        import grpc

        self._channel = grpc.insecure_channel(address)
        self._act = self._channel.unary_unary(METHOD)
        self._observation = np.zeros(policy.observation.shape, np.float32)

    def exchange(self) -> np.ndarray:
        return command(self._act(request(self._observation, time.monotonic_ns())))

    def close(self) -> None:
        self._channel.close()

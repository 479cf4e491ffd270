"""Servers that the bridge is compared with, each a process of its own:

    python -m benchmarks.support.servers KIND BUNDLE ADDRESS [--core N] [--curve SECRET]

floor      bare pyzmq and one bare onnxruntime run, without any work of the bridge.
websocket  WebSocket and MessagePack, as openpi serves policies.
grpc       gRPC with bytes through generic handlers, as LeRobot serves policies, with MessagePack
           where LeRobot has pickle.

Each prints one line when it serves, and ends with SIGTERM. The last two exchange the contents of
the bridge's frames: observation and time; command and belief version.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np
import zmq

from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.protocol.codec import COMMAND, HEADER, OBSERVATION
from robot_bridge.server.loop_timing import SPIN
from robot_bridge.system import realtime

METHOD = "/policy.Policy/Act"
HIGH_WATER = 100

_PACK = msgspec.msgpack.Encoder().encode
_UNPACK = msgspec.msgpack.Decoder().decode


class Policy:
    """The bundle's network, one row at a time, with the prior's mean as its latent."""

    def __init__(self, bundle: PolicyBundle) -> None:
        manifest = bundle.manifest
        self._row = bundle.policy.bind()
        self._mean = self._row.outputs["mean"]
        self.observation = self._row.inputs["observation"]
        if manifest.latent.size:
            self._row.inputs["latent"][:] = manifest.latent.prior_mean
        self._scale = np.concatenate([np.full(f.size, f.scale) for f in manifest.action])
        # The size of the bridge's frames for this bundle.
        self.observation_bytes = HEADER.size + OBSERVATION.size + 4 * manifest.observation_size
        self.command_bytes = HEADER.size + COMMAND.size + 4 * manifest.action_size

    def run(self) -> None:
        """The bare onnxruntime run."""
        self._row.run()

    def answer(self, message: bytes) -> bytes:
        """One request to one reply, both MessagePack maps with arrays as raw bytes."""
        request = _UNPACK(message)
        self.observation[:] = np.frombuffer(request["observation"], np.float32)
        self._row.run()
        command = (self._scale * np.tanh(self._mean)).astype(np.float32)
        return _PACK({"command": command.tobytes(), "time_ns": request["time_ns"], "version": 0})


def request(observation: np.ndarray, time_ns: int) -> bytes:
    """A request of a websocket or grpc client."""
    return _PACK({"observation": observation.tobytes(), "time_ns": time_ns, "reward": 0.0})


def command(reply: bytes) -> np.ndarray:
    """The command (n_a,) in their reply."""
    return np.frombuffer(_UNPACK(reply)["command"], np.float32)


def serve_floor(policy: Policy, address: str, core: int, secret: str) -> None:
    """Answer every frame with one of a command's size, after one run of the network. core: on which
    to poll; -1 to wait instead."""
    polling = core >= 0
    if polling:
        realtime.reserve(core)
    context = zmq.Context()
    server = context.socket(zmq.ROUTER)
    server.set(zmq.LINGER, 0)
    server.set(zmq.SNDHWM, HIGH_WATER)
    if secret:
        server.set(zmq.CURVE_SERVER, 1)
        server.set(zmq.CURVE_SECRETKEY, secret.encode())
    server.bind(address)
    if polling:
        realtime.occupy(core)
    reply = bytes(policy.command_bytes)
    announce()
    spin_until = 0.0
    while True:
        # As the bridge does: it sleeps when no client sends.
        spins = polling and time.monotonic() < spin_until
        try:
            sender, _ = server.recv_multipart(zmq.NOBLOCK if spins else 0)
        except zmq.Again:
            continue
        policy.run()
        server.send_multipart([sender, reply], zmq.NOBLOCK)
        spin_until = time.monotonic() + SPIN


async def serve_websocket(policy: Policy, address: str) -> None:
    """Like openpi: asyncio, no compression, one handler per connection."""
    from websockets.asyncio.server import ServerConnection, serve

    async def handle(connection: ServerConnection) -> None:
        async for message in connection:
            if isinstance(message, bytes):
                await connection.send(policy.answer(message))

    host, _, port = address.rpartition(":")
    async with serve(handle, host, int(port), compression=None, max_size=None):
        announce()
        await asyncio.get_running_loop().create_future()


def serve_grpc(policy: Policy, address: str) -> None:
    """Like LeRobot: a server over a pool of four threads."""
    import grpc

    handlers = {
        METHOD.rpartition("/")[2]: grpc.unary_unary_rpc_method_handler(
            lambda message, context: policy.answer(message)
        )
    }
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(METHOD.split("/")[1], handlers),)
    )
    if not server.add_insecure_port(address):
        raise SystemExit(f"grpc: cannot bind {address}")
    server.start()
    announce()
    signal.pause()


def announce() -> None:
    """Print that clients can connect; existing objects are no longer garbage-collected."""
    gc.collect()
    gc.freeze()
    print("serving", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("floor", "websocket", "grpc"))
    parser.add_argument("bundle")
    parser.add_argument("address")
    parser.add_argument("--core", type=int, default=-1, help="to spin on; else it waits")
    parser.add_argument("--curve", default="")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
    policy = Policy(PolicyBundle.load(options.bundle))
    serve: dict[str, Callable[[], object]] = {
        "floor": lambda: serve_floor(policy, options.address, options.core, options.curve),
        "websocket": lambda: asyncio.run(serve_websocket(policy, options.address)),
        "grpc": lambda: serve_grpc(policy, options.address),
    }
    serve[options.kind]()
    return 0


if __name__ == "__main__":
    sys.exit(main())

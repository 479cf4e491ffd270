"""Snapshots: all that an adapter knows, as bytes with a version, a checksum and an owner."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

import msgspec
import numpy as np

from adapt.errors import SnapshotError

Count = Annotated[int, msgspec.Meta(ge=0)]

FORMAT = 1
MAX_BYTES = 64 * 1024 * 1024


class GeneratorState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """numpy's PCG64. state, increment: 128-bit unsigned integers, hexadecimal."""

    state: str
    increment: str
    has_uint32: int
    uinteger: int


class AdapterState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An adapter at rest.

    bundle: digest of the bundle it ran. period: control periods since the episode began.
    latent: the policy's input, float32, little-endian. memory: what the algorithm keeps, in its own
    struct. trusted: whether latents come from the belief, or from the prior, whose version is
    beside it. episodes: complete ones of this task. prior: what beliefs start from, as
    `GaussianPrior.encode` makes it; empty for the bundle's own.
    """

    bundle: str
    in_episode: bool
    period: Count
    latent: bytes
    latent_version: Count
    belief_version: Count
    generator: GeneratorState
    memory: bytes
    trusted: bool = True
    prior_version: Count = 0
    episodes: Count = 0
    prior: bytes = b""


class _Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    checksum: bytes
    payload: bytes


def seal(state: AdapterState) -> bytes:
    payload = msgspec.msgpack.encode(state)
    return msgspec.msgpack.encode(_Envelope(FORMAT, hashlib.sha256(payload).digest(), payload))


def unseal(data: bytes, bundle: str) -> AdapterState:
    """Raises SnapshotError: damaged, of another format, or of another bundle than digest `bundle`.

    The checksum finds accidents, not forgers: keep snapshots where only the robot writes.
    """
    if len(data) > MAX_BYTES:
        raise SnapshotError(f"snapshot of {len(data)} bytes; at most {MAX_BYTES}")
    try:
        envelope = msgspec.msgpack.decode(data, type=_Envelope)
        if envelope.format != FORMAT:
            raise SnapshotError(f"snapshot format {envelope.format}; this program reads {FORMAT}")
        if hashlib.sha256(envelope.payload).digest() != envelope.checksum:
            raise SnapshotError("snapshot is damaged: its checksum does not match")
        state = msgspec.msgpack.decode(envelope.payload, type=AdapterState)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SnapshotError(f"not a snapshot: {error}") from error
    if state.bundle != bundle:
        raise SnapshotError(
            f"snapshot belongs to the bundle {state.bundle}; this adapter runs {bundle}"
        )
    return state


def save_generator(rng: np.random.Generator) -> GeneratorState:
    state: dict[str, Any] = dict(rng.bit_generator.state)
    words = state["state"]
    return GeneratorState(
        f"{words['state']:x}", f"{words['inc']:x}", state["has_uint32"], state["uinteger"]
    )


def load_generator(saved: GeneratorState) -> np.random.Generator:
    """Raises SnapshotError when the numbers are no state of a PCG64."""
    bits = np.random.PCG64()
    try:
        bits.state = {
            "bit_generator": "PCG64",
            "state": {"state": int(saved.state, 16), "inc": int(saved.increment, 16)},
            "has_uint32": saved.has_uint32,
            "uinteger": saved.uinteger,
        }
    except (ValueError, OverflowError) as error:
        raise SnapshotError(f"random generator cannot be restored: {error}") from error
    return np.random.Generator(bits)

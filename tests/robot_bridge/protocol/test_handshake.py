"""What is too much for a welcome is refused by name, before anybody waits for it."""

import msgspec
import numpy as np
import pytest

from adapt.bundle.fields import Limit
from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.errors import CodecError
from robot_bridge.protocol import codec
from robot_bridge.protocol.handshake import check_served, welcome
from robot_bridge.protocol.messages import Command, Kind, Mode, Observation, Refused
from tests.support.bridge.bridge_without_sockets import Post


def wordy(bundle, size):
    """The same bundle, whose welcome has so many bytes."""
    plain = codec.encode_message(welcome(bundle, 2**62, ()))
    words = size - (len(plain) - codec.HEADER.size)
    reason = "x" * (words - 200)
    limits = [*bundle.manifest.limits, Limit("force", "wrench", -1.0, 1.0, "N", reason)]
    manifest = msgspec.structs.replace(bundle.manifest, limits=limits)
    return PolicyBundle(manifest, bundle.digest, bundle.graphs, 0.0)


def test_a_bundle_with_more_to_say_than_a_welcome_holds_is_not_served(bundle):
    check_served(wordy(bundle, codec.CONTROL_BYTES))
    with pytest.raises(CodecError, match=r"WELCOME: payload of \d+ bytes; at most 65536"):
        Post(wordy(bundle, codec.CONTROL_BYTES + 400))
    latent = msgspec.structs.replace(bundle.manifest.latent, size=5000)
    manifest = msgspec.structs.replace(bundle.manifest, latent=latent)
    with pytest.raises(CodecError, match="latent of 5000 numbers; records hold at most 4096"):
        check_served(PolicyBundle(manifest, bundle.digest, bundle.graphs, 0.0))


def sized(bundle, group, size):
    field = msgspec.structs.replace(getattr(bundle.manifest, group)[0], shape=(size,))
    manifest = msgspec.structs.replace(bundle.manifest, **{group: [field]})
    return PolicyBundle(manifest, bundle.digest, bundle.graphs, 0.0)


def test_a_bundle_whose_numbers_fit_no_frame_is_not_served(bundle):
    numbers = np.zeros(16_382, np.float32)
    check_served(sized(bundle, "observation", 16_382))
    codec.encode_observation(Observation(1, 0, numbers, 0.0), 1)
    with pytest.raises(CodecError, match=r"observation of 16383 numbers; .* at most 16382"):
        check_served(sized(bundle, "observation", 16_383))
    check_served(sized(bundle, "action", 16_376))
    codec.encode_command(Command(1, 0, Mode.TRACK, numbers[:16_376]), 1)
    with pytest.raises(CodecError, match=r"action of 16377 numbers; .* at most 16376"):
        check_served(sized(bundle, "action", 16_377))


def test_a_robot_too_many_for_the_welcome_is_refused_and_not_half_let_in(bundle):
    post = Post(wordy(bundle, codec.CONTROL_BYTES - 200))
    names = [bytes([letter]) * 120 for letter in b"abcdef"]
    for name in names:
        post.join(name)
    refused = [name for name in names if post.frames(name, Kind.REFUSED)]
    let_in = [name for name in names if post.frames(name, Kind.WELCOME)]
    assert refused
    assert let_in
    assert not set(refused) & set(let_in)
    assert set(post.peers.robots()) == {name.decode() for name in let_in}
    reasons = codec.decode_message(post.frames(refused[0], Kind.REFUSED)[0], Refused).reasons
    assert "WELCOME: payload of" in reasons[0]
    # Connected peers stay connected.
    post.peers.tend()
    post.peers.dismiss("done")

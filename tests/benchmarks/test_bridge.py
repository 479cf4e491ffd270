"""What the latency benchmark is made of: pacing, the servers' policy, bundles at other rates."""

import itertools
import time

import numpy as np
import pytest

from adapt.bundle.policy_bundle import PolicyBundle
from benchmarks.bench_bridge import Case, Plan, at_rate, tell
from benchmarks.support.clients import Client, middle
from benchmarks.support.paced import Track, take_turns
from benchmarks.support.results import read
from benchmarks.support.servers import Policy, command, request
from robot_bridge.protocol.codec import encode_command, encode_observation
from robot_bridge.protocol.messages import Command, Mode, Observation
from robot_bridge.safety.limits import Limits
from tests.support import tiny_bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_bundle.write(tmp_path_factory.mktemp("bundles") / "tiny")


def test_tracks_take_turns_and_keep_what_each_exchange_took():
    order = []
    slow, quick = Track([]), Track([])

    class Fake(Client):
        def __init__(self, name, seconds):
            self.name, self.seconds = name, seconds

        def exchange(self):
            order.append(self.name)
            time.sleep(self.seconds)

        def rest(self):
            order.append(self.name)

    clients = [(slow, Fake("slow", 0.003)), (quick, Fake("quick", 0.0))]
    take_turns(clients, 0.001, 0.04, 2)
    assert [len(track.blocks) for track in (slow, quick)] == [2, 2]
    assert len(slow.all) == len(quick.all) == 40
    assert (slow.all >= 0.003).all()
    # Each takes three of its periods, so that two of three are never begun.
    assert slow.missed >= 40
    changes = sum(one != other for one, other in itertools.pairwise(order))
    assert changes == 3


def test_the_servers_run_the_bundles_network_on_what_they_are_sent(folder):
    bundle = PolicyBundle.load(folder)
    policy = Policy(bundle)
    seen = np.linspace(-1, 1, 6).astype(np.float32)
    found = command(policy.answer(request(seen, 7)))
    mean = bundle.policy.run(observation=seen[None], latent=np.zeros((1, 2), np.float32))["mean"][0]
    scale = np.array([0.001, 0.001, 0.02])
    np.testing.assert_allclose(found, scale * np.tanh(mean), rtol=1e-5)
    observation = encode_observation(Observation(1, 2, seen), 3)
    answer = encode_command(Command(1, 2, Mode.TRACK, found), 3)
    assert (policy.observation_bytes, policy.command_bytes) == (len(observation), len(answer))


def test_a_bundle_at_another_rate_is_the_same_network(folder, tmp_path):
    at_rate(folder, tmp_path / "fast", 0.001)
    fast, slow = PolicyBundle.load(tmp_path / "fast"), PolicyBundle.load(folder)
    assert fast.manifest.control_period == 0.001
    assert fast.manifest.files["policy.onnx"] == slow.manifest.files["policy.onnx"]


def test_the_clients_observation_breaks_nothing(folder):
    manifest = PolicyBundle.load(folder).manifest
    limits = Limits(manifest.observation, manifest.action, manifest.limits, 0.05)
    assert limits.invalid(middle(manifest)) == ""
    assert limits.broken(middle(manifest)) is None


def test_every_case_is_recorded_with_what_tells_it_apart(tmp_path):
    track = Track([np.full(1000, 2e-4)])
    cases = [Case("floor", "ipc", "blocking", track, Client())]
    tell(cases, 200, Plan(folder=tmp_path))
    records = read(tmp_path / "bridge.jsonl")
    assert {entry.metric for entry in records} == {"p50", "p99", "p99.9", "max", "missed periods"}
    assert records[0].value == pytest.approx(200.0)
    assert records[0].parameters["rate"] == 200

"""Robots whose observations are there at once share a run, and nothing else."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from adapt.adapters.batch import ROWS, Batch
from adapt.bundle.policy_bundle import PolicyBundle
from adapt.inference.session import CPU, CUDA
from robot_bridge.client.robot_client import RobotClient
from robot_bridge.protocol import codec
from robot_bridge.protocol.messages import NO_FLAGS, Begin, Command, Event, Flag, Kind, Mode, Stop
from robot_bridge.server.server import BridgeSettings, Daemon, shares_runs
from tests.support import tiny_bundle
from tests.support.bridge.bridge_without_sockets import Post

NAMES = [f"arm{number}".encode() for number in range(ROWS + 2)]
RTOL, ATOL = 1e-5, 1e-8


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    return [
        PolicyBundle.load(tiny_bundle.write(folder / str(seed), hold=3, seed=seed))
        for seed in (0, 1, 2)
    ]


@pytest.fixture
def runs(monkeypatch):
    """Every shared run: the bundle's digest, and who was in it by latent."""
    made = []
    real = Batch.act

    def act(self, asked):
        found = real(self, asked)
        made.append((self.bundle.digest, [adapter.latent.tobytes() for adapter, _ in asked]))
        return found

    monkeypatch.setattr(Batch, "act", act)
    return made


class House:
    """A bridge and robots in simulated time, each with draws of its own."""

    def __init__(self, bundle, names, together=True):
        self.post = Post(bundle, together=together)
        self.names = names
        self.post.join(b"boss", "operator")
        for seed, name in enumerate(names):
            self.post.join(name, simulated_time=True)
            self.post.say(b"boss", Begin(name.decode(), 0, 0, seed, True))

    def robot(self, name):
        return self.post.peers.robots()[name.decode()].robot

    def observe(self, values, flags=NO_FLAGS):
        """Everybody's observation, one frame after another; commands by name."""
        before = len(self.post.sent)
        for name, value in zip(self.names, values, strict=True):
            self.post.observe(name, value, flags)
        self.post.peers.flush()
        return self.commands(before)

    def commands(self, since=0) -> dict[bytes, Command]:
        return {
            to: codec.decode_command(frame)
            for to, frame in self.post.sent[since:]
            if frame.kind is Kind.COMMAND
        }

    def close(self):
        self.post.peers.dismiss("done")


@pytest.fixture
def house(bundles):
    made = []

    def make(count, together=True):
        made.append(House(bundles[0], NAMES[:count], together))
        return made[-1]

    yield make
    for each in made:
        each.close()


def same(one: Command, other: Command):
    assert (one.mode, one.sequence, one.belief_version) == (
        other.mode,
        other.sequence,
        other.belief_version,
    )
    np.testing.assert_allclose(one.payload, other.payload, rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize("count", [2, 5, ROWS + 2])
def test_together_robots_get_what_each_gets_alone(house, runs, count):
    together, alone = house(count), house(count, False)
    rng = np.random.default_rng(0)
    for period in range(9):
        values = rng.uniform(-1, 1, count).tolist()
        flags = Flag.FIRST if period == 0 else NO_FLAGS
        found, expected = together.observe(values, flags), alone.observe(values, flags)
        assert found.keys() == expected.keys() == set(together.names)
        for name, command in found.items():
            assert command.mode is Mode.TRACK
            same(command, expected[name])
    # One run for each period, two where a run is full.
    assert len(runs) == 9 * -(-count // ROWS)
    assert len(set(runs[0][1])) == len(runs[0][1])
    for name in together.names:
        mine, other = together.robot(name).policy, alone.robot(name).policy
        assert mine.belief.count == other.belief.count == 8
        np.testing.assert_allclose(mine.belief.mean, other.belief.mean, rtol=1e-5, atol=1e-6)


def test_nan_observations_affect_no_other_robot(house, runs):
    together, alone = house(3), house(3, False)
    for values in ([0.1, 0.2, 0.3], [0.1, np.nan, 0.3], [0.4, 0.5, np.inf], [0.1, 0.2, 0.3]):
        flags = Flag.FIRST if not runs else NO_FLAGS
        found, expected = together.observe(values, flags), alone.observe(values, flags)
        for name, value in zip(together.names, values, strict=True):
            same(found[name], expected[name])
            assert (found[name].mode is Mode.TRACK) == bool(np.isfinite(value))
    assert [len(latents) for _, latents in runs] == [3, 2, 2, 3]


def test_models_are_never_mixed(house, bundles, runs):
    together, alone = house(5), house(5, False)
    for each in (together, alone):
        each.observe([0.1] * 5, Flag.FIRST)
        for name in NAMES[1:3]:
            each.robot(name).episodes.adopt(bundles[1], True)
    runs.clear()
    values = [0.1, 0.2, 0.3, 0.4, 0.5]
    found, expected = together.observe(values), alone.observe(values)
    for name in NAMES[:5]:
        same(found[name], expected[name])
    assert [(digest, len(latents)) for digest, latents in runs] == [
        (bundles[0].digest, 3),
        (bundles[1].digest, 2),
    ]
    # Models come and go; their buffers go with them.
    for name in NAMES[:2]:
        together.robot(name).episodes.adopt(bundles[2], True)
    together.observe(values)
    kept = together.post.peers._control._batcher._batches
    assert set(kept) == {bundles[0].digest, bundles[2].digest}


@pytest.mark.parametrize("broken", ["act", "run"])
def test_a_run_that_cannot_be_had_is_made_one_by_one_and_told(house, monkeypatch, broken):
    together, alone = house(3), house(3, False)
    for each in (together, alone):
        each.observe([0.1] * 3, Flag.FIRST)
    tries = []

    def fail(*_):
        tries.append(1)
        raise RuntimeError("no memory")

    if broken == "act":
        monkeypatch.setattr(Batch, "act", fail)
    else:
        (batch,) = together.post.peers._control._batcher._batches.values()
        monkeypatch.setattr(batch._shared["policy"]._rows, "run", fail)
    for values in ([0.1, 0.2, 0.3], [0.2, 0.3, 0.4]):
        found, expected = together.observe(values), alone.observe(values)
        for name in NAMES[:3]:
            assert found[name].mode is Mode.TRACK
            same(found[name], expected[name])
    # Tried once, not at every answer.
    assert len(tries) == 1
    told = together.post.events(b"boss", "shared_run_failed")
    assert [event.robot for event in told] == ["arm0", "arm1", "arm2"]
    assert "no memory; this model's robots have runs of their own" in told[0].text


def test_one_whose_answer_fails_holds_and_the_others_go_on(house, monkeypatch):
    together = house(3)
    together.observe([0.1] * 3, Flag.FIRST)
    adapter = together.robot(NAMES[1]).policy.adapter
    monkeypatch.setattr(adapter, "settle", lambda outputs: {}["ours"])
    modes = [command.mode for command in together.observe([0.1] * 3).values()]
    assert modes == [Mode.TRACK, Mode.HOLD, Mode.TRACK]
    assert [event.robot for event in together.post.events(b"boss", "policy_failed")] == ["arm1"]
    # Another robot's noise, in the same turn, does not delay what is told of this one.
    together.observe([0.1] * 3)
    for _ in range(1000):
        together.post.say(NAMES[2], Event("noise", "", "x"))
    monkeypatch.undo()
    together.observe([0.1] * 3)
    monkeypatch.setattr(adapter, "settle", lambda outputs: {}["ours"])
    together.observe([0.1] * 3)
    assert len(together.post.events(b"boss", "policy_failed")) == 2
    # What cannot be sent to one is sent to the others.
    post = together.post.peers._registry.post

    def send(address, data):
        return {}["gone"] if address == NAMES[0] else post(address, data)

    monkeypatch.setattr(together.post.peers._registry, "post", send)
    assert list(together.observe([0.1] * 3)) == NAMES[1:3]
    assert len(together.post.events(b"boss", "bridge_fault")) == 1


def test_frames_are_acted_on_in_the_order_in_which_they_came(house):
    together = house(2)
    post = together.post
    together.observe([0.1] * 2, Flag.FIRST)
    since = len(post.sent)
    for name in NAMES[:2]:
        assert post.observe(name) is None
    # Before any other message, the requests that came before it are answered.
    post.say(b"boss", Stop("button"))
    assert [command.mode for command in together.commands(since).values()] == [Mode.TRACK] * 2
    kinds = [frame.kind for _, frame in post.sent[since:]]
    assert kinds.index(Kind.STOP) > kinds.index(Kind.COMMAND)
    assert post.observe(NAMES[0]).mode is Mode.STOP


def test_a_robot_that_does_not_wait_is_answered_twice_in_order(house, runs):
    together, alone = house(2), house(2, False)
    for each in (together, alone):
        each.observe([0.1] * 2, Flag.FIRST)
    answers = []
    for each in (together, alone):
        since = len(each.post.sent)
        for value in (0.2, 0.3):
            each.post.observe(NAMES[0], value)
        each.post.peers.flush()
        found = [f for to, f in each.post.sent[since:] if to == NAMES[0]]
        answers.append([codec.decode_command(f) for f in found if f.kind is Kind.COMMAND])
    assert len(answers[0]) == 2
    for one, other in zip(*answers, strict=True):
        same(one, other)
    # The second was asked when the first had been answered, and taught what came of that.
    for each in (together, alone):
        each.observe([0.4] * 2)
    mine, other = (each.robot(NAMES[0]).policy.belief for each in (together, alone))
    assert mine.count == other.count == 3
    np.testing.assert_allclose(mine.mean, other.mean, rtol=1e-5, atol=1e-6)


def test_a_single_robot_is_answered_at_once(house, runs):
    together = house(1)
    assert together.post.observe(NAMES[0], flags=Flag.FIRST).mode is Mode.TRACK
    together.post.join(NAMES[1])
    assert together.post.observe(NAMES[0]) is None
    together.post.ask(NAMES[1], Kind.BYE)
    # That came after the observation, which has been answered by now.
    assert together.commands()[NAMES[0]].sequence == 2
    assert together.post.observe(NAMES[0]).mode is Mode.TRACK
    assert runs == []


def test_on_the_cpu_every_answer_is_a_run_of_its_own_unless_asked_for():
    def settings(provider, together):
        return BridgeSettings(Path("b"), "local", provider=provider, together=together)

    assert not shares_runs(settings(CPU, "auto"))
    assert shares_runs(settings(CUDA, "auto"))
    assert shares_runs(settings(CPU, "always"))
    assert not shares_runs(settings(CUDA, "never"))


def test_over_a_socket_too(bundles, tmp_path, runs):
    settings = BridgeSettings(tmp_path, f"ipc://{tmp_path}/b", together="always")
    daemon = Daemon(bundles[0], settings)
    done = threading.Event()
    serving = threading.Thread(target=daemon.run, args=(done.is_set,))
    serving.start()
    manifest = bundles[0].manifest
    start = threading.Barrier(4)
    modes: dict[str, list[Mode]] = {}

    def drive(name):
        fields = manifest.observation, manifest.action, manifest.control_period
        with RobotClient(daemon.endpoint, name, *fields, simulated_time=True, patience=30) as arm:
            modes[name] = []
            for period in range(50):
                start.wait(30)
                command = arm.exchange(np.full(6, 0.1, np.float32), first=period == 0)
                modes[name].append(command.mode)

    drivers = [threading.Thread(target=drive, args=(f"arm{i}",)) for i in range(4)]
    try:
        for driver in drivers:
            driver.start()
        for driver in drivers:
            driver.join(60)
    finally:
        done.set()
        serving.join(30)
        daemon.close("done")
    assert modes == {f"arm{i}": [Mode.TRACK] * 50 for i in range(4)}
    # Who is there at once is chance; that it happens is not, in fifty rounds.
    assert runs

"""A snapshot brings everything back, or is refused and changes nothing."""

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from adapt.adapters.gaussian import GaussianAdapter
from adapt.adapters.registry import make_adapter
from adapt.bundle.policy_bundle import PolicyBundle
from adapt.errors import (
    SnapshotError,
)
from tests.support import tiny_bundle
from tests.support.tiny_play import CAPACITY, N_Z, play, state, transitions


@pytest.fixture(scope="module")
def pearl(tmp_path_factory: pytest.TempPathFactory) -> PolicyBundle:
    folder = tmp_path_factory.mktemp("pearl") / "bundle"
    return PolicyBundle.load(tiny_bundle.write(folder, capacity=CAPACITY))


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> PolicyBundle:
    folder = tmp_path_factory.mktemp("held") / "bundle"
    return PolicyBundle.load(tiny_bundle.write(folder, hold=3))


@pytest.mark.parametrize("seen", [0, 5, CAPACITY, CAPACITY + 3])
def test_a_restored_adapter_goes_on_to_the_last_bit(
    pearl: PolicyBundle, held: PolicyBundle, seen: int
) -> None:
    for bundle in (pearl, held):
        first = GaussianAdapter(bundle, 7)
        first.begin_episode()
        for transition in transitions(seen):
            first.act(transition.observation, stochastic=True)
            first.observe(transition)
        data = first.snapshot()
        # Into a fresh process's adapter, of another seed, and back into one that went on.
        second = GaussianAdapter(bundle, 8)
        second.restore(data)
        assert second.context.tolist() == first.context.tolist()
        assert second.belief.count == first.belief.count
        results = []
        for adapter in (first, second, first):
            adapter.restore(data)
            actions = []
            for transition in transitions(6, seed=5):
                actions.append(adapter.act(transition.observation, stochastic=True))
                adapter.observe(transition)
            adapter.end_episode()
            results.append(
                [a.normalised.tobytes() + a.latent.tobytes() for a in actions]
                + [adapter.belief.mean.tobytes(), adapter.belief.variance.tobytes()]
                + play(adapter)
            )
        assert results[0] == results[1] == results[2]


def test_a_snapshot_of_another_bundle_is_refused(pearl: PolicyBundle, held: PolicyBundle) -> None:
    adapter = make_adapter(held, 0)
    before = state(adapter)
    with pytest.raises(SnapshotError, match=rf"bundle {pearl.digest}; .* runs {held.digest}"):
        adapter.restore(make_adapter(pearl, 0).snapshot())
    assert state(adapter) == before


def test_a_damaged_snapshot_is_refused_and_changes_nothing(pearl: PolicyBundle) -> None:
    adapter = make_adapter(pearl, 0)
    for transition in transitions(CAPACITY + 2):
        adapter.observe(transition)
    data, other = adapter.snapshot(), make_adapter(pearl, 1)
    before = state(other)
    for position in np.linspace(0, len(data) - 1, 200).astype(int):
        bad = bytearray(data)
        bad[position] ^= 0x01
        with pytest.raises(SnapshotError):
            other.restore(bytes(bad))
    for bad in (b"", data[:-1], data[: len(data) // 2], data + b"x", b"\xc1" * 10):
        with pytest.raises(SnapshotError):
            other.restore(bad)
    assert state(other) == before


def test_a_snapshot_whose_parts_disagree_is_refused(pearl: PolicyBundle) -> None:
    """A right checksum over wrong content, as another program's fault would make it."""
    from adapt.adapters.snapshot import AdapterState, seal, unseal

    adapter = make_adapter(pearl, 0)
    adapter.observe(transitions(1)[0])
    good = unseal(adapter.snapshot(), pearl.digest)
    before = state(adapter)
    nan = np.full(N_Z, np.nan, np.float32).tobytes()
    changes: list[Callable[[AdapterState], AdapterState]] = [
        lambda s: msgspec.structs.replace(s, latent=b""),
        lambda s: msgspec.structs.replace(s, latent=nan),
        lambda s: msgspec.structs.replace(s, latent=b"123"),
        lambda s: msgspec.structs.replace(s, memory=b""),
        lambda s: msgspec.structs.replace(s, period=-1),
        lambda s: msgspec.structs.replace(
            s, generator=msgspec.structs.replace(s.generator, state="not a number")
        ),
    ]
    for change in changes:
        with pytest.raises(SnapshotError):
            adapter.restore(seal(change(good)))
    assert state(adapter) == before


def test_no_version_names_two_beliefs(pearl: PolicyBundle) -> None:
    adapter = make_adapter(pearl, 0)
    data = adapter.snapshot()
    seen = [adapter.belief.version]
    for transition in transitions(3):
        seen.append(adapter.observe(transition).version)
    adapter.restore(data)
    seen.append(adapter.belief.version)
    adapter.reset()
    seen.append(adapter.belief.version)
    seen.append(adapter.observe(transitions(1)[0]).version)
    assert seen == sorted(set(seen))

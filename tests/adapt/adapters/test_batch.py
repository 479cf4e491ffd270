"""One run for several robots equals separate runs, and a fault of one affects no other."""

from __future__ import annotations

import numpy as np
import pytest

from adapt.adapters.base import Action, Adapter
from adapt.adapters.batch import ROWS, Batch
from adapt.adapters.registry import make_adapter
from adapt.bundle.policy_bundle import PolicyBundle
from adapt.errors import ContextError, EpisodeError, InferenceError
from tests.support import tiny_bundle, tiny_maesn
from tests.support.tiny_play import observation, state, transitions

# Another number of rows may be added up in another order: a few units in the last place.
RTOL, ATOL = 1e-5, 1e-6


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PolicyBundle]:
    folder = tmp_path_factory.mktemp("bundles")
    return {
        "held": PolicyBundle.load(tiny_bundle.write(folder / "held", hold=3)),
        "other": PolicyBundle.load(tiny_bundle.write(folder / "other", hold=3, seed=1)),
        "none": PolicyBundle.load(tiny_bundle.write(folder / "none", algorithm="none")),
    }


def crew(bundle: PolicyBundle, count: int) -> list[Adapter]:
    """Adapters within an episode, each with draws and a belief of its own."""
    adapters = [make_adapter(bundle, seed) for seed in range(count)]
    for seed, adapter in enumerate(adapters):
        for transition in transitions(seed, seed):
            adapter.observe(transition)
        adapter.begin_episode()
    return adapters


def seen(count: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1, 1, 6).astype(np.float32) for _ in range(count)]


def same(one: Action | Exception, other: Action | Exception) -> None:
    assert isinstance(one, Action), one
    assert isinstance(other, Action), other
    np.testing.assert_allclose(one.normalised, other.normalised, rtol=RTOL, atol=ATOL)
    np.testing.assert_allclose(one.physical, other.physical, rtol=RTOL, atol=ATOL)
    # Nothing is computed of these: they are each robot's own, to the last bit.
    assert one.latent.tobytes() == other.latent.tobytes()
    assert one.belief_version == other.belief_version


@pytest.mark.parametrize("name", ["held", "none"])
@pytest.mark.parametrize("count", [1, 2, 5, ROWS])
def test_a_batch_is_its_robots_alone(bundles, name: str, count: int) -> None:
    batch = Batch(bundles[name])
    together, alone = crew(bundles[name], count), crew(bundles[name], count)
    # Past the third period, where every robot draws anew.
    for period in range(8):
        observations = seen(count, period)
        found = batch.act(list(zip(together, observations, strict=True)))
        for action, adapter, each in zip(found, alone, observations, strict=True):
            same(action, adapter.act(each))
    assert [state(adapter) for adapter in together] == [state(adapter) for adapter in alone]
    latents = {adapter.latent.tobytes() for adapter in together}
    assert len(latents) == (count if name == "held" else 1)


def test_maesn_robots_share_a_run_too(tmp_path) -> None:
    bundle = PolicyBundle.load(tiny_maesn.write(tmp_path / "maesn"))
    size = bundle.manifest.observation_size
    adapters = [make_adapter(bundle, seed) for seed in (0, 1)]
    alone = [make_adapter(bundle, seed) for seed in (0, 1)]
    for adapter in adapters + alone:
        adapter.begin_episode()
    given = np.full(size, 0.1, np.float32)
    found = Batch(bundle).act([(adapter, given) for adapter in adapters])
    for action, adapter in zip(found, alone, strict=True):
        same(action, adapter.act(given))


def test_what_is_wrong_with_one_is_not_the_others(bundles) -> None:
    batch = Batch(bundles["held"])
    together, alone = crew(bundles["held"], 4), crew(bundles["held"], 4)
    together[2].end_episode()
    observations = [observation(0.1), observation(np.nan), observation(0.2), observation(0.3)]
    before = state(together[1])
    found = batch.act(list(zip(together, observations, strict=True)))
    assert isinstance(found[1], ContextError)
    assert isinstance(found[2], EpisodeError)
    assert state(together[1]) == before
    for index in (0, 3):
        same(found[index], alone[index].act(observations[index]))
    # Nothing of it is left for the next time.
    again = batch.act([(together[1], observation(0.4))])
    same(again[0], alone[1].act(observation(0.4)))


def test_an_answer_that_is_no_number_is_one_robots(bundles, monkeypatch) -> None:
    batch = Batch(bundles["held"])
    together, alone = crew(bundles["held"], 3), crew(bundles["held"], 3)
    real = batch._shared["policy"]._rows.run

    def broken(count: int) -> None:
        real(count)
        batch._shared["policy"]._rows.outputs["mean"][1, 2] = np.nan

    monkeypatch.setattr(batch._shared["policy"]._rows, "run", broken)
    found = batch.act([(adapter, observation()) for adapter in together])
    assert isinstance(found[1], InferenceError)
    assert "policy answers nan for yaw" in str(found[1])
    for index in (0, 2):
        same(found[index], alone[index].act(observation()))


def test_a_run_that_fails_is_made_one_by_one(bundles, monkeypatch) -> None:
    batch = Batch(bundles["held"])
    together, alone = crew(bundles["held"], 3), crew(bundles["held"], 3)
    monkeypatch.setattr(batch._shared["policy"]._rows, "run", lambda count: {}["out of memory"])
    for value in (0.1, 0.2, 0.3, 0.4):
        found = batch.act([(adapter, observation(value)) for adapter in together])
        for action, adapter in zip(found, alone, strict=True):
            same(action, adapter.act(observation(value)))
    # And where one of these fails too, it is that robot's.
    real, runs = batch._shared["policy"]._alone.run, iter([False, True, False])

    def sometimes() -> None:
        if next(runs):
            raise RuntimeError("out of memory")
        real()

    monkeypatch.setattr(batch._shared["policy"]._alone, "run", sometimes)
    found = batch.act([(adapter, observation()) for adapter in together])
    assert [isinstance(each, Action) for each in found] == [True, False, True]


def test_what_does_not_belong_together_is_refused(bundles) -> None:
    batch = Batch(bundles["held"])
    mine, other = crew(bundles["held"], 1)[0], crew(bundles["other"], 1)[0]
    before = state(mine), state(other)
    with pytest.raises(ValueError, match=r"an adapter of the bundle .*; this run is of"):
        batch.act([(mine, observation()), (other, observation())])
    with pytest.raises(ValueError, match="one adapter is asked twice"):
        batch.act([(mine, observation()), (mine, observation())])
    with pytest.raises(ValueError, match="17 adapters; one run takes at most 16"):
        batch.act([(mine, observation())] * 17)
    assert (state(mine), state(other)) == before
    assert batch.act([]) == []

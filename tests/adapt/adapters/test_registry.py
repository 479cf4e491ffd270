"""An adapter of another package, found by its entry point, does all that ours do."""

from importlib.metadata import EntryPoint

import msgspec
import numpy as np
import pytest

from adapt.adapters.base import Transition
from adapt.adapters.fixed import FixedAdapter
from adapt.adapters.registry import OURS, make_adapter
from adapt.belief.gaussian import Belief
from adapt.bundle import algorithms
from adapt.bundle.algorithms import Algorithm, NoAdaptation, Variant
from adapt.bundle.policy_bundle import PolicyBundle, write_bundle
from adapt.errors import BundleError
from tests.support import tiny_bundle


class Counting(Variant, frozen=True, tag="counting"):
    most: int

    def problems(self, manifest) -> list[str]:
        return [] if self.most > 0 else [f"algorithm.most is {self.most}; expected 1 or more"]


class CountingAdapter(FixedAdapter):
    """Believes nothing, and counts how often it was told so."""

    variant: type[Algorithm] = Counting

    def observe(self, transition: Transition) -> Belief:
        before = super().observe(transition)
        count = before.count + 1
        self._belief = msgspec.structs.replace(before, count=count, version=before.version + 1)
        return self._belief


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("counting", f"{__name__}:CountingAdapter", algorithms.GROUP)
    monkeypatch.setattr(algorithms, "entry_points", lambda group: [point] if group else [])


def write(path, most=3):
    manifest, graphs, golden = tiny_bundle.build(algorithm="none")
    counting = msgspec.structs.replace(manifest, algorithm=Counting(most))
    return write_bundle(path, counting, graphs, golden)


def test_a_kind_from_another_package_is_read_and_run(registered, tmp_path):
    write(tmp_path / "b")
    bundle = PolicyBundle.load(tmp_path / "b")
    assert bundle.manifest.algorithm == Counting(3)
    adapter = make_adapter(bundle, 0)
    assert isinstance(adapter, CountingAdapter)
    adapter.begin_episode()
    seen = np.zeros(6, np.float32)
    action = adapter.act(seen)
    belief = adapter.observe(Transition(seen, action.normalised, 0.0, seen))
    assert (belief.count, belief.version) == (1, 1)


def test_its_own_checks_are_asked(registered, tmp_path):
    with pytest.raises(BundleError, match=r"algorithm\.most is 0"):
        write(tmp_path / "b", most=0)


def test_without_the_package_the_kinds_there_are_are_named(tmp_path):
    with pytest.raises(BundleError, match="no algorithm 'counting'; there are none, gaussian, "):
        write(tmp_path / "b")


def test_every_variant_of_ours_has_its_adapter():
    kinds = {str(each.__struct_config__.tag): each for each in algorithms.OURS}
    assert set(kinds) == set(OURS) and kinds["none"] is NoAdaptation
    for kind, place in OURS.items():
        module, name = place.split(":")
        adapter = getattr(__import__(module, fromlist=[name]), name)
        assert adapter.variant is kinds[kind]

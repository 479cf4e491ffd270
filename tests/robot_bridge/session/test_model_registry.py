"""A model beside the one that serves: loaded, verified, swapped, taken back."""

import os
import threading
import time

import msgspec
import pytest

from adapt.bundle.fields import Limit
from adapt.bundle.policy_bundle import PolicyBundle, write_bundle
from robot_bridge.errors import ModelError
from robot_bridge.session.model_registry import ModelRegistry
from tests.support import tiny_bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("bundles")
    tiny_bundle.write(made / "one")
    tiny_bundle.write(made / "other", seed=1)
    return made


def ended(models):
    deadline = time.monotonic() + 30
    while (result := models.finished()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return result


@pytest.fixture
def models(folder):
    return ModelRegistry(PolicyBundle.load(folder / "one"), PolicyBundle.load)


def test_loaded_swapped_and_taken_back(models, folder):
    first = models.served
    models.load(folder / "other")
    fits, digest = ended(models)
    assert fits
    assert (models.served, models.candidate.digest) == (first, digest)
    assert models.swap().digest == digest
    assert (models.previous, models.candidate) == (first, None)
    assert models.rollback() is first
    assert models.swap().digest == digest


def test_what_is_not_there_cannot_be_swapped(models):
    with pytest.raises(ModelError, match="no model is loaded"):
        models.swap()
    with pytest.raises(ModelError, match="no model to go back to"):
        models.rollback()


def test_a_tampered_bundle_never_becomes_a_candidate(models, folder, tmp_path):
    path = tiny_bundle.write(tmp_path / "bad", seed=2)
    data = (path / "policy.onnx").read_bytes()
    (path / "policy.onnx").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    models.load(path)
    fits, why = ended(models)
    assert not fits
    assert "policy.onnx was changed" in why
    models.load(folder / "nothing")
    assert "no such bundle" in ended(models)[1]
    assert models.candidate is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"control_period": 0.02}, "control period: expected 0.02 s, found 0.05 s"),
        ({"action_size": 2}, "action field"),
        ({"observation_size": 7}, "observation field 'tip_position': shape"),
    ],
)
def test_a_bundle_for_another_robot_is_refused(models, tmp_path, changes, words):
    models.load(tiny_bundle.write(tmp_path / "b", **changes))
    fits, why = ended(models)
    assert not fits
    assert words in why


def test_another_scale_or_an_impossible_limit_is_refused(models, tmp_path):
    manifest, graphs, golden = tiny_bundle.build()
    first, *rest = manifest.action
    wider = msgspec.structs.replace(first, low=-0.5, high=0.5, scale=0.5)
    limit = Limit("rate", "translation", 0.1, 1.0, "m/s", "never still")
    for name, changes, words in (
        (
            "scale",
            {"action": [wider, *rest]},
            "offset 0.0; found range -0.5 to 0.5, scale 0.5",
        ),
        ("limit", {"limits": [limit]}, "either side of 0"),
        ("synchronous", {"synchronous": True}, "synchronous is True, and False serves"),
    ):
        other = msgspec.structs.replace(manifest, **changes)
        write_bundle(tmp_path / name, other, graphs, golden)
        models.load(tmp_path / name)
        fits, why = ended(models)
        assert not fits
        assert words in why


def test_what_fits_no_frame_is_compared_with_nothing(models, tmp_path):
    manifest, graphs, golden = tiny_bundle.build()
    # Impossible, too; but to find that out takes the loop's time.
    limit = Limit("rate", "translation", 0.1, 1.0, "m/s", "never still" * 10_000)
    other = msgspec.structs.replace(manifest, limits=[limit])
    write_bundle(tmp_path / "large", other, graphs, golden)
    models.load(tmp_path / "large")
    fits, why = ended(models)
    assert not fits
    assert why.startswith("WELCOME: payload of ")


def test_loading_has_a_lower_priority_and_comes_one_at_a_time(folder):
    served = PolicyBundle.load(folder / "one")
    go, found = threading.Event(), []

    def slowly(path):
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        assert go.wait(30)
        return served

    models = ModelRegistry(served, slowly)
    ours = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    models.load(folder / "other")
    with pytest.raises(ModelError, match="still being loaded"):
        models.load(folder / "one")
    assert models.finished() is None
    go.set()
    assert ended(models)[0]
    assert found == [min(ours + 10, 19)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == ours


def test_a_loader_that_breaks_is_an_answer(models, monkeypatch):
    models._open = lambda path: {}[path]
    models.load("x")
    assert "KeyError" in ended(models)[1]

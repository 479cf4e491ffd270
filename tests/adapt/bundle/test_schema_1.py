"""Bundles of schema 1 are the same bundles in schema 2, and refused for the same faults."""

import json
from pathlib import Path

import pytest

from adapt.bundle.algorithms import Gaussian, NoAdaptation, Stepped, TransitionRow
from adapt.bundle.manifest import Phase, decode_manifest, encode_manifest
from adapt.bundle.policy_bundle import read_manifest
from adapt.errors import BundleError

BUNDLES = Path(__file__).resolve().parents[3] / "bundles"
PEARL, MAESN = (BUNDLES / name / "manifest.json" for name in ("insertion-pearl", "insertion-maesn"))


def changed(path: Path, change) -> bytes:
    manifest = json.loads(path.read_bytes())
    change(manifest)
    return json.dumps(manifest).encode()


def test_the_shipped_bundles_say_in_schema_2_what_they_said_in_schema_1():
    old = json.loads(PEARL.read_bytes())
    manifest, _ = read_manifest(PEARL.parent)
    context = old["context"]
    row = TransitionRow(context["reward"], context["next_observation"])
    assert manifest.algorithm == Gaussian(row, context["capacity"])
    assert manifest.phases == (Phase("policy", 0, "sample"),) and not manifest.synchronous
    stepped = read_manifest(MAESN.parent)[0].algorithm
    assert isinstance(stepped, Stepped)
    step = json.loads(MAESN.read_bytes())["latent_step"]
    assert {key: getattr(stepped, key) for key in step} == step
    # All else is kept to the last bit.
    for path in (PEARL, MAESN):
        old = json.loads(path.read_bytes())
        new = json.loads(encode_manifest(read_manifest(path.parent)[0]))
        for key in set(old) - {"schema_version", "algorithm", "context", "latent_step"}:
            assert new[key] == old[key], key


def test_a_converted_manifest_is_one_of_schema_2():
    for path in (PEARL, MAESN):
        manifest, _ = read_manifest(path.parent)
        assert manifest.schema_version == 2
        assert decode_manifest(encode_manifest(manifest), "here") == manifest


def test_a_policy_without_a_latent_needs_no_adaptation():
    def without(manifest):
        manifest.update(algorithm="none", files={})
        latent = {"size": 0, "prior_mean": [], "prior_variance": [], "factors": [], "hold": 0}
        manifest["latent"].update(latent)
        manifest["files"] = dict.fromkeys(("policy.onnx", "golden.npz"), "0" * 64)

    assert decode_manifest(changed(PEARL, without), "here").algorithm == NoAdaptation()


@pytest.mark.parametrize(
    ("path", "change", "why"),
    [
        (PEARL, lambda m: m.update(algorithm="magic"), "algorithm 'magic'; expected one of pearl"),
        (PEARL, lambda m: m.update(phases=[]), "unknown field `phases`"),
        (PEARL, lambda m: m["action"][0].update(offset=0.0), r"`offset` - at `\$\.action`"),
        (
            PEARL,
            lambda m: m["context"].update(depth=3),
            r"`depth` - at `\$\.algorithm\.transition`",
        ),
        (PEARL, lambda m: m.pop("context"), "`context`"),
        (PEARL, lambda m: m.update(sqaush=1), "`sqaush`"),
        (PEARL, lambda m: m["context"].update(capacity=0), "capacity"),
        (MAESN, lambda m: m.pop("latent_step"), "'maesn' needs one"),
        (MAESN, lambda m: m.update(algorithm="pearl"), "'maesn' needs one"),
        (MAESN, lambda m: m["latent_step"].pop("horizon"), r"`horizon` - at `\$\.algorithm`"),
        (MAESN, lambda m: m.update(latent_step=[1]), r"`object` - at `\$\.latent_step`"),
        (MAESN, lambda m: m.update(observation=[3]), "observation"),
    ],
)
def test_a_fault_is_named(path, change, why):
    with pytest.raises(BundleError, match=why):
        decode_manifest(changed(path, change), "here")

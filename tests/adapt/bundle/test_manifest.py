"""A manifest that is wrong anywhere is refused by the name of its key."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from adapt.bundle.manifest import MANIFEST_BYTES, decode_manifest, encode_manifest
from adapt.bundle.policy_bundle import PolicyBundle
from adapt.errors import BundleError
from tests.support import tiny_bundle
from tests.support.tiny_bundle import edit_manifest


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tiny_bundle.write(tmp_path / "copy")


def test_numbers_survive_the_manifest_to_the_last_bit() -> None:
    manifest = tiny_bundle.build(control_period=1 / 3)[0]
    names = {"policy.onnx", "encoder.onnx", "golden.npz"}
    manifest = msgspec.structs.replace(manifest, files=dict.fromkeys(names, "0" * 64))
    assert decode_manifest(encode_manifest(manifest), "here") == manifest


MANIFEST_FAULTS: dict[str, tuple[Callable[[dict], object], str]] = {
    "newer schema": (lambda m: m.update(schema_version=3), "version 3; .* reads versions 1 and 2"),
    "newer schema with new keys": (lambda m: m.update(schema_version=9, new=1), "version 9"),
    "no schema version": (lambda m: m.pop("schema_version"), "schema version None"),
    "unknown key": (lambda m: m.update(sqaush="tanh"), "unknown field `sqaush`"),
    "unknown key inside": (lambda m: m["latent"].update(holds=1), r"`holds` - at `\$\.latent`"),
    "missing key": (lambda m: m.pop("limits"), "`limits`"),
    "wrong type": (lambda m: m.update(control_period="fast"), "control_period"),
    "no period": (lambda m: m.update(control_period=0), "control_period"),
    "null number": (lambda m: m["latent"]["prior_mean"].__setitem__(0, None), "prior_mean"),
    "algorithm": (lambda m: m["algorithm"].update(kind="magic"), "'magic'; .* none, gaussian"),
    "algorithm by name": (lambda m: m.update(algorithm="pearl"), "expected an object .*'kind'"),
    "unknown key in the algorithm": (lambda m: m["algorithm"].update(x=1), r"`\$\.algorithm`"),
    "transition's key": (
        lambda m: m["algorithm"]["transition"].pop("reward"),
        r"`reward` - at `\$\.algorithm\.transition`",
    ),
    "no phase": (lambda m: m.update(phases=[]), "phases is empty"),
    "phases without end": (
        lambda m: m.update(phases=[{"policy": "policy"}, {"policy": "policy"}]),
        r"phases\[0\]\.episodes is 0; expected at least 1",
    ),
    "last phase ends": (lambda m: m.update(phases=[{"episodes": 3}]), "episodes is 3; expected 0"),
    "phase of the encoder": (
        lambda m: m.update(phases=[{"policy": "encoder"}]),
        "of the algorithm",
    ),
    "phase's path": (lambda m: m.update(phases=[{"policy": "../policy"}]), "phases"),
    "no state": (lambda m: m.update(phases=[{"condition": "state"}]), "the belief has none"),
    "two conditions": (
        lambda m: m.update(phases=[{"episodes": 1}, {"condition": "statistics"}]),
        "two conditions",
    ),
    "period too short": (lambda m: m.update(control_period=1e-12), "control_period"),
    "period too long": (lambda m: m.update(control_period=1e10), "control_period"),
    "exploration": (lambda m: m["latent"].update(exploration=1e10), "exploration"),
    "prior beyond float32": (
        lambda m: m["latent"]["prior_variance"].__setitem__(0, 1e300),
        "prior_variance",
    ),
    "elements": (lambda m: m["observation"][0].update(elements=["x"]), "names 1 numbers; it has 3"),
    "offset beyond range": (
        lambda m: m["action"][0].update(offset=0.5),
        "offset - scale to offset \\+ scale = 0.499 to 0.501",
    ),
    "scale below float32": (
        lambda m: m["action"][0].update(offset=1e6, high=2e6),
        "float32 cannot resolve scale 0.001 about offset 1000000.0",
    ),
    "prior too short": (lambda m: m["latent"]["prior_mean"].pop(), "has 1 numbers; .* is 2"),
    "prior variance": (lambda m: m["latent"]["prior_variance"].__setitem__(0, 0.0), "variance"),
    "factor outside": (lambda m: m["latent"]["factors"][0].update(index=2), "index 2 lies outside"),
    "low above high": (lambda m: m["observation"][0].update(low=11.0), "low 11.0 is not below"),
    "same name twice": (lambda m: m["observation"][1].update(name="tip_position"), "twice"),
    "scale out of range": (lambda m: m["action"][0].update(scale=0.5), "= ±0.5"),
    "limit on nothing": (lambda m: m["limits"][0].update(field="elbow"), "no such field"),
    "limits without end": (lambda m: m["limits"].extend(m["limits"] * 256), "<= 256 .*limits"),
    "limit upside down": (lambda m: m["limits"][0].update(low=1.0), "low 1.0 is not below"),
    "latent without pearl": (lambda m: m.update(algorithm={"kind": "none"}), "algorithm 'none'"),
    "no context": (lambda m: m["algorithm"].update(capacity=0), r"\$\.algorithm\.capacity"),
    "file not listed": (lambda m: m["files"].pop("golden.npz"), "files lists"),
    "path in files": (lambda m: m["files"].update({"../x": "0" * 64}), "files lists"),
    "no digest": (lambda m: m["files"].update({"golden.npz": "abc"}), "files"),
    "field grown": (lambda m: m["observation"][0].update(shape=[4]), "golden.npz.*expected"),
}


@pytest.mark.parametrize("fault", MANIFEST_FAULTS)
def test_a_faulty_manifest_is_refused_by_name(copy: Path, fault: str) -> None:
    change, message = MANIFEST_FAULTS[fault]
    edit_manifest(copy, change)
    with pytest.raises(BundleError, match=message) as caught:
        PolicyBundle.load(copy)
    assert str(copy) in str(caught.value)


def test_a_manifest_that_is_no_json(copy: Path) -> None:
    for data in (b"", b"\xff\xfe", b"[]", b"{", b'{"task_space":' + b"[" * 10_000):
        (copy / "manifest.json").write_bytes(data)
        with pytest.raises(BundleError, match=r"manifest\.json"):
            PolicyBundle.load(copy)


def test_a_manifest_without_end_is_refused_before_it_is_decoded(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copy / "manifest.json"
    data = path.read_bytes()
    # Blanks after the last bracket are JSON: it is the size alone that is wrong.
    path.write_bytes(data.ljust(MANIFEST_BYTES))
    assert PolicyBundle.load(copy).manifest.name == "tiny"
    path.write_bytes(data.ljust(MANIFEST_BYTES + 1))

    def decode(*arguments: object, **options: object) -> None:
        raise AssertionError("decoding holds the interpreter")

    monkeypatch.setattr(msgspec.json, "decode", decode)
    with pytest.raises(BundleError, match=r"has 1048577 bytes; at most 1048576") as caught:
        PolicyBundle.load(copy)
    assert str(copy) in str(caught.value)

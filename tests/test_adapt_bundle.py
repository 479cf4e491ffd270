"""A bundle loads whole or is refused with the name of what differs."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tiny_bundle
from onnx import helper

import adapt.archive
from adapt.archive import digest
from adapt.bundle import PolicyBundle, pack, read_manifest, write_bundle
from adapt.bundle_command import main
from adapt.errors import BundleError, ProviderError
from adapt.golden import decode_golden, encode_golden
from adapt.manifest import decode_manifest, encode_manifest

FILES = ("manifest.json", "policy.onnx", "encoder.onnx", "golden.npz")


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle.write(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def copy(intact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(intact, tmp_path / "copy"))


def edit_manifest(folder: Path, change: Callable[[dict], object]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_bytes())
    change(manifest)
    path.write_text(json.dumps(manifest))


def reseal(folder: Path) -> None:
    """Make the digests fit again, as a forger would."""
    edit_manifest(
        folder,
        lambda m: m.update(files={n: digest((folder / n).read_bytes()) for n in FILES[1:]}),
    )


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"algorithm": "none"},
        {"observation_size": 1, "action_size": 1, "latent_size": 1},
        {"hold": 5, "capacity": 1},
    ],
)
def test_what_is_written_loads(tmp_path: Path, kind: dict) -> None:
    manifest, graphs, golden = tiny_bundle.build(**kind)
    written = write_bundle(tmp_path / "bundle", manifest, graphs, golden)
    loaded = PolicyBundle.load(tmp_path / "bundle")
    assert loaded.manifest == written.manifest
    assert msgspec.structs.replace(loaded.manifest, files={}) == manifest
    assert loaded.digest == digest((tmp_path / "bundle" / "manifest.json").read_bytes())
    assert set(loaded.graphs) == set(graphs)
    assert loaded.worst_error < 1e-5


def test_numbers_survive_the_manifest_to_the_last_bit() -> None:
    manifest = tiny_bundle.build(control_period=1 / 3)[0]
    names = {"policy.onnx", "encoder.onnx", "golden.npz"}
    manifest = msgspec.structs.replace(manifest, files=dict.fromkeys(names, "0" * 64))
    assert decode_manifest(encode_manifest(manifest), "here") == manifest


def test_one_byte_changed_anywhere_in_any_file_is_refused(copy: Path) -> None:
    for name in FILES:
        path = copy / name
        good = path.read_bytes()
        for position in np.linspace(0, len(good) - 1, 12).astype(int):
            bad = bytearray(good)
            bad[position] ^= 0x01
            path.write_bytes(bytes(bad))
            try:
                found = PolicyBundle.load(copy).digest
            except BundleError as error:
                assert str(copy) in str(error)
            else:
                # In free text of the manifest a change makes another bundle, told by its digest.
                assert name == "manifest.json"
                assert found != digest(good)
        path.write_bytes(good)
    PolicyBundle.load(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        PolicyBundle.load(copy)


def test_an_extra_file_is_named(copy: Path) -> None:
    (copy / "setup.py").write_text("")
    with pytest.raises(BundleError, match=r"setup\.py is not listed"):
        PolicyBundle.load(copy)


def test_a_folder_inside_is_named(copy: Path) -> None:
    (copy / "weights").mkdir()
    with pytest.raises(BundleError, match="'weights' is not a plain file"):
        PolicyBundle.load(copy)


def test_a_changed_file_is_named_with_both_digests(copy: Path) -> None:
    expected = digest((copy / "policy.onnx").read_bytes())
    (copy / "policy.onnx").write_bytes(b"other")
    found = digest(b"other")
    with pytest.raises(BundleError, match=rf"policy\.onnx.*{found}; expected {expected}"):
        PolicyBundle.load(copy)


@pytest.mark.parametrize("path", ["absent", "absent.zip"])
def test_no_bundle_at_all(tmp_path: Path, path: str) -> None:
    with pytest.raises(BundleError, match="no such bundle"):
        PolicyBundle.load(tmp_path / path)


MANIFEST_FAULTS: dict[str, tuple[Callable[[dict], object], str]] = {
    "newer schema": (lambda m: m.update(schema_version=2), "schema version 2; .* reads version 1"),
    "newer schema with new keys": (lambda m: m.update(schema_version=9, new=1), "version 9"),
    "no schema version": (lambda m: m.pop("schema_version"), "missing required .*schema_version"),
    "unknown key": (lambda m: m.update(sqaush="tanh"), "unknown field `sqaush`"),
    "unknown key inside": (lambda m: m["latent"].update(holds=1), r"`holds` - at `\$\.latent`"),
    "missing key": (lambda m: m.pop("limits"), "`limits`"),
    "wrong type": (lambda m: m.update(control_period="fast"), "control_period"),
    "no period": (lambda m: m.update(control_period=0), "control_period"),
    "null number": (lambda m: m["latent"]["prior_mean"].__setitem__(0, None), "prior_mean"),
    "algorithm": (lambda m: m.update(algorithm="magic"), "'magic'"),
    "prior too short": (lambda m: m["latent"]["prior_mean"].pop(), "has 1 numbers; .* is 2"),
    "prior variance": (lambda m: m["latent"]["prior_variance"].__setitem__(0, 0.0), "variance"),
    "factor outside": (lambda m: m["latent"]["factors"][0].update(index=2), "index 2 lies outside"),
    "low above high": (lambda m: m["observation"][0].update(low=11.0), "low 11.0 is not below"),
    "same name twice": (lambda m: m["observation"][1].update(name="tip_position"), "twice"),
    "scale out of range": (lambda m: m["action"][0].update(scale=0.5), "range .* scale = ±0.5"),
    "limit on nothing": (lambda m: m["limits"][0].update(field="elbow"), "no such field"),
    "limit upside down": (lambda m: m["limits"][0].update(low=1.0), "low 1.0 is not below"),
    "latent without pearl": (lambda m: m.update(algorithm="none"), "algorithm 'none'"),
    "no context": (lambda m: m["context"].update(capacity=0), "capacity is 0"),
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
    for data in (b"", b"\xff\xfe", b"[]", b"{"):
        (copy / "manifest.json").write_bytes(data)
        with pytest.raises(BundleError, match=r"manifest\.json"):
            PolicyBundle.load(copy)


def test_golden_mismatch_names_output_and_place(copy: Path) -> None:
    _, _, golden = tiny_bundle.build()
    golden["encoder/variance"][3, 1] += 1e-3
    (copy / "golden.npz").write_bytes(encode_golden(golden))
    reseal(copy)
    with pytest.raises(BundleError, match=r"encoder output 'variance' row 3 column 1 is .* expec"):
        PolicyBundle.load(copy)


def test_golden_tolerance_is_where_it_says(copy: Path) -> None:
    for shift, passes in ((0.5e-5, True), (2e-5, False)):
        _, _, golden = tiny_bundle.build()
        golden["policy/log_std"] += np.float32(shift)
        (copy / "golden.npz").write_bytes(encode_golden(golden))
        reseal(copy)
        if passes:
            assert PolicyBundle.load(copy).worst_error == pytest.approx(shift, rel=0.1)
        else:
            with pytest.raises(BundleError, match="'log_std'"):
                PolicyBundle.load(copy)


def _without(key: str) -> Callable[[dict], object]:
    return lambda golden: golden.pop(key)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("policy/mean"), "arrays are"),
        (lambda g: g.update({"other/x": np.zeros((5, 1))}), "arrays are"),
        (lambda g: g.update({"policy/mean": np.zeros((4, 3))}), r"\(4, 3\); expected \(rows, 3\)"),
        (lambda g: g.update({"policy/mean": np.zeros(3)}), r"\(3,\); expected"),
        (lambda g: g.update({k: v[:0] for k, v in g.items()}), "at least 1"),
        (lambda g: g["policy/mean"].__setitem__((0, 0), np.nan), "not finite"),
    ],
)
def test_malformed_golden_vectors(change: Callable[[dict], object], message: str) -> None:
    manifest, _, golden = tiny_bundle.build()
    change(golden)
    with pytest.raises(BundleError, match=message):
        decode_golden(encode_golden(golden), manifest.signatures(), "golden.npz")


def test_golden_arrays_are_neither_pickled_nor_over_allocated(tmp_path: Path) -> None:
    signatures = tiny_bundle.build()[0].signatures()
    with zipfile.ZipFile(tmp_path / "object.npz", "w") as archive:
        with archive.open("policy/mean.npy", "w") as member:
            np.lib.format.write_array(member, np.array([{}], dtype=object), allow_pickle=True)
    huge = b"\x93NUMPY\x01\x00v\x00" + (
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 1), }".ljust(117) + b"\n"
    )
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        archive.writestr("policy/mean.npy", huge + b"1234")
    for name in ("object.npz", "huge.npz"):
        with pytest.raises(BundleError, match="policy/mean"):
            decode_golden((tmp_path / name).read_bytes(), signatures, name)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((5, 3)), "float64, not float32"),
        (np.zeros((5, 3), ">f4"), ">f4, not float32"),
        (np.zeros((5, 3), np.float32, order="F"), "not float32 in C order"),
    ],
)
def test_golden_arrays_are_plain_float32(tmp_path: Path, array: np.ndarray, message: str) -> None:
    path = tmp_path / "golden.npz"
    np.savez(path, mean=array)
    with pytest.raises(BundleError, match=f"'mean': {message}"):
        adapt.archive.decode_arrays(path.read_bytes(), "golden.npz")


def test_golden_bytes_depend_on_the_numbers_alone() -> None:
    golden = tiny_bundle.build()[2]
    assert encode_golden(golden) == encode_golden(dict(reversed(golden.items())))


def test_a_graph_of_another_shape_is_refused(copy: Path) -> None:
    _, graphs, _ = tiny_bundle.build(observation_size=7)
    (copy / "policy.onnx").write_bytes(graphs["policy"])
    reseal(copy)
    with pytest.raises(
        BundleError, match=r"'observation' is tensor\(float\) \['batch', 7\].*\['batch', 6\]"
    ):
        PolicyBundle.load(copy)


def test_a_graph_with_other_names_is_refused(copy: Path) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    (copy / "policy.onnx").write_bytes(tiny_bundle.model("policy", nodes, {"x": 6}, {"y": 6}, {}))
    reseal(copy)
    with pytest.raises(BundleError, match=r"inputs are \['x'\]; .* \['latent', 'observation'\]"):
        PolicyBundle.load(copy)


def test_a_file_that_is_no_graph_is_refused(copy: Path) -> None:
    (copy / "encoder.onnx").write_bytes(b"not a graph")
    reseal(copy)
    with pytest.raises(BundleError, match=r"encoder\.onnx: onnxruntime refuses it"):
        PolicyBundle.load(copy)


def test_an_unknown_provider_is_an_error(intact: Path) -> None:
    with pytest.raises(ProviderError, match="'NoSuchProvider' is not in this onnxruntime; it has"):
        PolicyBundle.load(intact, providers=("NoSuchProvider",))
    with pytest.raises(ProviderError, match="no execution provider named"):
        PolicyBundle.load(intact, providers=())


@pytest.mark.parametrize("rest", [(), ("CPUExecutionProvider",)])
def test_a_provider_that_cannot_serve_is_an_error(
    intact: Path, rest: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnxruntime lists a provider it was built with, and may still give the CPU instead."""
    import onnxruntime

    real = onnxruntime.InferenceSession

    def falls_back(model: bytes, *, sess_options: object, providers: object) -> object:
        return real(model, providers=["CPUExecutionProvider"])

    monkeypatch.setattr("onnxruntime.InferenceSession", falls_back)
    listed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: listed)
    with pytest.raises(ProviderError, match="onnxruntime gave CPUExecutionProvider"):
        PolicyBundle.load(intact, providers=("CUDAExecutionProvider", *rest))


def test_zip_and_folder_are_the_same_bundle(intact: Path, tmp_path: Path) -> None:
    named = pack(intact, tmp_path / "tiny.zip")
    loaded = PolicyBundle.load(tmp_path / "tiny.zip")
    assert loaded.digest == named == PolicyBundle.load(intact).digest
    pack(tmp_path / "tiny.zip", tmp_path / "again.zip")
    assert (tmp_path / "tiny.zip").read_bytes() == (tmp_path / "again.zip").read_bytes()
    with pytest.raises(BundleError, match="exists already"):
        pack(intact, tmp_path / "tiny.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.zip", "tiny.zip"]


def test_a_damaged_bundle_is_not_packed(copy: Path, tmp_path: Path) -> None:
    (copy / "policy.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match=r"policy\.onnx was changed"):
        pack(copy, tmp_path / "tiny.zip")
    assert not (tmp_path / "tiny.zip").exists()


def test_a_truncated_or_altered_zip_is_refused(intact: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.zip"
    pack(intact, path)
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(BundleError, match=r"tiny\.zip"):
            PolicyBundle.load(path)
    for position in range(0, len(whole), len(whole) // 60):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        try:
            PolicyBundle.load(path)
        except BundleError:
            continue
        # A zip has dates and flags that mean nothing here; what is in it must be what was.
        assert PolicyBundle.load(path).digest == PolicyBundle.load(intact).digest


@pytest.mark.parametrize("name", ["../evil", "/evil", "sub/policy.onnx", "a\\b", "sub/"])
def test_a_zip_with_paths_is_refused_and_writes_nothing(
    intact: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "inner" / "tiny.zip"
    pack(intact, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, "x")
    with pytest.raises(BundleError, match="is not a plain file name"):
        PolicyBundle.load(path)
    assert [entry.name for entry in tmp_path.rglob("*")] == ["inner", "tiny.zip"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_a_member_twice_is_refused(intact: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.zip"
    pack(intact, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("policy.onnx", "x")
    with pytest.raises(BundleError, match=r"'policy\.onnx' appears twice"):
        PolicyBundle.load(path)


def test_too_much_is_refused(intact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("policy.onnx", bytes(2_000_000))
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(adapt.archive, "MAX_BYTES", 10_000)
    with pytest.raises(BundleError, match="unpacks to 2000000 bytes; at most 10000"):
        PolicyBundle.load(path)
    monkeypatch.setattr(adapt.archive, "MAX_BYTES", 1_000)
    with pytest.raises(BundleError, match="larger than 1000 bytes"):
        PolicyBundle.load(intact)
    monkeypatch.undo()
    monkeypatch.setattr(adapt.archive, "MAX_FILES", 3)
    with pytest.raises(BundleError, match="more than 3 files"):
        PolicyBundle.load(intact)


def test_writing_is_all_or_nothing(tmp_path: Path) -> None:
    manifest, graphs, golden = tiny_bundle.build()
    golden["policy/mean"] += np.float32(1.0)
    with pytest.raises(BundleError, match="golden vectors differ"):
        write_bundle(tmp_path / "bundle", manifest, graphs, golden)
    assert list(tmp_path.iterdir()) == []
    tiny_bundle.write(tmp_path / "bundle")
    with pytest.raises(BundleError, match="exists already"):
        tiny_bundle.write(tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_two_seeds_are_two_bundles(intact: Path, tmp_path: Path) -> None:
    other = tiny_bundle.write(tmp_path / "other", seed=1)
    again = tiny_bundle.write(tmp_path / "again")
    assert read_manifest(other)[1] != read_manifest(intact)[1] == read_manifest(again)[1]


def test_the_command(intact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = read_manifest(intact)[1]
    assert main(["show", str(intact)]) == 0
    shown = capsys.readouterr().out
    for part in (known, "tip_position", "translation", "scale 0.001", "socket_x", "rate of"):
        assert part in shown
    assert main(["show", "--json", str(intact)]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "tiny"
    assert main(["pack", str(intact), str(tmp_path / "tiny.zip")]) == 0
    assert main(["verify", str(tmp_path / "tiny.zip")]) == 0
    verified = capsys.readouterr().out
    assert known in verified
    assert "CPUExecutionProvider" in verified
    with pytest.raises(BundleError):
        main(["verify", str(tmp_path)])
    with pytest.raises(SystemExit) as exited:
        main(["verify"])
    assert exited.value.code == 2

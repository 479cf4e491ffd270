"""A bundle loads whole or is refused with the name of what differs."""

import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from adapt.bundle.archive import digest
from adapt.bundle.cli import main
from adapt.bundle.policy_bundle import PolicyBundle, read_manifest, write_bundle
from adapt.errors import BundleError
from adapt.settings import SettingsError
from tests.support import tiny_bundle
from tests.support.tiny_bundle import FILES


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle.write(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def copy(intact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(intact, tmp_path / "copy"))


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
    assert main(["show", "json=true", str(intact)]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "tiny"
    assert main(["pack", str(intact), str(tmp_path / "tiny.zip")]) == 0
    assert main(["verify", str(tmp_path / "tiny.zip")]) == 0
    verified = capsys.readouterr().out
    assert known in verified
    assert "CPUExecutionProvider" in verified
    with pytest.raises(BundleError):
        main(["verify", str(tmp_path)])
    with pytest.raises(SettingsError, match="needs path="):
        main(["verify"])

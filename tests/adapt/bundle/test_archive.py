"""A bundle as one zip: the same bundle, or refused without a byte written."""

import io
import shutil
import zipfile
from pathlib import Path

import pytest

import adapt.bundle.archive
from adapt.bundle.policy_bundle import PolicyBundle, pack
from adapt.errors import BundleError
from tests.support import tiny_bundle
from tests.support.full_disk import full_disk


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle.write(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def copy(intact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(intact, tmp_path / "copy"))


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


def test_an_archive_that_cannot_be_written_is_named_and_leaves_nothing(
    intact: Path, tmp_path: Path
) -> None:
    with full_disk(), pytest.raises(BundleError, match=r"b\.zip: File too large"):
        pack(intact, tmp_path / "b.zip")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match=r"file/b\.zip: "):
        pack(intact, tmp_path / "file" / "b.zip")


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
    monkeypatch.setattr(adapt.bundle.archive, "MAX_BYTES", 10_000)
    with pytest.raises(BundleError, match="unpacks to 2000000 bytes; at most 10000"):
        PolicyBundle.load(path)
    monkeypatch.setattr(adapt.bundle.archive, "MAX_BYTES", 1_000)
    with pytest.raises(BundleError, match="larger than 1000 bytes"):
        PolicyBundle.load(intact)
    monkeypatch.undo()
    monkeypatch.setattr(adapt.bundle.archive, "MAX_FILES", 3)
    with pytest.raises(BundleError, match="more than 3 files"):
        PolicyBundle.load(intact)


@pytest.mark.parametrize("text", [b"{'descr': (", b"(" * 50_000, b"{'descr': '<f4'" + b"\n \n  x"])
def test_a_hostile_array_header_is_an_error_of_ours(text: bytes) -> None:
    header = text.ljust(64) if len(text) < 64 else text
    member = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.npy", member)
    with pytest.raises(BundleError, match="array 'a'"):
        adapt.bundle.archive.decode_arrays(stream.getvalue(), "hostile.npz")

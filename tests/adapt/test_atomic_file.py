"""A file is replaced whole or stays as it was, and no draft is left."""

import os

import pytest

from adapt.atomic_file import replacing, write_atomically


@pytest.fixture
def path(tmp_path):
    made = tmp_path / "state"
    made.write_bytes(b"old")
    return made


def test_a_file_is_replaced_with_its_mode(path):
    write_atomically(path, b"new", 0o600)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["state"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_fails_half_way_leaves_the_old_file_alone(path, error):
    with pytest.raises(error), replacing(path) as stream:
        stream.write(b"half")
        raise error
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["state"]


def test_a_disk_that_fails_leaves_the_old_file_alone(path, monkeypatch):
    def fail(*words):
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["state"]


def test_a_new_file_never_takes_the_place_of_another(path):
    with pytest.raises(FileExistsError), replacing(path, new=True) as stream:
        stream.write(b"new")
    assert path.read_bytes() == b"old"
    with replacing(path.with_name("other"), new=True) as stream:
        stream.write(b"new")
    assert sorted(os.listdir(path.parent)) == ["other", "state"]

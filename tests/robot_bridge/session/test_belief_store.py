"""Beliefs on disk: whole, owned, and never another robot's."""

import os

import pytest

from robot_bridge.errors import StateError
from robot_bridge.session import belief_store
from robot_bridge.session.belief_store import BeliefStore, file_name

DIGEST = "ab" * 32


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state"


def kept(folder, robot="arm", digest=DIGEST):
    """The one file of a robot, written by a store that has been closed since."""
    store = BeliefStore(folder)
    store.save(robot, digest, 3, 2, b"everything it knows")
    store.close(30.0)
    return folder / file_name(robot, digest)


@pytest.mark.parametrize("robot", ["arm", "../../etc/passwd", "\N{SNOWMAN}" * 128, "a/b c"])
def test_a_belief_outlives_its_store(folder, robot):
    path = kept(folder, robot)
    assert path.parent == folder
    assert path.is_file()
    assert path.stat().st_mode & 0o777 == 0o600
    store = BeliefStore(folder)
    found = store.find(robot, DIGEST)
    assert found is not None
    assert (found.version, found.count, found.snapshot) == (3, 2, b"everything it knows")
    assert store.find(robot, "cd" * 32) is None
    assert store.find("leg", DIGEST) is None
    store.close(30.0)
    assert sorted(p.name for p in folder.iterdir()) == sorted([belief_store.LOCK, path.name])


def test_names_that_look_alike_have_files_of_their_own():
    names = ["a", "A", "a b", "a%20b", "x" * 100, "x" * 101]
    assert len({file_name(name, DIGEST) for name in names}) == len(names)
    assert all(len(file_name(name, DIGEST)) < 200 for name in [*names, "\N{SNOWMAN}" * 128])


def test_the_latest_of_many_is_kept(folder):
    store = BeliefStore(folder)
    for number in range(50):
        store.save("arm", DIGEST, number, number, b"%d" % number)
        found = store.find("arm", DIGEST)
        assert found is not None
        assert found.version == number
    store.close(30.0)
    store = BeliefStore(folder)
    found = store.find("arm", DIGEST)
    assert found is not None
    assert found.snapshot == b"49"
    store.close(30.0)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[:-1], "checksum does not match"),
        (lambda data: data[:40], "checksum"),
        (lambda data: data[:60] + b"\x00" + data[61:], "checksum does not match"),
        (lambda data: b"", "not a belief"),
        (lambda data: b"\x93NUMPY" + data, "not a belief"),
    ],
)
def test_damage_is_told_once_and_the_file_kept_aside(folder, damage, words):
    path = kept(folder)
    path.write_bytes(damage(path.read_bytes()))
    store = BeliefStore(folder)
    assert words in store.problems()[0]
    with pytest.raises(StateError, match=words):
        store.find("arm", DIGEST)
    assert store.find("arm", DIGEST) is None
    store.close(30.0)
    assert path.with_suffix(".damaged").is_file()


def test_a_file_under_anothers_name_is_refused(folder):
    path = kept(folder)
    path.rename(folder / file_name("leg", DIGEST))
    store = BeliefStore(folder)
    with pytest.raises(StateError, match="'arm' under another name"):
        store.find("leg", DIGEST)
    store.close(30.0)


def test_one_bridge_at_a_time(folder):
    store = BeliefStore(folder)
    with pytest.raises(StateError, match="in use by another bridge"):
        BeliefStore(folder)
    store.close(30.0)
    BeliefStore(folder).close(30.0)


def test_a_folder_that_others_may_write_is_refused(folder):
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(StateError, match="others may write here"):
        BeliefStore(folder)


def test_a_disk_that_takes_nothing_is_told_and_the_old_belief_stays(folder, monkeypatch):
    path = kept(folder)
    before = path.read_bytes()
    store = BeliefStore(folder)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(belief_store.os, "fsync", full)
    store.save("arm", DIGEST, 9, 9, b"more")
    store.close(30.0)
    assert "No space left" in store.problems()[0]
    assert path.read_bytes() == before
    assert os.listdir(folder).count(path.name) == 1
    assert not [name for name in os.listdir(folder) if name.endswith(".draft")]

"""Keys as files: made once, private, read only while private, and taken back."""

import re
import shutil
from pathlib import Path

import msgspec
import pytest

from adapt.errors import PrivacyError
from robot_bridge.cli.keys import main
from robot_bridge.errors import KeyFileError
from robot_bridge.transport.curve_keys import (
    default_folder,
    fingerprint,
    read_certificate,
    read_clients,
    read_server,
)
from robot_bridge.transport.key_store import KeyFolder
from tests.support.bridge import bridge_keys


@pytest.fixture
def folder(tmp_path):
    return bridge_keys.make(tmp_path / "keys")


def test_both_sides_read_what_was_made(folder):
    server = read_server(folder)
    robot = read_certificate(folder, "robot", "arm")
    operator = read_certificate(folder, "operator", "anybody")
    assert robot.server == operator.server == server.public
    known, problems = read_clients(folder)
    assert problems == []
    assert {(i.role, i.name) for i in known.values()} == {
        ("robot", "arm"),
        ("operator", "operator"),
    }
    assert known[robot.public].name == "arm"


def test_everything_is_private(folder):
    for path in (folder, *folder.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


def test_no_secret_of_a_client_is_in_what_the_bridge_reads(folder):
    secret = read_certificate(folder, "robot", "arm").secret
    assert secret not in (folder / "clients/arm.toml").read_text()
    assert secret not in (folder / "server.key").read_text()


def test_files_are_lines_that_any_language_can_read(folder):
    for path in folder.rglob("*.*"):
        words = msgspec.toml.decode(path.read_bytes())
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        assert lines == [f'{word} = "{value}"' for word, value in words.items()]


def test_nothing_is_made_twice(folder):
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    keys = KeyFolder(folder)
    with pytest.raises(PrivacyError, match=r"server\.key: exists already; it is never overwritten"):
        keys.make_server()
    with pytest.raises(KeyFileError, match="'arm' has a key; revoke it"):
        keys.make_client("operator", "arm")
    (folder / "clients/arm.toml").unlink()
    with pytest.raises(PrivacyError, match=r"arm\.key: exists already"):
        keys.make_client("robot", "arm")
    before.pop(folder / "clients/arm.toml")
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before


@pytest.mark.parametrize("name", ["", "../arm", "a/b", ".hidden", 'a"', "a\n", "x" * 64, "ä", "-a"])
def test_names_that_are_no_file_names_are_refused(folder, name):
    with pytest.raises(KeyFileError, match="letters, digits"):
        KeyFolder(folder).make_client("robot", name)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_secret_that_others_could_read_or_write_is_refused(folder, mode):
    (folder / "server.key").chmod(mode)
    with pytest.raises(PrivacyError, match=rf"mode {mode:04o} lets others in; chmod 600 it"):
        read_server(folder)
    (folder / "certificates/arm.key").chmod(mode)
    with pytest.raises(PrivacyError, match="lets others in"):
        read_certificate(folder, "robot", "arm")


def test_a_key_folder_that_others_can_write_to_admits_no_peer(folder):
    (folder / "clients").chmod(0o770)
    known, problems = read_clients(folder)
    assert known == {}
    assert "lets others in; chmod 700" in problems[0]
    with pytest.raises(KeyFileError, match="lets others in"):
        KeyFolder(folder).clients()


def test_a_link_is_not_followed(folder, tmp_path):
    shutil.move(folder / "server.key", tmp_path / "elsewhere")
    (folder / "server.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PrivacyError, match="a link is not followed"):
        read_server(folder)
    (tmp_path / "other").symlink_to(folder)
    with pytest.raises(PrivacyError, match="a symbolic link; name the folder itself"):
        read_server(tmp_path / "other")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace('role = "robot"', 'role = "king"'), "Invalid enum value 'king'"),
        (lambda text: text + 'more = "1"\n', "unknown field `more`"),
        (lambda text: re.sub(r"secret = .*\n", "", text), "missing required field `secret`"),
        (lambda text: text.replace('public = "', 'public = "\\u0000'), "Expected `str` matching"),
        (lambda text: "nonsense", "arm.key: "),
        (lambda text: text.replace('"arm"', '"arm\\n"'), "Expected `str` matching"),
        (lambda text: text * 300, "at most 65536"),
    ],
)
def test_a_damaged_certificate_is_refused_by_name(folder, change, words):
    path = folder / "certificates/arm.key"
    path.write_text(change(path.read_text()))
    with pytest.raises((KeyFileError, PrivacyError)) as caught:
        read_certificate(folder, "robot", "arm")
    assert words in str(caught.value)
    assert "arm.key" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = " + "1" * 5000, "5004 bytes; a key file has at most 4096"),
        ("x = " + "[" * 4000, "recursion"),
        (".".join("a" * 20_000) + " = 1", "40003 bytes; a key file has at most 4096"),
        ('format = "acclimate client 1"\npublic = "' + "#" * 40 + '"', "`name`"),
    ],
)
def test_a_bad_record_leaves_the_others_valid(folder, text, words):
    path = folder / "clients/leg.toml"
    path.write_text(text)
    path.chmod(0o600)
    known, (problem,) = read_clients(folder)
    assert len(known) == 2
    assert problem.startswith(f"{path}: ")
    assert words in problem


@pytest.mark.parametrize("word", ["public", "secret", "server"])
def test_letters_of_z85_that_are_no_key_are_refused(folder, word):
    for path in (folder / "clients/arm.toml", folder / "certificates/arm.key"):
        # Five of them are more than four bytes.
        text = re.sub(rf'{word} = ".*"', f'{word} = "{"#" * 40}"', path.read_text())
        path.write_text(text)
    if word == "public":
        known, (problem,) = read_clients(folder)
        assert [identity.role for identity in known.values()] == ["operator"]
        assert "arm.toml: `public` is no key; expected 32 bytes in Z85" in problem
    with pytest.raises(KeyFileError, match=rf"arm\.key: `{word}` is no key; expected 32 bytes"):
        read_certificate(folder, "robot", "arm")


def test_halves_that_do_not_belong_together_are_refused(folder, tmp_path):
    other = read_server(bridge_keys.make(tmp_path / "other"))
    path = folder / "server.key"
    path.write_text(path.read_text().replace(read_server(folder).public, other.public))
    with pytest.raises(KeyFileError, match="public and secret do not belong together"):
        read_server(folder)


def test_a_certificate_serves_its_own_role_and_robot_alone(folder):
    file = folder / "certificates/arm.key"
    assert read_certificate(file, "robot", "arm").name == "arm"
    with pytest.raises(KeyFileError, match="made for robot 'arm'; this is robot 'leg'"):
        read_certificate(file, "robot", "leg")
    with pytest.raises(KeyFileError, match="made for robot 'arm'; this is operator 'arm'"):
        read_certificate(file, "operator", "arm")
    with pytest.raises(KeyFileError, match=r"no leg\.key; `acclimate keys robot leg`"):
        read_certificate(folder, "robot", "leg")
    with pytest.raises(KeyFileError, match="no such folder"):
        read_certificate(folder / "nowhere", "robot", "leg")
    with pytest.raises(KeyFileError, match=r"lge\.key: no such file; .* of robot 'leg'"):
        read_certificate(folder / "lge.key", "robot", "leg")
    with pytest.raises(KeyFileError, match=r"alcie\.key: no such file; .* of an operator"):
        read_certificate(folder / "alcie.key", "operator", "trial")


def test_one_of_several_operators_must_be_named(folder):
    KeyFolder(folder).make_client("operator", "trial")
    assert read_certificate(folder, "operator", "trial").name == "trial"
    with pytest.raises(KeyFileError, match=r"which operator's\? operator, trial; say keys=FILE"):
        read_certificate(folder, "operator", "somebody")


def test_a_record_under_another_name_or_with_another_s_key_is_left_out(folder):
    shutil.copy(folder / "clients/arm.toml", folder / "clients/boss.toml")
    known, problems = read_clients(folder)
    assert sorted(identity.name for identity in known.values()) == ["arm", "operator"]
    assert "boss.toml: left out" in problems[0]


def test_revoking_keeps_the_record_and_frees_the_name(folder):
    keys = KeyFolder(folder)
    old = keys.revoke("arm")
    assert [identity.name for identity in keys.clients()] == ["operator"]
    assert keys.revoked() == [f"arm-{fingerprint(old.public)}"]
    assert not (folder / "certificates/arm.key").exists()
    with pytest.raises(KeyFileError, match="no key is named 'arm'; there are operator"):
        keys.revoke("arm")
    keys.make_client("robot", "arm")
    assert read_certificate(folder, "robot", "arm").public != old.public


def test_a_record_that_cannot_be_read_keeps_no_other_key_in_force(folder):
    (folder / "clients/broken.toml").write_text("x = " + "9" * 3000)
    (folder / "clients/broken.toml").chmod(0o600)
    keys = KeyFolder(folder)
    with pytest.raises(KeyFileError, match=r"no key is named 'leg'; .*broken\.toml"):
        keys.revoke("leg")
    assert keys.revoke("arm").name == "arm"


def test_the_command_makes_lists_and_revokes(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ACCLIMATE_KEYS", str(tmp_path / "deep" / "keys"))
    assert default_folder() == tmp_path / "deep" / "keys"
    for words in (["server"], ["robot", "arm"], ["operator", "me"], ["signer", "lab"]):
        assert main(words) == 0
    capsys.readouterr()
    main(["list"])
    said = capsys.readouterr().out
    certificate = read_certificate(default_folder(), "robot", "arm")
    assert f"server    {fingerprint(certificate.server)}" in said
    assert f"robot     {fingerprint(certificate.public)}  arm" in said
    assert "certificate of operator me" in said
    assert "lab.signer.pub" in said
    assert certificate.secret not in said
    main(["revoke", "arm"])
    main(["list"])
    assert f"revoked   arm-{fingerprint(certificate.public)}" in capsys.readouterr().out


def test_a_machine_of_a_robot_alone_can_list_too(folder, tmp_path, capsys):
    robot = tmp_path / "robot"
    robot.mkdir(mode=0o700)
    (robot / "certificates").mkdir(mode=0o700)
    shutil.copy(folder / "certificates/arm.key", robot / "certificates")
    main(["--folder", str(robot), "list"])
    assert "certificate of robot arm" in capsys.readouterr().out


def test_the_default_folder_is_the_users_own(monkeypatch):
    monkeypatch.delenv("ACCLIMATE_KEYS", raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert default_folder() == Path("/home/somebody/.config/acclimate/keys")

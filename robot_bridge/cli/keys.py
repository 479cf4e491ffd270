"""`acclimate keys`: the bridge's key, keys of robots and operators, and signers of bundles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from adapt.private import check_folder
from adapt.settings import Verb, run_verb
from robot_bridge.transport.curve_keys import (
    Role,
    certificates,
    fingerprint,
    folder_of,
    read_server,
)
from robot_bridge.transport.key_store import KeyFolder


@dataclass(frozen=True, kw_only=True)
class KeysSettings:
    """folder: of the keys; null takes $ACCLIMATE_KEYS or ~/.config/acclimate/keys."""

    folder: Path | None = None

    def open(self) -> KeyFolder:
        """The folder of keys."""
        return KeyFolder(folder_of(self.folder))


@dataclass(frozen=True, kw_only=True)
class NamedKeySettings(KeysSettings):
    """name: of whom the key is: letters, digits, "_", "." and "-"."""

    name: str


def main(argv: list[str]) -> int:
    """`acclimate keys`; returns its exit code. Raises KeyFileError, PrivacyError, SignerError."""
    about = (
        "Makes, lists and revokes the keys of a bridge, of the robots and operators that connect\n"
        "over tcp, and of signers of bundles."
    )
    return run_verb("keys", about, VERBS, argv)


def _server(settings: KeysSettings) -> int:
    folder = settings.open()
    print(f"{folder.path}: server key {fingerprint(folder.make_server())}")
    return 0


def _client(role: Role, settings: NamedKeySettings) -> int:
    path = settings.open().make_client(role, settings.name)
    print(f"{path}: move it to the same folder on the {role}'s machine")
    return 0


def _signer(settings: NamedKeySettings) -> int:
    secret, public = settings.open().make_signer(settings.name)
    print(f"{secret}: keep it where bundles are signed")
    print(f"{public}: name it in the bridge's signers=[...]")
    return 0


def _list(settings: KeysSettings) -> int:
    print("\n".join(listing(settings.open())))
    return 0


def _revoke(settings: NamedKeySettings) -> int:
    print(f"revoked: {settings.open().revoke(settings.name)}")
    return 0


def listing(folder: KeyFolder) -> list[str]:
    """What a folder holds, in lines: on a bridge's machine, or on a robot's."""
    check_folder(folder.path)
    lines = [f"keys in {folder.path}"]
    if (folder.path / "server.key").exists():
        lines.append(f"server    {fingerprint(read_server(folder.path).public)}")
    for identity in folder.clients():
        lines.append(f"{identity.role:<9} {fingerprint(identity.public)}  {identity.name}")
    for _, held in certificates(folder.path):
        lines.append(
            f"held here {fingerprint(held.public)}  certificate of {held.role} {held.name}, for "
            f"server {fingerprint(held.server)}"
        )
    lines += [f"revoked   {name}" for name in folder.revoked()]
    signers = sorted((folder.path / "signers").glob("*.signer.pub"))
    return lines + [f"signer    {path}" for path in signers]


VERBS = {
    "server": Verb("make the bridge's key", KeysSettings, _server),
    "robot": Verb(
        "make a key that admits one robot", NamedKeySettings, partial(_client, "robot"), ("name",)
    ),
    "operator": Verb(
        "make a key that admits one operator",
        NamedKeySettings,
        partial(_client, "operator"),
        ("name",),
    ),
    "signer": Verb("make a key that signs bundles", NamedKeySettings, _signer, ("name",)),
    "list": Verb("list the keys with fingerprints, revoked ones too", KeysSettings, _list),
    "revoke": Verb(
        "admit a robot or operator no more; a connected one is disconnected",
        NamedKeySettings,
        _revoke,
        ("name",),
    ),
}

"""CURVE keys as files: TOML of one `word = "value"` per line, so that any language can read them.

    server.key              secret of the bridge: format, public, secret
    certificates/NAME.key   secret of a peer, to be moved to it: format, name, role, public, secret,
                            server (the bridge's public key)
    clients/NAME.toml       what the bridge knows of a peer: format, name, role, public, made
    revoked/NAME-FINGERPRINT.toml   the same, once it may not connect any more

Keys are Z85, 40 characters for 32 bytes, as ZeroMQ writes them.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
import zmq
from zmq.utils import z85

from adapt.bundle.signature import NAME, Name
from adapt.errors import PrivacyError
from adapt.private import check_folder, read_private
from robot_bridge.errors import KeyFileError

SERVER = "server.key"
CERTIFICATES = "certificates"
CLIENTS = "clients"
REVOKED = "revoked"
SIGNERS = "signers"
MOST = 1000  # keys of one bridge
# A key file has some 400 bytes. Parsing hostile TOML takes time with the square of its length: for
# ten times this bound, 26 s.
KEY_BYTES = 4096

Role = Literal["robot", "operator"]
Z85 = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}\Z")]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all key files: refuses a misspelt word, and text that is not a key."""

    def __post_init__(self) -> None:
        for word in ("public", "secret", "server"):
            try:
                z85.decode(getattr(self, word, ""))
            except struct.error:
                # Five characters of Z85's alphabet may encode more than four bytes.
                raise ValueError(
                    f"`{word}` is no key; expected 32 bytes in Z85, as `acclimate keys` writes them"
                ) from None


class ServerKey(_File, frozen=True):
    """The bridge's key pair."""

    format: Literal["acclimate server 1"]
    public: Z85
    secret: Z85


class Certificate(_File, frozen=True):
    """A peer's key pair, and the key of the bridge that it trusts."""

    format: Literal["acclimate certificate 1"]
    name: Name
    role: Role
    public: Z85
    secret: Z85
    server: Z85


class ClientRecord(_File, frozen=True):
    """A peer that the bridge admits. made: when, in local time with its offset."""

    format: Literal["acclimate client 1"]
    name: Name
    role: Role
    public: Z85
    made: str


F = TypeVar("F", bound=_File)


@dataclass(frozen=True)
class Identity:
    """The peer that a key was made for. public: Z85."""

    role: Role
    name: str
    public: str

    def __str__(self) -> str:
        return f"{self.role} {self.name!r} (key {fingerprint(self.public)})"


def fingerprint(public: str) -> str:
    """32 hexadecimal digits by which people compare a public key: SHA-256 of it, the first half.
    public: Z85."""
    return hashlib.sha256(z85.decode(public)).hexdigest()[:32]


def default_folder() -> Path:
    """$ACCLIMATE_KEYS, or ~/.config/acclimate/keys."""
    given = os.environ.get("ACCLIMATE_KEYS", "")
    return Path(given or "~/.config/acclimate/keys").expanduser()


def folder_of(keys: Path | None) -> Path:
    """The setting `keys` of a command: what it names, or the default."""
    return default_folder() if keys is None else keys.expanduser()


def read_server(folder: Path) -> ServerKey:
    """The bridge's own key. Raises KeyFileError, PrivacyError."""
    if not folder.exists():
        raise KeyFileError(f"{folder}: no such folder; `acclimate keys server` makes it")
    check_folder(folder)
    if not (folder / SERVER).exists():
        raise KeyFileError(f"{folder}: no {SERVER}; `acclimate keys server` makes it")
    key = _read(folder / SERVER, ServerKey)
    _check_pair(folder / SERVER, key.public, key.secret)
    return key


def read_certificate(keys: Path, role: Role, name: str) -> Certificate:
    """A peer's certificate: `keys` itself where it is a file, else the one in that folder for this
    robot; for an operator the one of that name, or the only operator's.

    Raises KeyFileError, PrivacyError; also when it was made for another role or robot.
    """
    path = keys if keys.is_file() else _choose(keys, role, name)
    certificate = _read(path, Certificate)
    _check_pair(path, certificate.public, certificate.secret)
    if certificate.role != role or (role == "robot" and certificate.name != name):
        raise KeyFileError(
            f"{path}: made for {certificate.role} {certificate.name!r}; this is {role} {name!r}"
        )
    return certificate


def read_clients(folder: Path) -> tuple[dict[str, Identity], list[str]]:
    """Who may connect, by public key (Z85), and what is wrong with records that were left out."""
    known: dict[str, Identity] = {}
    problems: list[str] = []
    try:
        check_folder(folder)
        check_folder(folder / CLIENTS)
        paths = sorted((folder / CLIENTS).glob("[!.]*.toml"))
    except (PrivacyError, OSError) as error:
        # Other users may have changed the records: none of them counts.
        return {}, [str(error)]
    if len(paths) > MOST:
        problems.append(f"{folder / CLIENTS}: {len(paths)} records; the first {MOST} count")
    for path in paths[:MOST]:
        try:
            record = _read(path, ClientRecord)
        except (KeyFileError, PrivacyError) as error:
            problems.append(str(error))
            continue
        if path.stem != record.name or record.public in known:
            problem = "name" if path.stem != record.name else "key"
            problems.append(f"{path}: left out: its {problem} belongs to another record")
            continue
        known[record.public] = Identity(record.role, record.name, record.public)
    return known, problems


def certificates(folder: Path) -> Iterator[tuple[Path, Certificate]]:
    """Every certificate that can be read in a folder."""
    for path in sorted((folder / CERTIFICATES).glob("[!.]*.key")):
        yield path, _read(path, Certificate)


def _choose(folder: Path, role: Role, name: str) -> Path:
    if not folder.exists() and folder.suffix == ".key":
        whose = "an operator" if role == "operator" else f"robot {name!r}"
        raise KeyFileError(f"{folder}: no such file; expected the certificate of {whose}")
    where = folder / CERTIFICATES
    by_name = where / f"{name}.key"
    if re.fullmatch(NAME, name) and by_name.is_file():
        return by_name
    if not where.is_dir():
        raise KeyFileError(
            f"{where}: no such folder; `acclimate keys {role} {name}` on the bridge's machine "
            f"makes {name}.key, which belongs there"
        )
    if role == "operator":
        own = [path for path, held in certificates(folder) if held.role == "operator"]
        if len(own) == 1:
            return own[0]
        if own:
            names = ", ".join(path.stem for path in own)
            raise KeyFileError(f"{where}: which operator's? {names}; say keys=FILE")
    raise KeyFileError(
        f"{where}: no {name}.key; `acclimate keys {role} {name}` on the bridge's machine makes it"
    )


def _read(path: Path, kind: type[F]) -> F:
    data = read_private(path)
    if len(data) > KEY_BYTES:
        raise KeyFileError(f"{path}: {len(data)} bytes; a key file has at most {KEY_BYTES}")
    try:
        return msgspec.toml.decode(data, type=kind)
    # RecursionError: a thousand brackets, one within the other.
    except (ValueError, RecursionError) as error:
        raise KeyFileError(f"{path}: {error}") from None


def _check_pair(path: Path, public: str, secret: str) -> None:
    if zmq.curve_public(secret.encode()).decode() != public:
        raise KeyFileError(f"{path}: public and secret do not belong together")

"""A folder of keys: makes, lists and revokes them."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import zmq

from adapt.atomic_file import sync
from adapt.bundle.signature import NAME, make_signer
from adapt.private import make_folder, write_new
from robot_bridge.errors import KeyFileError
from robot_bridge.transport.curve_keys import (
    CERTIFICATES,
    CLIENTS,
    REVOKED,
    SERVER,
    SIGNERS,
    Identity,
    Role,
    fingerprint,
    read_clients,
    read_server,
)


@dataclass(frozen=True)
class KeyFolder:
    """Each file in it is written once, and only this user can read it."""

    path: Path

    def make_server(self) -> str:
        """Make the bridge's key; returns its public half (Z85). Raises PrivacyError when there is
        one: every certificate made for it would be void."""
        make_folder(self.path)
        public, secret = _pair()
        _write(
            self.path / SERVER,
            "Secret of the bridge: never leaves this machine.",
            [("format", "acclimate server 1"), ("public", public), ("secret", secret)],
        )
        return public

    def make_client(self, role: Role, name: str) -> Path:
        """Let a robot or an operator in; returns the certificate, which is to be moved to it.

        A robot's name is the one it gives at the handshake. Raises KeyFileError, PrivacyError.
        """
        if not re.fullmatch(NAME, name):
            raise KeyFileError(
                f"name {name!r}: letters, digits, '_', '.', '-', at most 63, and a letter or digit "
                "first"
            )
        server = read_server(self.path).public
        record = self.path / CLIENTS / f"{name}.toml"
        certificate = self.path / CERTIFICATES / f"{name}.key"
        if record.exists():
            raise KeyFileError(f"{record}: {name!r} has a key; revoke it to make another")
        for folder in (CLIENTS, CERTIFICATES):
            make_folder(self.path / folder)
        public, secret = _pair()
        both = [("name", name), ("role", role), ("public", public)]
        # First: a record without its certificate would admit a key that no peer has.
        _write(
            certificate,
            f"Secret: its holder connects as {role} {name!r}.",
            [
                ("format", "acclimate certificate 1"),
                *both,
                ("secret", secret),
                ("server", server),
            ],
        )
        made = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        _write(
            record, "Lets one key in.", [("format", "acclimate client 1"), *both, ("made", made)]
        )
        return certificate

    def make_signer(self, name: str) -> tuple[Path, Path]:
        """A new signer's secret and public file. Raises SignerError, PrivacyError."""
        make_folder(self.path / SIGNERS)
        return make_signer(self.path / SIGNERS, name)

    def revoke(self, name: str) -> Identity:
        """Revoke a key; a running bridge disconnects its holder within a second.

        Raises KeyFileError for a name that has no key.
        """
        # A record that cannot be read must not keep another key valid.
        found, problems = read_clients(self.path) if (self.path / CLIENTS).exists() else ({}, [])
        known = {identity.name: identity for identity in found.values()}
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            words = [f"{self.path}: no key is named {name!r}; there are {names}", *problems]
            raise KeyFileError("; ".join(words))
        identity = known[name]
        make_folder(self.path / REVOKED)
        kept = self.path / REVOKED / f"{name}-{fingerprint(identity.public)}.toml"
        try:
            (self.path / CLIENTS / f"{name}.toml").rename(kept)
            sync(self.path / CLIENTS)
            sync(kept.parent)
            # It is of no use now, and would prevent a new one.
            (self.path / CERTIFICATES / f"{name}.key").unlink(missing_ok=True)
        except OSError as error:
            raise KeyFileError(f"{self.path}: {error.strerror or error}") from error
        return identity

    def clients(self) -> list[Identity]:
        """Who may connect, by name. Raises KeyFileError for a record that cannot be read."""
        if not (self.path / CLIENTS).exists():
            return []
        known, problems = read_clients(self.path)
        if problems:
            raise KeyFileError("; ".join(problems))
        return sorted(known.values(), key=lambda identity: identity.name)

    def revoked(self) -> list[str]:
        """NAME-FINGERPRINT of every revoked key."""
        return sorted(path.stem for path in (self.path / REVOKED).glob("[!.]*.toml"))


def _pair() -> tuple[str, str]:
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


def _write(path: Path, comment: str, words: Sequence[tuple[str, str]]) -> None:
    # Neither names nor keys nor times hold a quote or a backslash, so this is TOML.
    lines = [f"# {comment}", *(f'{word} = "{value}"' for word, value in words)]
    write_new(path, ("\n".join(lines) + "\n").encode())

"""Ed25519 signatures of bundles: a bridge can be told to serve only what known keys have signed.

`manifest.sig` beside the manifest holds one line of text per signature:

    ed25519 PUBLIC SIGNATURE

both in lower-case hexadecimal, 32 and 64 bytes. Signed is DOMAIN followed by the bytes of
manifest.json; the manifest lists the SHA-256 of every other file, so a signature covers them all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from adapt.errors import BundleError, SignerError
from adapt.private import FILE_BYTES, read_private, write_new

SIGNATURES = "manifest.sig"
# Another program's signature by the same key, over bytes that happen to be a manifest, is none.
DOMAIN = b"acclimate bundle manifest, version 1\0"
MOST = 16  # signatures of one bundle
PUBLIC = re.compile(r"[0-9a-f]{64}")
# To the very end: `$` would also take a line's end after it.
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z"
_LINE = re.compile(r"ed25519 ([0-9a-f]{64}) ([0-9a-f]{128})")

Name = Annotated[str, msgspec.Meta(pattern=NAME)]
Hex32 = Annotated[str, msgspec.Meta(pattern=rf"^{PUBLIC.pattern}\Z")]


class SignerFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """NAME.signer, the secret half of a signer; 0600."""

    format: Literal["acclimate signer 1"]
    name: Name
    public: Hex32
    secret: Hex32


class SignerPublic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """NAME.signer.pub, the public half, with which signatures are checked."""

    format: Literal["acclimate signer public 1"]
    name: Name
    public: Hex32


@dataclass(frozen=True)
class Signers:
    """Whose bundles are served: names by public key. Empty asks for no signature."""

    names: Mapping[str, str]

    @staticmethod
    def read(entries: Sequence[str]) -> Signers:
        """entries: public keys of 64 hexadecimal digits, or paths of NAME.signer.pub files.
        Raises SignerError for what is neither."""
        names: dict[str, str] = {}
        for entry in entries:
            if PUBLIC.fullmatch(entry):
                names.setdefault(entry, entry[:16])
            else:
                public = _read_public(Path(entry).expanduser())
                names[public.public] = public.name
        return Signers(names)

    def check(self, files: Mapping[str, bytes], where: str) -> str:
        """The names of those who signed these files, comma-separated; "" when none is asked for.

        files: of a bundle, by name; their digests are for the bundle to check. Raises BundleError
        unless at least one of these signers has signed the manifest, and every signature of theirs
        is over these bytes.
        """
        if not self.names:
            return ""
        expected = f"expected {', '.join(sorted(self.names.values()))}"
        if SIGNATURES not in files:
            raise BundleError(f"{where}: not signed; {expected}")
        lines = _parse(files[SIGNATURES], where)
        for public, signature in lines.items():
            if public in self.names and not _good(public, signature, files.get("manifest.json")):
                raise BundleError(
                    f"{where}: forged or changed: the signature of {self.names[public]!r} is not "
                    "over this manifest"
                )
        known = [self.names[public] for public in lines if public in self.names]
        if not known:
            found = ", ".join(public[:16] for public in lines)
            raise BundleError(f"{where}: signed by unknown key {found}; {expected}")
        return ", ".join(known)


ANYONE = Signers({})


def make_signer(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a new signer's secret and public file; returns both paths. Raises SignerError for the
    name, PrivacyError when either exists."""
    if not re.fullmatch(NAME, name):
        raise SignerError(f"signer {name!r}: letters, digits, '_', '.', '-', at most 63")
    key = SigningKey.generate()
    public = key.verify_key.encode().hex()
    secret_path, public_path = folder / f"{name}.signer", folder / f"{name}.signer.pub"
    text = (
        "# Secret: with this file any bundle can be signed.\n"
        f'format = "acclimate signer 1"\nname = "{name}"\npublic = "{public}"\n'
        f'secret = "{key.encode().hex()}"\n'
    )
    write_new(secret_path, text.encode())
    text = f'format = "acclimate signer public 1"\nname = "{name}"\npublic = "{public}"\n'
    write_new(public_path, text.encode(), 0o644)
    return secret_path, public_path


def sign(files: Mapping[str, bytes], key_file: Path, where: str) -> bytes:
    """The new content of manifest.sig: what was there, and one more signature.

    key_file: NAME.signer. Raises SignerError or PrivacyError for the key, BundleError when it has
    signed this bundle already or there are MOST signatures.
    """
    try:
        key = msgspec.toml.decode(read_private(key_file), type=SignerFile)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise SignerError(f"{key_file}: not a signer's secret file: {error}") from None
    secret = SigningKey(bytes.fromhex(key.secret))
    public = secret.verify_key.encode().hex()
    if public != key.public:
        raise SignerError(f"{key_file}: public and secret do not belong together")
    before = files.get(SIGNATURES, b"")
    lines = _parse(before, where) if before else {}
    if public in lines:
        raise BundleError(f"{where}: signed by {key.name!r} already")
    if len(lines) == MOST:
        raise BundleError(f"{where}: {MOST} signatures already, the most there may be")
    signature = secret.sign(DOMAIN + files["manifest.json"]).signature
    return before + f"ed25519 {public} {signature.hex()}\n".encode()


def _read_public(path: Path) -> SignerPublic:
    wrong = "expected 64 hexadecimal digits or a NAME.signer.pub file"
    try:
        with path.open("rb") as stream:
            return msgspec.toml.decode(stream.read(FILE_BYTES), type=SignerPublic)
    except OSError as error:
        raise SignerError(f"signer {str(path)!r}: {error.strerror}; {wrong}") from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise SignerError(f"signer {str(path)!r}: {error}; {wrong}") from None


def _parse(data: bytes, where: str) -> dict[str, str]:
    """Signature by public key, both in hexadecimal."""
    found: dict[str, str] = {}
    # latin-1 takes any byte; the pattern then names the line.
    lines = data.decode("latin-1").split("\n")
    if lines.pop() or not lines or len(lines) > MOST:
        raise BundleError(f"{where}: {SIGNATURES}: expected 1 to {MOST} whole lines of text")
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if match is None or match[1] in found:
            problem = "is not 'ed25519 PUBLIC SIGNATURE'" if match is None else "repeats a key"
            raise BundleError(f"{where}: {SIGNATURES}: line {number} {problem}")
        found[match[1]] = match[2]
    return found


def _good(public: str, signature: str, manifest: bytes | None) -> bool:
    if manifest is None:
        return False
    try:
        VerifyKey(bytes.fromhex(public)).verify(DOMAIN + manifest, bytes.fromhex(signature))
    except BadSignatureError:
        return False
    return True

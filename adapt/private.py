"""Files and folders that belong to one user alone: written once, read only while private."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from adapt.atomic_file import replacing
from adapt.errors import PrivacyError

FILE_BYTES = 64 * 1024  # a key file has a few hundred


def write_new(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file that appears whole or not at all, and never in place of another.

    Raises PrivacyError when it exists or cannot be written.
    """
    try:
        with replacing(path, mode, new=True) as stream:
            stream.write(data)
    except FileExistsError:
        raise PrivacyError(f"{path}: exists already; it is never overwritten") from None
    except OSError as error:
        raise PrivacyError(f"{path}: {error.strerror or error}") from error


def read_private(path: Path) -> bytes:
    """The bytes of a file that only this user can read or write.

    Raises PrivacyError for a link, another owner, looser permissions or more than FILE_BYTES.
    """
    try:
        # Judged and read through one descriptor, so that nothing can be exchanged in between.
        # Not blocking: a pipe put here must not hold us up.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            info = os.fstat(descriptor)
            if not stat.S_ISREG(info.st_mode):
                raise PrivacyError(f"{path}: not a plain file")
            _check_owner(path, info)
            if info.st_size > FILE_BYTES:
                raise PrivacyError(f"{path}: {info.st_size} bytes; at most {FILE_BYTES}")
            return stream.read(FILE_BYTES)
    except FileNotFoundError:
        raise PrivacyError(f"{path}: no such file") from None
    except OSError as error:
        link = "; a link is not followed" if path.is_symlink() else ""
        raise PrivacyError(f"{path}: {error.strerror or error}{link}") from error


def check_folder(path: Path) -> None:
    """Raises PrivacyError unless only this user (and root) can read the folder, write to it, or
    replace it by another."""
    try:
        info = path.lstat()
        if stat.S_ISLNK(info.st_mode):
            raise PrivacyError(f"{path}: a symbolic link; name the folder itself")
        if not stat.S_ISDIR(info.st_mode):
            raise PrivacyError(f"{path}: not a folder")
        _check_owner(path, info)
        for above in path.resolve().parents:
            info = above.stat()
            # In a folder like /tmp, with the sticky bit, others cannot rename what is ours.
            if info.st_mode & 0o022 and not info.st_mode & stat.S_ISVTX:
                raise PrivacyError(
                    f"{path}: others may write to {above} (mode {stat.S_IMODE(info.st_mode):04o}), "
                    "and so put another folder in its place"
                )
    except FileNotFoundError:
        raise PrivacyError(f"{path}: there is no such folder") from None
    except OSError as error:
        raise PrivacyError(f"{path}: {error.strerror or error}") from error


def make_folder(path: Path) -> None:
    """Make the folder, and those above it, for this user alone, or check the one that is there.
    Raises PrivacyError."""
    try:
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise PrivacyError(f"{path}: {error.strerror or error}") from error
    check_folder(path)


def _check_owner(path: Path, info: os.stat_result) -> None:
    if info.st_uid != os.geteuid():
        raise PrivacyError(f"{path}: belongs to user {info.st_uid}, not to us ({os.geteuid()})")
    if info.st_mode & 0o077:
        right = "700" if stat.S_ISDIR(info.st_mode) else "600"
        raise PrivacyError(
            f"{path}: mode {stat.S_IMODE(info.st_mode):04o} lets others in; chmod {right} it"
        )

"""Bounded reading of untrusted files: a folder, a zip, or an array file inside one."""

from __future__ import annotations

import hashlib
import io
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from tokenize import TokenError

import numpy as np
import numpy.typing as npt

from adapt.errors import BundleError

# A bundle is a few small nets. The bounds keep a hostile zip from filling a robot's memory.
MAX_FILES = 64
MAX_BYTES = 256 * 1024 * 1024


def digest(data: bytes) -> str:
    """SHA-256 in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def read_files(path: Path) -> dict[str, bytes]:
    """Every file of a bundle by name. path: a folder or a .zip; both are flat.

    All bytes are read once, so that what is verified is what is used.
    Raises BundleError when the path is neither, or holds anything but plain files within bounds.
    """
    try:
        if path.is_dir():
            return _read_folder(path)
        if path.is_file():
            if path.stat().st_size > MAX_BYTES:
                raise BundleError(f"{path}: larger than {MAX_BYTES} bytes")
            files = read_zip(path.read_bytes(), str(path))
            for name in files:
                if PurePosixPath(name).name != name or "\\" in name:
                    raise BundleError(f"{path}: member {name!r} is not a plain file name")
            return files
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror or error}") from error
    raise BundleError(f"{path}: no such bundle; expected a folder or a .zip file")


def _read_folder(path: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    left = MAX_BYTES
    for entry in sorted(path.iterdir()):
        info = entry.stat()
        if not stat.S_ISREG(info.st_mode):
            raise BundleError(f"{path}: {entry.name!r} is not a plain file; a bundle is flat")
        if len(files) == MAX_FILES:
            raise BundleError(f"{path}: more than {MAX_FILES} files")
        if info.st_size > left:
            raise BundleError(f"{path}: larger than {MAX_BYTES} bytes at {entry.name!r}")
        with entry.open("rb") as stream:
            # No more than was allowed: a file that grows meanwhile fails its digest.
            files[entry.name] = stream.read(info.st_size)
        left -= info.st_size
    return files


def read_zip(data: bytes, where: str) -> dict[str, bytes]:
    """Members of a zip held in memory, by name; nothing is ever written to disk.

    Raises BundleError for a damaged zip, a member twice, or more than the bounds.
    """
    files: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > MAX_FILES:
                raise BundleError(f"{where}: {len(members)} members; at most {MAX_FILES}")
            # zipfile reads no more of a member than the size it declares, so this bounds it all.
            total = sum(member.file_size for member in members)
            if total > MAX_BYTES:
                raise BundleError(f"{where}: unpacks to {total} bytes; at most {MAX_BYTES}")
            for member in members:
                name = member.filename
                if name in files:
                    raise BundleError(f"{where}: member {name!r} appears twice")
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise BundleError(f"{where}: member {name!r} is neither stored nor deflated")
                files[name] = archive.read(member)
    # RuntimeError: an encrypted member. NotImplementedError: a feature zipfile does not know.
    # ValueError: an offset before the file's begin.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        raise BundleError(f"{where}: not a whole zip file: {error}") from error
    return files


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip, the same bytes for the same files."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as target:
        for name in sorted(files):
            # ZipInfo alone carries no clock and no owner.
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o644 << 16
            target.writestr(info, files[name], zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def decode_arrays(data: bytes, where: str) -> dict[str, npt.NDArray[np.float32]]:
    """Float32 arrays of an .npz file by key, read-only.

    `numpy.load` would allocate what a header claims; here the claim must match the bytes first.
    """
    arrays: dict[str, npt.NDArray[np.float32]] = {}
    for file_name, member in read_zip(data, where).items():
        name = file_name.removesuffix(".npy")
        stream = io.BytesIO(member)
        try:
            version = np.lib.format.read_magic(stream)
            if version != (1, 0):
                raise ValueError(f"format version {version}, not (1, 0)")
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
            if dtype != np.dtype("<f4") or fortran:
                order = " in Fortran order" if fortran else ""
                raise ValueError(f"{dtype}{order}; expected float32 in C order")
            arrays[name] = np.frombuffer(member, dtype="<f4", offset=stream.tell()).reshape(shape)
        # The header is Python text that numpy tokenises and parses: a hostile one fails in any of
        # these ways.
        except (ValueError, SyntaxError, EOFError, RecursionError, TokenError) as error:
            raise BundleError(f"{where}: array {name!r}: {error}") from error
    return arrays

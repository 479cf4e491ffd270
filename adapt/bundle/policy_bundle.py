"""PolicyBundle: a folder or zip with a manifest, ONNX graphs and golden vectors.

Loading verifies all of it (digests, schema, graph signatures, golden vectors) and refuses, naming
what differs. Nothing half-loaded ever serves.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import timeit
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy.typing as npt

from adapt.atomic_file import replacing, sync
from adapt.bundle.archive import digest, read_files, zipped
from adapt.bundle.golden import decode_golden, encode_golden, replay
from adapt.bundle.manifest import Manifest, decode_manifest, encode_manifest
from adapt.bundle.signature import ANYONE, SIGNATURES, Signers, sign
from adapt.bundle.verification import verify_apart
from adapt.errors import BundleError
from adapt.inference.session import CPU, SHARED_ROWS, Graph

MANIFEST = "manifest.json"
GOLDEN = "golden.npz"
# Part of a control period that a synchronous belief may take, and runs of which the best counts:
# the machine may be busy with other programs.
PROMPT, PROMPT_TRIES = 0.1, 20


@dataclass(frozen=True)
class PolicyBundle:
    """A verified bundle, ready to run.

    digest: SHA-256 of manifest.json, which holds that of every other file. graphs: the policies of
    the manifest's phases and the algorithm's own, by name. worst_error: largest deviation from the
    golden vectors. signer: which of the signers that were asked for signed it; "" when none was.
    """

    manifest: Manifest
    digest: str
    graphs: Mapping[str, Graph]
    worst_error: float
    signer: str = ""

    @property
    def policy(self) -> Graph:
        """The last phase's: observation (batch, n_o), latent (batch, n_z) -> mean, log_std
        (batch, n_a)."""
        return self.graphs[self.manifest.phases[-1].policy]

    @staticmethod
    def load(
        path: Path | str,
        providers: Sequence[str] = (CPU,),
        signers: Signers = ANYONE,
        *,
        apart: bool = False,
    ) -> PolicyBundle:
        """Read and verify a bundle.

        path: folder or .zip. providers: onnxruntime execution providers, the preferred one first.
        signers: one of them must have signed it; ANYONE asks for no signature. apart: run its
        graphs in a bounded process first, as for any bundle that comes from outside.
        Raises BundleError for anything that differs, ProviderError for an absent provider.
        """
        where = str(path)
        files = read_files(Path(path))
        # Before anything in them is believed.
        signer = signers.check(files, where)
        if apart:
            _verify_files(files, where)
            verify_apart(files, where)
        return open_bundle(files, where, providers, signer)


def open_bundle(
    files: Mapping[str, bytes], where: str, providers: Sequence[str] = (CPU,), signer: str = ""
) -> PolicyBundle:
    """Verify a bundle's files, by name, and open its graphs. where: for messages; otherwise see
    `PolicyBundle.load`."""
    manifest = _verify_files(files, where)
    signatures = manifest.signatures()
    policies = {phase.policy for phase in manifest.phases}
    golden = decode_golden(files[GOLDEN], signatures, f"{where}: {GOLDEN}")
    graphs: dict[str, Graph] = {}
    worst = 0.0
    for name, signature in signatures.items():
        # Only policies run for several robots at a time.
        rows = SHARED_ROWS if name in policies else 1
        try:
            model = files[f"{name}.onnx"]
            graphs[name] = Graph(name, model, signature, providers, least_rows=rows)
        except BundleError as error:
            raise BundleError(f"{where}: {error}") from error
        worst = max(worst, replay(graphs[name], golden, where))
    if manifest.synchronous:
        _check_prompt(manifest, graphs, where)
    return PolicyBundle(manifest, digest(files[MANIFEST]), graphs, worst, signer)


def _check_prompt(manifest: Manifest, graphs: Mapping[str, Graph], where: str) -> None:
    """A robot waits for a synchronous belief, so that its graphs must be quick."""
    for name in manifest.algorithm.graphs(manifest):
        row = graphs[name].bind()
        took = min(timeit.repeat(row.run, number=1, repeat=PROMPT_TRIES))
        if took > PROMPT * manifest.control_period:
            raise BundleError(
                f"{where}: synchronous, and one row of {name}.onnx takes {took:.1e} s; expected at "
                f"most {PROMPT:g} of the control period, {PROMPT * manifest.control_period:g} s"
            )


def read_manifest(path: Path | str) -> tuple[Manifest, str]:
    """Manifest and digest of a bundle whose files are all there and intact; no graph is opened."""
    files = read_files(Path(path))
    return _verify_files(files, str(path)), digest(files[MANIFEST])


def _verify_files(files: Mapping[str, bytes], where: str) -> Manifest:
    if MANIFEST not in files:
        raise BundleError(f"{where}: {MANIFEST} is missing; found {sorted(files)}")
    manifest = decode_manifest(files[MANIFEST], where)
    for name in sorted(set(manifest.files) - set(files)):
        raise BundleError(f"{where}: {name} is missing; the manifest lists it")
    for name in sorted(set(files) - set(manifest.files) - {MANIFEST, SIGNATURES}):
        raise BundleError(f"{where}: {name} is not listed in the manifest; remove it")
    for name, expected in manifest.files.items():
        found = digest(files[name])
        if found != expected:
            raise BundleError(
                f"{where}: {name} was changed: its SHA-256 is {found}; expected {expected}"
            )
    return manifest


def write_bundle(
    folder: Path | str,
    manifest: Manifest,
    graphs: Mapping[str, bytes],
    golden: Mapping[str, npt.ArrayLike],
) -> PolicyBundle:
    """Write a bundle folder that appears whole or not at all, and return it loaded.

    folder: must not exist; manifest: its `files` are filled in here. graphs: serialised ONNX by
    name. golden: float32 arrays (rows, width) under `graph/name`, for every input and output.
    Raises BundleError when the bundle would not load, or the folder exists.
    """
    folder = Path(folder)
    if folder.exists():
        raise BundleError(f"{folder}: exists already; a bundle is never overwritten")
    files = {f"{name}.onnx": data for name, data in graphs.items()}
    files[GOLDEN] = encode_golden(golden)
    listed = {name: digest(data) for name, data in files.items()}
    files[MANIFEST] = encode_manifest(msgspec.structs.replace(manifest, files=listed))
    folder.parent.mkdir(parents=True, exist_ok=True)
    # A sibling is on the same file system, so that the rename below is atomic.
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        # mkdtemp gives 0700; training and the robot may run as different users.
        draft.chmod(0o755)
        for name, data in files.items():
            _write(draft / name, data)
        sync(draft)
        bundle = PolicyBundle.load(draft)
        draft.rename(folder)
        sync(folder.parent)
    except OSError as error:
        raise BundleError(f"{folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return bundle


def pack(folder: Path | str, archive: Path | str) -> str:
    """Write a bundle as one .zip, the same bytes for the same bundle; returns its digest.

    Raises BundleError when the source is not intact or the target exists.
    """
    archive = Path(archive)
    if archive.exists():
        raise BundleError(f"{archive}: exists already; a bundle is never overwritten")
    files = read_files(Path(folder))
    _verify_files(files, str(folder))
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        with replacing(archive, new=True) as stream:
            stream.write(zipped(files))
    except OSError as error:
        raise BundleError(f"{archive}: {error.strerror or error}") from error
    return digest(files[MANIFEST])


def sign_bundle(path: Path | str, key_file: Path) -> str:
    """Add a signature to an intact bundle, folder or .zip; returns its digest, which stays.

    key_file: a signer's secret file. Raises BundleError when the bundle is not intact or signed by
    this key already, SignerError or PrivacyError for the key.
    """
    path = Path(path)
    files = read_files(path)
    _verify_files(files, str(path))
    files[SIGNATURES] = sign(files, key_file, str(path))
    if path.is_dir():
        target, data = path / SIGNATURES, files[SIGNATURES]
    else:
        target, data = path, zipped(files)
    # Beside the bundle: inside a folder a draft would be a stranger in it.
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        _write(draft, data)
        draft.rename(target)
        sync(target.parent)
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return digest(files[MANIFEST])


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())

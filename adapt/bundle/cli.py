"""`acclimate bundle show|verify|pack|sign`: look at a bundle, prove it, make one file, vouch."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from adapt.bundle.manifest import Field, Limit, Manifest, encode_manifest
from adapt.bundle.policy_bundle import PolicyBundle, pack, read_manifest, sign_bundle
from adapt.bundle.signature import Signers
from adapt.inference.session import CPU


def main(argv: list[str]) -> int:
    """Run the command; returns its exit code. Raises BundleError, ProviderError, SignerError,
    PrivacyError."""
    parser = argparse.ArgumentParser(prog="acclimate bundle", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    show = actions.add_parser("show", help="print what a bundle is for; its graphs stay closed")
    show.add_argument("path", type=Path, help="folder or .zip")
    show.add_argument("--json", action="store_true", help="print the manifest itself")
    verify = actions.add_parser("verify", help="load it as a robot would, or say what differs")
    verify.add_argument("path", type=Path, help="folder or .zip")
    verify.add_argument(
        "--provider",
        action="append",
        help=f"onnxruntime execution provider, the preferred one first (default: {CPU})",
    )
    verify.add_argument(
        "--key",
        action="append",
        default=[],
        help="a signer's public key or NAME.signer.pub; one of those given must have signed it",
    )
    packed = actions.add_parser("pack", help="write a bundle as one .zip")
    packed.add_argument("path", type=Path, help="folder or .zip")
    packed.add_argument("archive", type=Path, help="the .zip to write")
    signed = actions.add_parser("sign", help="add a signature, so that bridges may ask for it")
    signed.add_argument("path", type=Path, help="folder or .zip")
    signed.add_argument(
        "--key",
        type=Path,
        required=True,
        help="NAME.signer, as `acclimate keys signer` writes it",
    )
    arguments = parser.parse_args(argv)
    if arguments.action == "show":
        manifest, digest = read_manifest(arguments.path)
        print(encode_manifest(manifest).decode() if arguments.json else describe(manifest, digest))
    elif arguments.action == "verify":
        providers = tuple(arguments.provider or (CPU,))
        bundle = PolicyBundle.load(arguments.path, providers, Signers.read(arguments.key))
        providers = ", ".join(bundle.policy.providers)
        print(f"{arguments.path}: intact; graphs: {', '.join(bundle.graphs)} on {providers}")
        print(f"largest deviation from the golden vectors: {bundle.worst_error:.1e}")
        if bundle.signer:
            print(f"signed by: {bundle.signer}")
        print(f"digest: {bundle.digest}")
    elif arguments.action == "sign":
        print(f"{arguments.path}: signed; digest: {sign_bundle(arguments.path, arguments.key)}")
    else:
        digest = pack(arguments.path, arguments.archive)
        size = arguments.archive.stat().st_size
        print(f"{arguments.archive}: {size / 1024:.0f} KiB, digest: {digest}")
    return 0


def describe(manifest: Manifest, digest: str) -> str:
    """A page about a bundle for a person."""
    context, latent = manifest.context, manifest.latent
    hold = f"{latent.hold} periods" if latent.hold else "the episode"
    features = ["observation", "action"]
    features += ["reward"] if context.reward else []
    features += ["next observation"] if context.next_observation else []
    lines = [
        f"{manifest.name}: {manifest.algorithm}, {1 / manifest.control_period:g} Hz, "
        f"schema {manifest.schema_version}, opset {manifest.opset}",
        f"digest  {digest}",
        "",
        *_table("observation", manifest.observation, [""] * len(manifest.observation)),
        "",
        *_table("action", manifest.action, [f"scale {f.scale:g}" for f in manifest.action]),
    ]
    if latent.size:
        lines += ["", f"latent  {latent.size} dimensions, each drawn for {hold}"]
        lines += [
            f"  [{f.index}] {f.name} = {f.offset:g} + {f.scale:g} z {f.unit}".rstrip()
            for f in latent.factors
        ]
        lines += [f"context  the last {context.capacity} transitions of {', '.join(features)}"]
    lines += ["", "limits"]
    lines += [
        f"  {limit.quantity} of {limit.field}{_elements(limit)}: {limit.low:g} to {limit.high:g} "
        f"{limit.unit}, {limit.reason}"
        for limit in manifest.limits
    ]
    lines += [f"  NONE: {gap}" for gap in unlimited(manifest)]
    lines += ["", "files"] + [f"  {value[:16]}  {key}" for key, value in manifest.files.items()]
    return "\n".join(lines)


def unlimited(manifest: Manifest) -> list[str]:
    """What a command can ask for, or a measurement can show, without any limit on it."""
    gaps: list[str] = []
    for field in manifest.action:
        limits = [limit for limit in manifest.limits if limit.field == field.name]
        for what, rate in (("what it asks for, but its own range", False), ("its rate", True)):
            bounded: set[int] = set()
            for limit in limits:
                if (limit.quantity == "rate") == rate:
                    bounded |= set(limit.elements or range(field.size))
            if len(bounded) < field.size:
                which = "" if not bounded else f"{sorted(set(range(field.size)) - bounded)}"
                gaps.append(f"action {field.name}{which}: {what}")
    measured = {field.name for field in manifest.observation}
    held = {limit.quantity for limit in manifest.limits if limit.field in measured}
    for names in (("position", "workspace"), ("velocity",), ("effort", "force")):
        if not held & set(names):
            gaps.append(f"measurements: no {' or '.join(names)}")
    return gaps


def _elements(limit: Limit) -> str:
    return f"{limit.elements}" if limit.elements else ""


def _table(title: str, fields: Sequence[Field], notes: list[str]) -> list[str]:
    lines = [f"{title}  {sum(field.size for field in fields)} numbers"]
    for field, note in zip(fields, notes, strict=True):
        shape = "x".join(str(n) for n in field.shape) or "1"
        bounds = f"{field.low:g} to {field.high:g} {field.unit}"
        lines.append(f"  {field.name:<20} {shape:<6} {bounds:<24} {note}".rstrip())
    return lines

"""`acclimate bundle`: shows, verifies, packs and signs bundles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from adapt.bundle.algorithms import Algorithm
from adapt.bundle.fields import ActionField, Field, Limit
from adapt.bundle.manifest import Manifest, encode_manifest
from adapt.bundle.policy_bundle import PolicyBundle, pack, read_manifest, sign_bundle
from adapt.bundle.signature import Signers
from adapt.inference.session import CPU
from adapt.settings import Verb, run_verb


@dataclass(frozen=True, kw_only=True)
class BundlePath:
    """path: folder or .zip of the bundle."""

    path: Path


@dataclass(frozen=True, kw_only=True)
class ShowSettings(BundlePath):
    """json: print the manifest itself."""

    json: bool = False


@dataclass(frozen=True, kw_only=True)
class VerifySettings(BundlePath):
    """provider: onnxruntime's execution providers, the preferred one first.
    key: public keys of signers, or NAME.signer.pub files; one of those given must have signed it.
    """

    provider: tuple[str, ...] = (CPU,)
    key: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PackSettings(BundlePath):
    """archive: the .zip to write."""

    archive: Path


@dataclass(frozen=True, kw_only=True)
class SignSettings(BundlePath):
    """key: NAME.signer, as `acclimate keys signer` writes it."""

    key: Path


def main(argv: list[str]) -> int:
    """`acclimate bundle`; returns its exit code. Raises BundleError, ProviderError, SignerError,
    PrivacyError."""
    return run_verb("bundle", "Shows, verifies, packs and signs bundles.", VERBS, argv)


def _show(settings: ShowSettings) -> int:
    manifest, digest = read_manifest(settings.path)
    print(encode_manifest(manifest).decode() if settings.json else describe(manifest, digest))
    return 0


def _verify(settings: VerifySettings) -> int:
    bundle = PolicyBundle.load(
        settings.path, settings.provider, Signers.read(settings.key), apart=True
    )
    providers = ", ".join(bundle.policy.providers)
    print(f"{settings.path}: intact; graphs: {', '.join(bundle.graphs)} on {providers}")
    print(f"largest deviation from the golden vectors: {bundle.worst_error:.1e}")
    if bundle.signer:
        print(f"signed by: {bundle.signer}")
    print(f"digest: {bundle.digest}")
    return 0


def _pack(settings: PackSettings) -> int:
    digest = pack(settings.path, settings.archive)
    size = settings.archive.stat().st_size
    print(f"{settings.archive}: {size / 1024:.0f} KiB, digest: {digest}")
    return 0


def _sign(settings: SignSettings) -> int:
    print(f"{settings.path}: signed; digest: {sign_bundle(settings.path, settings.key)}")
    return 0


def describe(manifest: Manifest, digest: str) -> str:
    """A page about a bundle for a person."""
    latent = manifest.latent
    hold = f"{latent.hold} periods" if latent.hold else "the episode"
    lines = [
        f"{manifest.name}: {manifest.algorithm.kind}, {1 / manifest.control_period:g} Hz, "
        f"schema {manifest.schema_version}, opset {manifest.opset}",
        f"digest  {digest}",
        "",
        *_table("observation", manifest.observation, [""] * len(manifest.observation)),
        "",
        *_table("action", manifest.action, [_mapping(field) for field in manifest.action]),
    ]
    lines += ["", f"reward  {manifest.reward}"] if manifest.reward else []
    if latent.size:
        lines += ["", f"latent  {latent.size} dimensions, each drawn for {hold}"]
        lines += [
            f"  [{f.index}] {f.name} = {f.offset:g} + {f.scale:g} z {f.unit}".rstrip()
            for f in latent.factors
        ]
    lines += ["", f"algorithm  {manifest.algorithm.kind}"]
    lines += [f"  {key} = {value}" for key, value in _settings(manifest.algorithm)]
    if manifest.synchronous:
        lines += ["  each transition is learnt from before the next action"]
    for phase in manifest.phases:
        when = f"for {phase.episodes} episodes" if phase.episodes else "from then on"
        fed = f", fed the belief's {phase.condition}" if manifest.fed_size(phase.condition) else ""
        lines += [f"  {phase.policy}.onnx acts {when}{fed}"]
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


def _mapping(field: ActionField) -> str:
    return f"scale {field.scale:g}" + (f", offset {field.offset:g}" if field.offset else "")


def _settings(algorithm: Algorithm) -> list[tuple[str, object]]:
    """The algorithm's numbers; nested structs key by key, lists by their length."""
    found: list[tuple[str, object]] = []
    for key, value in msgspec.to_builtins(algorithm).items():
        if isinstance(value, dict):
            found += [(f"{key}.{inner}", each) for inner, each in value.items()]
        elif key != "kind":
            found.append((key, f"{len(value)} numbers" if isinstance(value, list) else value))
    return found


def _elements(limit: Limit) -> str:
    return f"{limit.elements}" if limit.elements else ""


def _table(title: str, fields: Sequence[Field], notes: list[str]) -> list[str]:
    lines = [f"{title}  {sum(field.size for field in fields)} numbers"]
    for field, note in zip(fields, notes, strict=True):
        shape = "x".join(str(n) for n in field.shape) or "1"
        bounds = f"{field.low:g} to {field.high:g} {field.unit}"
        lines.append(f"  {field.name:<20} {shape:<6} {bounds:<24} {note}".rstrip())
        lines += [f"      {text}" for text in (field.description, field.convention) if text]
        lines += [f"      frame: {field.frame}"] if field.frame else []
        lines += [f"      elements: {', '.join(field.elements)}"] if field.elements else []
    return lines


VERBS = {
    "show": Verb(
        "print what a bundle holds, without running its graphs", ShowSettings, _show, ("path",)
    ),
    "verify": Verb(
        "load it as a robot would, or say what differs", VerifySettings, _verify, ("path",)
    ),
    "pack": Verb("write a bundle as one .zip", PackSettings, _pack, ("path", "archive")),
    "sign": Verb("add a signature, so that bridges can ask for it", SignSettings, _sign, ("path",)),
}

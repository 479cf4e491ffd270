"""The manifest: everything about a bundle that is not a weight.

Legend: n_o observation, n_a action, n_z latent. Unknown keys are refused, so that a misspelt key
never passes for an absent one.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

import msgspec

from adapt.bundle.algorithms import Algorithm, variant
from adapt.bundle.fields import (
    ActionField,
    Count,
    Field,
    Latent,
    Limit,
    Name,
    Term,
    Text,
    action_problems,
    field_problems,
    limit_problems,
)
from adapt.bundle.observed_range import Seen
from adapt.bundle.schema_1 import upgraded
from adapt.errors import BundleError
from adapt.inference.graph_signature import GraphSignature
from adapt.strict_json import parse

SCHEMA_VERSION = 2
# A manifest has some 20 KB. Decoding holds the interpreter in one piece, a millisecond for 30 KB,
# and a running bridge that loads a model answers no robot meanwhile.
MANIFEST_BYTES = 1024 * 1024

Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
GraphName = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,62}\Z")]
# [s]: between what a robot's bus carries and what still adapts within a person's patience.
Period = Annotated[float, msgspec.Meta(ge=1e-4, le=10.0)]
Condition = Literal["sample", "statistics", "state"]


class Phase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which policy acts, for how many episodes of a task, and what its input `latent` is.

    policy: name of the graph. episodes: complete ones; 0 for all that follow, in the last phase.
    condition: "sample" feeds a latent (n_z,) drawn from the belief and held; "statistics" the
        belief's mean and log variance (2 n_z,), "state" the belief's state, both of the latest
        belief in every control period.
    """

    policy: GraphName = "policy"
    episodes: Count = 0
    condition: Condition = "sample"


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`manifest.json`. files: SHA-256 of every other file, so that its own digest covers all.

    synchronous: the policy was trained with beliefs that hold every earlier transition, so a robot
        learns from one before it acts on the next observation. reward: how a robot computes the
        reward that it reports, in words. seen: what the guard holds a robot's observations against;
        None where it was not recorded. factor_terms: the independent quantities of factors that are
        sums, by factor. task_space, training: provenance, as the trainer wrote it; nothing here
        reads them.
    """

    schema_version: int = SCHEMA_VERSION
    name: Name
    algorithm: Algorithm
    phases: tuple[Phase, ...] = (Phase(),)
    synchronous: bool = False
    observation: list[Field]
    action: list[ActionField]
    reward: Text = ""
    squash: Literal["tanh", "clip"]
    control_period: Period
    latent: Latent
    limits: Annotated[list[Limit], msgspec.Meta(max_length=256)]
    seen: Seen | None = None
    factor_terms: dict[Name, list[Term]] = {}
    task_space: dict[str, Any]
    training: dict[str, Any]
    tools: dict[str, str]
    opset: int
    files: dict[str, Digest]

    @property
    def observation_size(self) -> int:
        return sum(field.size for field in self.observation)

    @property
    def action_size(self) -> int:
        return sum(field.size for field in self.action)

    def fed_size(self, condition: Condition) -> int:
        """Width of a policy's input `latent`; 0 where it takes none."""
        n_z = self.latent.size
        sizes = {"sample": n_z, "statistics": 2 * n_z, "state": self.algorithm.state_size}
        return sizes[condition]

    def signatures(self) -> dict[str, GraphSignature]:
        """Graphs of the bundle by name, with the widths of their inputs and outputs."""
        n_o, n_a = self.observation_size, self.action_size
        graphs: dict[str, GraphSignature] = {}
        for phase in self.phases:
            fed = self.fed_size(phase.condition)
            inputs = {"observation": n_o, "latent": fed} if fed else {"observation": n_o}
            graphs[phase.policy] = GraphSignature(inputs, {"mean": n_a, "log_std": n_a})
        return graphs | self.algorithm.graphs(self)


def encode_manifest(manifest: Manifest) -> bytes:
    """JSON with full-precision numbers, indented for human eyes."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode_manifest(data: bytes, where: str) -> Manifest:
    """Read and check `manifest.json`; schema 1 is read as the same manifest in schema 2.

    where: the bundle's name for messages.
    Raises BundleError naming the key: unknown, twice, missing, of a wrong type, or inconsistent;
    and for more than MANIFEST_BYTES, unread.
    """
    where = f"{where}: manifest.json"
    if len(data) > MANIFEST_BYTES:
        raise BundleError(f"{where} has {len(data)} bytes; at most {MANIFEST_BYTES} are allowed")
    try:
        found = parse(data, dict[str, Any])
        # The version comes first: a newer manifest should be called newer, not misspelt.
        version = found.get("schema_version")
        if version == 1:
            found = upgraded(found)
        elif version != SCHEMA_VERSION:
            raise BundleError(
                f"{where} has schema version {version!r}; this program reads versions 1 and "
                f"{SCHEMA_VERSION}"
            )
        manifest = msgspec.convert(found, Manifest, dec_hook=_decode_algorithm)
    except (ValueError, msgspec.ValidationError) as error:
        raise BundleError(f"{where}: {error}") from error
    for problem in _problems(manifest):
        raise BundleError(f"{where}: {problem}")
    return manifest


def _decode_algorithm(wanted: type, value: object) -> object:
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str):
        raise ValueError(f"expected an object with a text 'kind', found {value!r:.80}")
    try:
        return msgspec.convert(value, variant(kind))
    except BundleError as error:
        raise ValueError(str(error)) from error
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `$")
        raise msgspec.ValidationError(f"{what} - at `$.algorithm{place or '`'}") from error


def _problems(manifest: Manifest) -> list[str]:
    """What the types alone cannot say, each as one sentence."""
    problems = [
        *field_problems("observation", manifest.observation),
        *field_problems("action", manifest.action),
        *action_problems(manifest.action),
        *manifest.latent.problems(),
        *manifest.algorithm.problems(manifest),
        *_phase_problems(manifest),
        *limit_problems(manifest.limits, [*manifest.observation, *manifest.action]),
    ]
    if manifest.seen is not None:
        problems += manifest.seen.problems(manifest.observation_size)
    factors = [factor.name for factor in manifest.latent.factors]
    problems += [
        f"factor_terms has {name!r}; the factors are {', '.join(factors) or 'none'}"
        for name in manifest.factor_terms
        if name not in factors
    ]
    expected = {f"{graph}.onnx" for graph in manifest.signatures()} | {"golden.npz"}
    if set(manifest.files) != expected:
        problems.append(
            f"files lists {sorted(manifest.files)}; algorithm {manifest.algorithm.kind!r} has "
            f"{sorted(expected)}"
        )
    return problems


def _phase_problems(manifest: Manifest) -> list[str]:
    problems = [] if manifest.phases else ["phases is empty; expected at least one"]
    conditions: dict[str, Condition] = {}
    beside = manifest.algorithm.graphs(manifest)
    for index, phase in enumerate(manifest.phases):
        where, last = f"phases[{index}]", index == len(manifest.phases) - 1
        if (phase.episodes == 0) != last:
            wanted = "0, for all that follow" if last else "at least 1"
            problems.append(f"{where}.episodes is {phase.episodes}; expected {wanted}")
        if phase.policy in beside:
            problems.append(f"{where}.policy {phase.policy!r} names a graph of the algorithm")
        if conditions.setdefault(phase.policy, phase.condition) != phase.condition:
            problems.append(f"{where}: policy {phase.policy!r} has two conditions")
        if phase.condition != "sample" and not manifest.fed_size(phase.condition):
            problems.append(
                f"{where}.condition is {phase.condition!r}, and the belief has none; one of "
                f"{', '.join(get_args(Condition))}"
            )
    return problems

"""The manifest: everything about a bundle that is not a weight.

Legend: n_o observation, n_a action, n_z latent, n_c transition features. Field order is the order
in the arrays. Unknown keys are refused, so that a misspelt key never passes for an absent one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from adapt.bundle.observed_range import Seen
from adapt.errors import BundleError
from adapt.inference.graph_signature import GraphSignature

SCHEMA_VERSION = 1
# A manifest has some 20 KB. Decoding holds the interpreter in one piece, a millisecond for 30 KB,
# and a running bridge that loads a model answers no robot meanwhile.
MANIFEST_BYTES = 1024 * 1024

# Refused too: NaN and infinity, which MessagePack can carry and no comparison would catch.
Finite = Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)]
Positive = Annotated[float, msgspec.Meta(gt=0.0, le=1e300)]
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Dimension = Annotated[int, msgspec.Meta(ge=1, le=65_536)]


class Field(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A named stretch of an array. low, high: physical validity bounds in `unit`."""

    name: Name
    shape: tuple[Dimension, ...]
    unit: str
    low: Finite
    high: Finite

    @property
    def size(self) -> int:
        """Numbers in the field; a field of shape () holds one."""
        return math.prod(self.shape)


class ActionField(Field, frozen=True, forbid_unknown_fields=True):
    """physical [unit] = scale x normalised action in [-1, 1]; the whole of it within low, high."""

    scale: Positive


class Factor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Meaning of one latent dimension: quantity [unit] = offset + scale x latent[index]."""

    name: Name
    unit: str
    offset: Finite
    scale: Finite
    index: Count


class Latent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The latent of size n_z and its Gaussian prior.

    hold: control periods for which a drawn latent is kept; 0 keeps it for the whole episode.
    exploration: latents are drawn with the belief's standard deviations times this. Above 1 it
        reaches the corners of a uniform task space, which a Gaussian of its variance undersamples.
    factors: empty where the latent has no physical meaning.
    """

    size: Count
    prior_mean: list[Finite]
    prior_variance: list[Positive]
    hold: Count
    factors: list[Factor]
    exploration: Positive = 1.0


class ContextSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What makes a transition row: observation, normalised action, then reward and next observation
    if set. capacity: transitions kept; as many as in training, because more makes the belief surer
    than the policy has ever seen it."""

    reward: bool
    next_observation: bool
    capacity: Count


class LatentStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """MAESN's adaptation step, a graph of fixed size, and what bounds it on a robot.

    counted: which of an episode's rewards make its return. episodes: of one step. horizon: T,
        control periods in the longest of them. step_sizes: (2 n_z),
        of the belief's mean, then of its log standard deviation.
    max_kl: of the new belief from the old [nat]. max_norm: of the belief's mean from the prior's,
        in the prior's standard deviations. log_std_low, log_std_high: of the belief's log standard
        deviation less the prior's. max_reward: magnitude that no honest measurement exceeds.
    """

    counted: Literal["every", "last"]
    episodes: Annotated[int, msgspec.Meta(ge=2, le=1000)]
    horizon: Annotated[int, msgspec.Meta(ge=2, le=100_000)]
    step_sizes: list[Positive]
    max_kl: Positive
    max_norm: Positive
    log_std_low: Finite
    log_std_high: Finite
    max_reward: Positive


Quantity = Literal["position", "velocity", "effort", "workspace", "force", "rate"]


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """low and high [unit] bound `quantity` of the observation or action field named `field`.

    elements: which of the field's numbers; empty for all. A rate is their change from one control
    period to the next, divided by the period; of an action, the change of the command, which
    counts from 0 where a robot stood still.
    """

    quantity: Quantity
    field: Name
    low: Finite
    high: Finite
    unit: str
    reason: str
    elements: list[Count] = []


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`manifest.json`. files: SHA-256 of every other file, so that its own digest covers all.

    seen: what the guard holds a robot's observations against; None where nobody wrote it down.
    task_space, training: provenance, as the trainer wrote it; nothing here reads them.
    """

    schema_version: int = SCHEMA_VERSION
    name: Name
    algorithm: Literal["pearl", "maesn", "none"]
    observation: list[Field]
    action: list[ActionField]
    squash: Literal["tanh", "clip"]
    control_period: Positive
    latent: Latent
    context: ContextSpec
    limits: Annotated[list[Limit], msgspec.Meta(max_length=256)]
    seen: Seen | None = None
    task_space: dict[str, Any]
    training: dict[str, Any]
    tools: dict[str, str]
    opset: int
    files: dict[str, Digest]
    latent_step: LatentStep | None = None

    @property
    def observation_size(self) -> int:
        return sum(field.size for field in self.observation)

    @property
    def action_size(self) -> int:
        return sum(field.size for field in self.action)

    @property
    def transition_size(self) -> int:
        """n_c, the width of one row of the encoder's input."""
        spec = self.context
        size = self.observation_size + self.action_size + int(spec.reward)
        return size + (self.observation_size if spec.next_observation else 0)

    @property
    def draws(self) -> int:
        """Latents drawn in an episode of the adaptation step's horizon."""
        horizon = self.latent_step.horizon if self.latent_step else 0
        return math.ceil(horizon / self.latent.hold) if self.latent.hold else 1

    def signatures(self) -> dict[str, GraphSignature]:
        """Graphs of the bundle by name, with the widths of their inputs and outputs."""
        n_o, n_a, n_z = self.observation_size, self.action_size, self.latent.size
        inputs = {"observation": n_o, "latent": n_z} if n_z else {"observation": n_o}
        graphs = {"policy": GraphSignature(inputs, {"mean": n_a, "log_std": n_a})}
        if self.algorithm == "pearl":
            factor = {"mean": n_z, "variance": n_z}
            graphs["encoder"] = GraphSignature({"transition": self.transition_size}, factor)
        if self.latent_step is not None:
            steps = self.latent_step.episodes * self.latent_step.horizon
            belief = {"mean": n_z, "log_std": n_z}
            taken = {
                **belief,
                "step_sizes": 2 * n_z,
                "latent": self.latent_step.episodes * self.draws * n_z,
                "observation": steps * n_o,
                "reward": steps,
                "mask": steps,
            }
            made = {f"new_{name}": width for name, width in belief.items()}
            graphs["latent_step"] = GraphSignature(taken, made)
        return graphs


class _Version(msgspec.Struct):
    schema_version: int


def encode_manifest(manifest: Manifest) -> bytes:
    """JSON with full-precision numbers, indented for human eyes."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode_manifest(data: bytes, where: str) -> Manifest:
    """Read and check `manifest.json`.

    where: the bundle's name for messages.
    Raises BundleError naming the key: unknown, missing, of a wrong type, or inconsistent; and for
    more than MANIFEST_BYTES, unread.
    """
    if len(data) > MANIFEST_BYTES:
        raise BundleError(
            f"{where}: manifest.json has {len(data)} bytes; at most {MANIFEST_BYTES} are allowed"
        )
    try:
        # The version comes first: a newer manifest should be called newer, not misspelt.
        found = msgspec.json.decode(data, type=_Version).schema_version
        if found != SCHEMA_VERSION:
            raise BundleError(
                f"{where}: manifest.json has schema version {found}; this program reads version "
                f"{SCHEMA_VERSION}"
            )
        manifest = msgspec.json.decode(data, type=Manifest)
    # RecursionError: brackets within brackets, a thousand deep.
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{where}: manifest.json: {error}") from error
    for problem in _problems(manifest):
        raise BundleError(f"{where}: manifest.json: {problem}")
    return manifest


def _problems(manifest: Manifest) -> list[str]:
    """What the types alone cannot say, each as one sentence."""
    latent, context = manifest.latent, manifest.context
    problems = _field_problems("observation", manifest.observation)
    problems += _field_problems("action", manifest.action)
    for field in manifest.action:
        # Then clamping never alters what the policy asked for, and the context stays truthful.
        if field.low > -field.scale or field.high < field.scale:
            problems.append(
                f"action field {field.name!r}: range {field.low} to {field.high} does not hold "
                f"the actions the policy can ask for, -scale to scale = ±{field.scale}"
            )
    for key, values in (
        ("prior_mean", latent.prior_mean),
        ("prior_variance", latent.prior_variance),
    ):
        if len(values) != latent.size:
            problems.append(f"latent.{key} has {len(values)} numbers; latent.size is {latent.size}")
    for factor in latent.factors:
        if factor.index >= latent.size:
            problems.append(
                f"factor {factor.name!r}: index {factor.index} lies outside latent.size "
                f"{latent.size}"
            )
    if manifest.algorithm == "none" and latent.size:
        problems.append(f"algorithm 'none' has no latent; latent.size is {latent.size}, not 0")
    if manifest.algorithm == "pearl" and not latent.size:
        problems.append("algorithm 'pearl' needs a latent; latent.size is 0")
    if manifest.algorithm == "pearl" and not context.capacity:
        problems.append("algorithm 'pearl' needs a context; context.capacity is 0")
    problems += _step_problems(manifest)
    sizes = {field.name: field.size for field in (*manifest.observation, *manifest.action)}
    for limit in manifest.limits:
        if limit.field not in sizes:
            problems.append(
                f"limit on {limit.field!r}: no such field; the fields are {', '.join(sizes)}"
            )
        elif limit.elements and max(limit.elements) >= sizes[limit.field]:
            problems.append(
                f"limit on {limit.field!r}: element {max(limit.elements)}; it has "
                f"{sizes[limit.field]}, counted from 0"
            )
        if not limit.low < limit.high:
            problems.append(
                f"limit on {limit.field!r}: low {limit.low} is not below high {limit.high}"
            )
    if manifest.seen is not None:
        problems += manifest.seen.problems(manifest.observation_size)
    expected = {f"{graph}.onnx" for graph in manifest.signatures()} | {"golden.npz"}
    if set(manifest.files) != expected:
        problems.append(
            f"files lists {sorted(manifest.files)}; algorithm {manifest.algorithm!r} has "
            f"{sorted(expected)}"
        )
    return problems


def _step_problems(manifest: Manifest) -> list[str]:
    step, algorithm, size = manifest.latent_step, manifest.algorithm, manifest.latent.size
    if (step is not None) != (algorithm == "maesn"):
        return [
            f"algorithm {algorithm!r} with {'a' if step else 'no'} latent_step; 'maesn' needs one, "
            "and no other algorithm has it"
        ]
    if step is None:
        return []
    problems = [] if size else ["algorithm 'maesn' needs a latent; latent.size is 0"]
    if len(step.step_sizes) != 2 * size:
        problems.append(
            f"latent_step.step_sizes has {len(step.step_sizes)} numbers; expected {2 * size}, two "
            "for each dimension of the latent"
        )
    if not step.log_std_low < 0.0 < step.log_std_high:
        problems.append(
            f"latent_step.log_std_low {step.log_std_low} and log_std_high {step.log_std_high} must "
            "lie on either side of 0, where the prior is"
        )
    return problems


def _field_problems(group: str, fields: Sequence[Field]) -> list[str]:
    problems = [] if fields else [f"{group} has no fields"]
    seen: set[str] = set()
    for field in fields:
        if field.name in seen:
            problems.append(f"{group} field {field.name!r} appears twice")
        seen.add(field.name)
        if not field.low < field.high:
            problems.append(
                f"{group} field {field.name!r}: low {field.low} is not below high {field.high}"
            )
    return problems

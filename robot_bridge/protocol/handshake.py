"""Compares what a driver sends and takes with what the bundle expects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adapt.bundle.fields import Field
from adapt.bundle.manifest import Manifest
from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.errors import CodecError
from robot_bridge.protocol.codec import COMMAND, CONTROL_BYTES, OBSERVATION, encode_message
from robot_bridge.protocol.messages import VECTOR, FieldSpec, Hello, Welcome

# Periods come from YAML on one side and from a robot's data sheet on the other.
PERIOD_TOLERANCE = 1e-9
# Numbers that fit one frame behind its head.
OBSERVATION_MOST = (CONTROL_BYTES - OBSERVATION.size) // 4
ACTION_MOST = (CONTROL_BYTES - COMMAND.size) // 4


def differences(served: Manifest | Welcome, digest: str, hello: Hello) -> list[str]:
    """Each difference between a robot's Hello and what is served; empty when they agree.

    The bridge compares with its bundle, the robot with the bridge's Welcome.
    """
    found: list[str] = []
    if hello.digest and hello.digest != digest:
        found.append(f"bundle digest: expected {digest}, found {hello.digest}")
    found += _fields("observation", served.observation, hello.observation)
    found += _fields("action", served.action, hello.action)
    if abs(served.control_period - hello.control_period) > PERIOD_TOLERANCE:
        found.append(
            f"control period: expected {served.control_period:g} s, found "
            f"{hello.control_period:g} s"
        )
    return found


def welcome(
    bundle: PolicyBundle,
    session: int,
    robots: Sequence[str],
    *,
    shadow: bool = False,
    stop: int = 0,
    latches: Mapping[str, int] | None = None,
    stopped: bool = False,
) -> Welcome:
    """The Welcome for a peer: the bundle, and the stops that concern the peer."""
    manifest = bundle.manifest
    return Welcome(
        session=session,
        shadow=shadow,
        digest=bundle.digest,
        bundle=manifest.name,
        algorithm=manifest.algorithm.kind,
        observation=tuple(manifest.observation),
        action=tuple(manifest.action),
        control_period=manifest.control_period,
        latent=manifest.latent,
        limits=tuple(manifest.limits),
        robots=tuple(robots),
        stop=stop,
        latches=dict(latches or {}),
        stopped=stopped,
    )


def check_served(bundle: PolicyBundle) -> None:
    """Raise CodecError for a bundle whose description or numbers do not fit into frames."""
    encode_message(welcome(bundle, 2**62, ()))
    manifest = bundle.manifest
    fed = max(manifest.fed_size(phase.condition) for phase in manifest.phases)
    for group, size, most, holder in (
        ("observation", manifest.observation_size, OBSERVATION_MOST, "an OBSERVATION frame holds"),
        ("action", manifest.action_size, ACTION_MOST, "a COMMAND frame holds"),
        ("latent", max(fed, manifest.latent.size), VECTOR, "records hold"),
    ):
        if size > most:
            raise CodecError(f"{manifest.name}: {group} of {size} numbers; {holder} at most {most}")


def specs(fields: Sequence[Field]) -> tuple[FieldSpec, ...]:
    """The driver's side of the comparison."""
    return tuple(FieldSpec(field.name, field.shape, field.unit) for field in fields)


def _fields(group: str, expected: Sequence[Field], found: Sequence[FieldSpec]) -> list[str]:
    names, given = [field.name for field in expected], [field.name for field in found]
    if names != given:
        # Order matters: it is the order in the arrays.
        return [f"{group} fields: expected {', '.join(names)}; found {', '.join(given) or 'none'}"]
    differing: list[str] = []
    for want, have in zip(expected, found, strict=True):
        for what in ("shape", "unit"):
            one, other = getattr(want, what), getattr(have, what)
            if one != other:
                differing.append(
                    f"{group} field {want.name!r}: {what}: expected {one}, found {other}"
                )
    return differing

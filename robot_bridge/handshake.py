"""Do a driver and the bundle speak of the same robot?"""

from __future__ import annotations

from collections.abc import Sequence

from adapt.bundle import PolicyBundle
from adapt.manifest import Field
from robot_bridge.messages import FieldSpec, Hello, Welcome

# Periods come from YAML on one side and from a robot's data sheet on the other.
PERIOD_TOLERANCE = 1e-9


def differences(bundle: PolicyBundle, hello: Hello) -> list[str]:
    """Each way in which a robot's Hello disagrees with the bundle; empty when they agree."""
    manifest = bundle.manifest
    found: list[str] = []
    if hello.digest and hello.digest != bundle.digest:
        found.append(f"bundle digest: expected {bundle.digest}, found {hello.digest}")
    found += _fields("observation", manifest.observation, hello.observation)
    found += _fields("action", manifest.action, hello.action)
    if abs(manifest.control_period - hello.control_period) > PERIOD_TOLERANCE:
        found.append(
            f"control period: expected {manifest.control_period:g} s, found "
            f"{hello.control_period:g} s"
        )
    return found


def welcome(bundle: PolicyBundle, session: int, robots: Sequence[str]) -> Welcome:
    """What a peer learns of the bundle."""
    manifest = bundle.manifest
    return Welcome(
        session=session,
        digest=bundle.digest,
        bundle=manifest.name,
        algorithm=manifest.algorithm,
        observation=tuple(manifest.observation),
        action=tuple(manifest.action),
        control_period=manifest.control_period,
        latent=manifest.latent,
        limits=tuple(manifest.limits),
        robots=tuple(robots),
    )


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

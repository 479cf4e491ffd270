"""What a bridge allows while a robot probes, in place of its bundle's workspace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta

from adapt.bundle.fields import ActionField, Field, Limit
from adapt.bundle.manifest import Manifest
from robot_bridge.errors import ProbeError
from robot_bridge.protocol.messages import Float32

WRENCH, POSITION, ROTATION, VELOCITY = "wrench", "tip_position", "tip_rotation", "tip_velocity"
LEAD = "reference_lead"
OBSERVED = {POSITION: (3, "m"), ROTATION: (3, "rad"), WRENCH: (6, "N, N·m"), LEAD: (4, "m, rad")}
COMMANDED = {"x": "m", "y": "m", "z": "m", "yaw": "rad"}

Reach = Annotated[float, Meta(ge=0.0, le=0.09)]
Force = Annotated[float, Meta(ge=10.0, le=60.0)]
Speed = Annotated[float, Meta(ge=0.002, le=0.02)]


@dataclass(frozen=True)
class ProbeSettings:
    """reach: how far from the nominal socket a probing robot may go to each side [m]; 0 allows no
        probing. An 80 mm plate takes 0.07.
    below: how far below the nominal face [m].
    above: how far above it [m].
    force: measured force along an axis at which the robot is damped and the probing given up [N].
    speed: of an approach to a surface [m/s].
    """

    reach: Reach = 0.0
    below: Reach = 0.025
    above: Reach = 0.025
    force: Force = 25.0
    speed: Speed = 0.01


@dataclass(frozen=True)
class Seen:
    """One observation as probing reads it. position, rotation (yaw, pitch, roll), force in the
    socket's frame: (3,) each. lead: x, y, z, yaw (4,). raw: the wrench as measured (6,)."""

    position: np.ndarray
    rotation: np.ndarray
    force: np.ndarray
    lead: np.ndarray
    raw: np.ndarray


class Layout:
    """Where a bundle's arrays hold what probing needs. Raises ProbeError naming what is missing."""

    def __init__(self, observation: Sequence[Field], action: Sequence[ActionField]) -> None:
        self._at: dict[str, slice] = {}
        start = 0
        for field in observation:
            if OBSERVED.get(field.name) == (field.size, field.unit):
                self._at[field.name] = slice(start, start + field.size)
            start += field.size
        names = {field.name: (field.unit, field.size) for field in action}
        missing = [f"observation {name!r}" for name in OBSERVED if name not in self._at]
        missing += [
            f"action {name!r}" for name, unit in COMMANDED.items() if names.get(name) != (unit, 1)
        ]
        if missing or len(action) != len(COMMANDED):
            listed = ", ".join(missing) or f"exactly the actions {', '.join(COMMANDED)}"
            raise ProbeError(f"this bundle cannot probe: it lacks {listed}")
        self.order = [list(COMMANDED).index(field.name) for field in action]
        self.most = np.array([field.scale for field in action])[np.argsort(self.order)]

    def see(self, observation: Float32) -> Seen:
        """observation: (n_o,), as measured."""
        at, values = self._at, observation.astype(float)
        rotation, raw = values[at[ROTATION]], values[at[WRENCH]]
        force = matrix(rotation) @ raw[:3]
        return Seen(values[at[POSITION]], rotation, force, values[at[LEAD]], raw)

    def command(self, change: np.ndarray) -> Float32:
        """The command (n_a,) that moves the reference by x, y, z, yaw (4,)."""
        return change[self.order].astype(np.float32)


def check_probing(manifest: Manifest, settings: ProbeSettings) -> Layout:
    """Whether this bundle can be probed for, here. Raises ProbeError by name."""
    name = manifest.name
    if not settings.reach:
        raise ProbeError(
            "this bridge allows no probing: its setting probe.reach is 0; expected the distance in "
            "metres to which a probing robot may go, such as probe.reach=0.07"
        )
    if not manifest.latent.factors:
        raise ProbeError(
            f"bundle {name!r} gains nothing from probing: its latent has no physical meaning (the "
            "manifest's latent.factors is empty)"
        )
    if reason := manifest.algorithm.refuses_prior(manifest):
        raise ProbeError(f"bundle {name!r} gains nothing from probing: {reason}")
    return Layout(manifest.observation, manifest.action)


def probe_limits(limits: Sequence[Limit], settings: ProbeSettings) -> tuple[Limit, ...]:
    """The bundle's limits with another workspace and a lower force."""
    kept = [limit for limit in limits if (limit.quantity, limit.field) != ("workspace", POSITION)]
    box, reach = "the bridge's setting probe", settings.reach
    return (
        *kept,
        Limit("workspace", POSITION, -reach, reach, "m", f"{box}.reach", [0, 1]),
        Limit("workspace", POSITION, -settings.below, settings.above, "m", f"{box}.below", [2]),
        Limit("force", WRENCH, -settings.force, settings.force, "N", f"{box}.force", [0, 1, 2]),
    )


def matrix(angles: np.ndarray) -> np.ndarray:
    """Rz(yaw) Ry(pitch) Rx(roll) (3, 3) of yaw, pitch, roll (3,) [rad]."""
    (cz, cy, cx), (sz, sy, sx) = np.cos(angles), np.sin(angles)
    return np.array(
        [
            [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
            [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
            [-sy, cy * sx, cy * cx],
        ]
    )

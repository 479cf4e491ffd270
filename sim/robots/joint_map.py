"""A joint map: which of an MJCF's joints and feet stand for ours, with signs, zeros and gains.

    model: unitree_go2/go2.xml      # MJCF, beside this file
    base: base_link                 # the body with the free joint: x forward, y left, z up
    joints: [FL_hip_joint, FL_thigh_joint, FL_calf_joint, FR_hip_joint, ...]
    feet: [FL, FR, RL, RR]          # sphere geoms, or bodies that hold one each
    signs: 1                        # -1 where a joint turns the other way
    zeros: 0                        # a joint's own angle where ours is 0 [rad]
    stance: [0, 0.85, -1.65]        # ours, at rest [rad]
    kp: 35                          # [N·m/rad]
    kd: 1                           # [N·m·s/rad]
    torque: [23.7, 23.7, 45.4]      # limits [N·m], where the MJCF has none

Legs are front left, front right, rear left, rear right; a leg's joints are hip, thigh, calf. Our
hips turn about the body's x, thighs and calves about its y; at 0 a leg hangs straight down. What
is said of joints is one number for all, three for hips, thighs and calves, or twelve.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import yaml
from msgspec import Meta

from adapt.errors import AcclimateError
from sim.robots.go2 import JOINTS, LEGS, PARTS

Name = Annotated[str, Meta(min_length=1)]
Numbers = float | tuple[float, ...]


class RobotError(AcclimateError):
    """A joint map, or a model that it names, that the locomotion worlds cannot use."""


class JointMap(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A joint map as it is written; see the module. torque: None where the MJCF says it."""

    model: Name
    base: Name
    joints: tuple[Name, ...]
    feet: tuple[Name, ...]
    signs: Numbers = 1.0
    zeros: Numbers = 0.0
    stance: Numbers = (0.0, 0.85, -1.65)
    kp: Numbers = 35.0
    kd: Numbers = 1.0
    torque: Numbers | None = None

    def each(self, name: str) -> np.ndarray:
        """(12,) of a quantity. Raises ValueError for another count."""
        values = np.atleast_1d(np.asarray(getattr(self, name), float))
        repeats = {1: len(JOINTS), len(PARTS): len(LEGS), len(JOINTS): 1}
        if len(values) not in repeats:
            raise ValueError(
                f"{name}: {len(values)} numbers; expected one, three (hip, thigh, calf) or twelve"
            )
        if not np.isfinite(values).all():
            raise ValueError(f"{name}: {values.tolist()}; expected finite numbers")
        return np.tile(values, repeats[len(values)])


def read_joint_map(path: Path) -> JointMap:
    """The joint map in a YAML file. Raises RobotError naming the file and what is wrong."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(data, Mapping):
            raise ValueError(
                f"expected a mapping with {', '.join(JointMap.__struct_fields__)}; a model's own "
                "file is named by the key model"
            )
        found = msgspec.convert(data, JointMap)
        _check(found)
    except OSError as error:
        raise RobotError(f"robot={path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, yaml.YAMLError, ValueError) as error:
        raise RobotError(f"robot={path}: {error}") from error
    return found


def _check(found: JointMap) -> None:
    """Raise ValueError for what no model could make good."""
    for name, values, count in (
        ("joints", found.joints, len(JOINTS)),
        ("feet", found.feet, len(LEGS)),
    ):
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise ValueError(f"{name}: {', '.join(twice)} named twice")
        if len(values) != count:
            ours = JOINTS if count == len(JOINTS) else LEGS
            raise ValueError(
                f"{name}: {len(values)} names; expected {count}, for {', '.join(ours)}"
            )
    if not np.isin(found.each("signs"), (-1.0, 1.0)).all():
        raise ValueError(f"signs: {found.signs}; expected 1 or -1")
    for name in ("kp", "kd", *(["torque"] if found.torque is not None else [])):
        if (found.each(name) <= 0.0).any():
            raise ValueError(f"{name}: {getattr(found, name)}; expected positive numbers")
    for name in ("zeros", "stance"):
        found.each(name)

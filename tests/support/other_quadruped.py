"""A quadruped that a user might have: other names, order, signs and zeros than ours."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import yaml

# In another order, under other names; every second joint turns the other way, zeros elsewhere.
LEGS = ("rr", "fl", "rl", "fr")
SIGNS = np.tile([-1.0, 1.0, -1.0], 4)
ZEROS = np.tile([0.1, -0.4, 0.7], 4)


def leg(name: str, mesh: str) -> str:
    x = 0.19 if name[0] == "f" else -0.19
    y = 0.05 if name[1] == "l" else -0.05
    side = 0.09 if y > 0 else -0.09

    def joint(part: str, axis: str, low: float, high: float, sign: float, zero: float) -> str:
        # Its own angle is sign · ours + zero.
        ends = sorted((sign * low + zero, sign * high + zero))
        turned = " ".join(str(sign * float(value)) for value in axis.split())
        return (
            f'<joint name="{name}.{part}" axis="{turned}" ref="{zero}" '
            f'range="{ends[0]} {ends[1]}" actuatorfrcrange="-25 25" armature="0.02" damping="0.2"/>'
        )

    hip, thigh, calf = (
        joint("a", "1 0 0", -1.0, 1.0, -1, 0.1),
        joint("b", "0 1 0", -1.5, 3.4, 1, -0.4),
        joint("c", "0 1 0", -2.7, -0.8, -1, 0.7),
    )
    return f"""
    <body name="{name}_1" pos="{x} {y} 0">{hip}
      <geom type="sphere" size="0.04" mass="0.6"/>{mesh}
      <body name="{name}_2" pos="0 {side} 0">{thigh}
        <geom type="capsule" fromto="0 0 0 0 0 -0.2" size="0.015" mass="1.1"/>
        <body name="{name}_3" pos="0 0 -0.2">{calf}
          <geom type="capsule" fromto="0 0 0 0 0 -0.18" size="0.012" mass="0.2"/>
          <geom name="{name}_pad" type="sphere" size="0.02" pos="0 0 -0.2" mass="0.05"/>
        </body></body></body>"""


def mjcf(mesh: str = "", extra: str = "", free: str = "<freejoint/>") -> str:
    asset = f'<asset><mesh name="m" file="{mesh}"/></asset>' if mesh else ""
    shown = '<geom type="mesh" mesh="m" contype="0" conaffinity="0"/>' if mesh else ""
    legs = "".join(leg(name, shown if name == "fl" else "") for name in LEGS)
    return f"""<mujoco model="other"><compiler angle="radian"/>
  <option timestep="0.001" cone="elliptic"/>{asset}
  <worldbody><geom name="ground" type="plane" size="9 9 1"/>
    <body name="torso" pos="0 0 0.6">{free}
      <geom name="payload" type="box" size="0.2 0.06 0.05" mass="6"/>{extra}{legs}
    </body>
    <body name="box" pos="2 0 0"><freejoint/><geom type="box" size="0.1 0.1 0.1"/></body>
  </worldbody>
  <sensor><subtreecom name="com" body="torso"/></sensor>
</mujoco>"""


JOINTS = [f"{name}.{part}" for name in ("fl", "fr", "rl", "rr") for part in "abc"]
SWAPPED = [*JOINTS[3:6], *JOINTS[:3], *JOINTS[6:]]
MAP: dict[str, Any] = {
    "model": "other.xml",
    "base": "torso",
    "joints": JOINTS,
    "feet": ["fl_pad", "fr_3", "rl_pad", "rr_pad"],
    "signs": [-1, 1, -1],
    "zeros": [0.1, -0.4, 0.7],
}


def write(folder: Path, text: str = "", **changes: Any) -> Path:
    (folder / "other.xml").write_text(text or mjcf())
    path = folder / "map.yaml"
    path.write_text(yaml.safe_dump({**copy.deepcopy(MAP), **changes}))
    return path

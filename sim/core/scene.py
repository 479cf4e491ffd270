"""What is drawn of one world: a MuJoCo model, its colours, and a camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import mujoco
import numpy as np

from adapt.errors import AcclimateError


@dataclass(frozen=True)
class View:
    """A camera that looks at `target` (3,) from `distance` [m].

    azimuth, elevation: as of MuJoCo's free camera [°]. backdrop: from the target to a plain
    wall [m].
    """

    target: tuple[float, float, float]
    distance: float
    azimuth: float
    elevation: float
    backdrop: float

    def directions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Unit vectors (3,) to the right, up, and away from the camera."""
        a, e = np.radians([self.azimuth, self.elevation])
        forward = np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
        right = np.array([np.sin(a), -np.cos(a), 0.0])
        return right, np.cross(right, forward), forward


@dataclass(frozen=True, eq=False)
class Scene:
    """One world's looks.

    model: its shapes. colours: of every shape (n_geom, 4), opacity last. view: the camera.
    overview: a second camera, that a film adds.
    follow: body whose x and y are added to the view's target; "" for a camera that stands still.
    faces: boxes whose front face (−y) is painted in face_colour, as where they are cut open.
    """

    model: mujoco.MjModel
    colours: np.ndarray
    view: View
    overview: View | None = None
    follow: str = ""
    faces: Sequence[int] = ()
    face_colour: tuple[float, float, float, float] = (0.66, 0.76, 0.90, 1.0)


@runtime_checkable
class Drawable(Protocol):
    """Worlds that can be drawn."""

    def scene(self, world: int) -> Scene:
        """The looks of one world on its present task."""
        ...

    def configuration(self, world: int) -> np.ndarray:
        """Joint positions (n_q,) of that scene's model, now."""
        ...


def drawable(family: str, worlds: object) -> Drawable:
    """The worlds of a family, if they can be drawn. Raises AcclimateError."""
    if isinstance(worlds, Drawable):
        return worlds
    raise AcclimateError(
        f"family {family!r} has no pictures; its worlds need the methods scene and configuration "
        "of sim.core.scene.Drawable"
    )

"""Pictures of the rig or the arm, with OpenGL off the screen or, where there is none, as a sketch.

`Canvas` never fails for want of a picture: EGL is tried first, then OSMesa, each in a process of
its own because a broken driver may take its process down; when neither works, that is said once and
the plug and the socket are drawn with matplotlib.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

import mujoco
import numpy as np

from sim.render.section import PARKED_SIZE, cut_open, face_box, geom_name, housing
from sim.render.views import CLOSE, View, directions

BACKENDS = ("egl", "osmesa")
PROBE_SECONDS = 30
PROBE = """
import importlib, sys, mujoco
context = importlib.import_module('mujoco.' + sys.argv[1]).GLContext(8, 8)
context.make_current()
model = mujoco.MjModel.from_xml_string('<mujoco/>')
mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value).free()
context.free()
"""
BACKDROP = (0.145, 0.165, 0.195, 1.0)
"""Of a middle tone: it suits a light page and a dark one."""
SOLID, SECTION = (0.30, 0.45, 0.66, 1.0), (0.66, 0.76, 0.90, 1.0)
"""A socket, and where it is cut open."""
METAL, HOUSING = (0.86, 0.85, 0.80, 1.0), (0.93, 0.55, 0.16, 1.0)


@cache
def backend() -> str | None:
    """The OpenGL that works here off the screen, or None, which is said once on stderr.

    MUJOCO_GL=egl or osmesa in the environment is tried alone.
    """
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    for library in (wanted,) if wanted in BACKENDS else BACKENDS:
        environment = {**os.environ, "MUJOCO_GL": library}
        environment.pop("PYOPENGL_PLATFORM", None)
        try:
            done = subprocess.run(
                [sys.executable, "-c", PROBE, library],
                env=environment,
                capture_output=True,
                timeout=PROBE_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            return library
    _say(
        "neither EGL nor OSMesa works here (Debian: apt install libegl1 libgl1-mesa-dri); "
        "pictures are sketched instead"
    )
    return None


class Canvas:
    """Draws one model.

    width, height: of the pictures [pixels]. view: where from. cut_away: cuts the socket open along
    the pins, so that they are seen inside.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        width: int = 480,
        height: int = 480,
        view: View = CLOSE,
        cut_away: bool = True,
    ) -> None:
        self.width, self.height, self.view = width, height, view
        self._faces: list[int] = []
        if cut_away:
            model, self._faces = cut_open(model)
        self._model, self._data = model, mujoco.MjData(model)
        self._colours = colours(model)
        self._gl = _open(model, width, height)

    def draw(self, joints: np.ndarray) -> np.ndarray:
        """Picture (height, width, 3), uint8, at joint positions (n_q,)."""
        self._data.qpos[:] = joints
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        if self._gl is None:
            # Here and not above: OpenGL does not need it, and it is slow to import.
            from sim.render.sketch import sketch

            return sketch(
                self._model, self._data, self._colours, self.width, self.height, self.view
            )
        return self._gl.draw(self._model, self._data, self._colours, self.view, self._faces)

    def close(self) -> None:
        """Let go of the OpenGL context."""
        if self._gl is not None:
            self._gl.close()
            self._gl = None

    def __enter__(self) -> Canvas:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _open(model: mujoco.MjModel, width: int, height: int) -> _OffScreen | None:
    """An OpenGL context, or None where a picture must be sketched."""
    found = backend()
    if found is None:
        return None
    try:
        return _OffScreen(model, found, width, height)
    except Exception as error:  # a driver may raise anything, and nothing fails for a picture
        _say(f"{found} worked in a trial but not here ({error}); pictures are sketched instead")
        return None


@cache
def _say(text: str) -> None:
    """Print a line on stderr, once."""
    print(f"render: {text}", file=sys.stderr, flush=True)


def colours(model: mujoco.MjModel) -> np.ndarray:
    """Colour and opacity of every shape (n_geom, 4); 0 for placeholders and what is cut away."""
    found = model.geom_rgba.copy()
    for prefix, colour in (("socket_", SOLID), ("plug_", METAL)):
        for geom in range(model.ngeom):
            if geom_name(model, geom).startswith(prefix):
                found[geom] = colour if model.geom_size[geom].max() >= PARKED_SIZE else 0.0
    if (top := housing(model)) >= 0:
        found[top] = HOUSING
    return found


class _OffScreen:
    """MuJoCo's renderer on an OpenGL context that is made here: `mujoco.Renderer` can only use the
    one that was chosen, or not, when mujoco was first imported."""

    def __init__(self, model: mujoco.MjModel, library: str, width: int, height: int) -> None:
        self._context: Any = import_module(f"mujoco.{library}").GLContext(width, height)
        self._context.make_current()
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SKYBOX] = 0
        self._option = mujoco.MjvOption()
        self._option.sitegroup[:] = 0
        self._camera = mujoco.MjvCamera()
        _light(model)
        self._renderer = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_resizeOffscreen(width, height, self._renderer)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._renderer)
        self._area = mujoco.MjrRect(0, 0, width, height)
        self._pixels = np.zeros((height, width, 3), np.uint8)

    def draw(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        colours: np.ndarray,
        view: View,
        faces: Sequence[int],
    ) -> np.ndarray:
        self._context.make_current()
        camera, scene = self._camera, self._scene
        camera.lookat[:] = view.target
        camera.distance, camera.azimuth = view.distance, view.azimuth
        camera.elevation = view.elevation
        mujoco.mjv_updateScene(
            model, data, self._option, None, camera, mujoco.mjtCatBit.mjCAT_ALL.value, scene
        )
        for i in range(scene.ngeom):
            geom = scene.geoms[i]
            if geom.objtype == mujoco.mjtObj.mjOBJ_GEOM:
                geom.rgba[:] = colours[geom.objid]
                geom.transparent = colours[geom.objid, 3] < 1
        for geom in faces:
            _add_box(scene, *face_box(model, data, geom), SECTION)
        _add_backdrop(scene, view)
        mujoco.mjr_render(self._area, scene, self._renderer)
        mujoco.mjr_readPixels(self._pixels, None, self._area, self._renderer)
        return np.flipud(self._pixels).copy()

    def close(self) -> None:
        self._context.make_current()
        self._renderer.free()
        self._context.free()


def _light(model: mujoco.MjModel) -> None:
    """A soft light from the camera and the model's own, far away, from the left above."""
    model.vis.headlight.ambient[:] = 0.4
    model.vis.headlight.diffuse[:] = 0.35
    model.vis.headlight.specular[:] = 0.1
    model.light_type[:] = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
    model.light_dir[:] = np.array([0.5, 0.6, -1.0]) / np.linalg.norm([0.5, 0.6, -1.0])
    model.light_diffuse[:] = 0.4
    model.light_specular[:] = 0.2
    model.light_castshadow[:] = 0


def _add_backdrop(scene: mujoco.MjvScene, view: View) -> None:
    """A plain wall behind everything, upright to the view."""
    right, up, forward = directions(view)
    axes = np.stack([right, up, -forward], axis=1)
    centre = np.array(view.target) + view.backdrop * forward
    _add_box(scene, np.array([20.0, 20.0, 0.001]), centre, axes.ravel(), BACKDROP, emission=1.0)


def _add_box(
    scene: mujoco.MjvScene,
    half: np.ndarray,
    centre: np.ndarray,
    axes: np.ndarray,
    colour: tuple[float, float, float, float],
    emission: float = 0.0,
) -> None:
    """A box that only the picture has. half, centre (3,); axes (9,). emission: 1 shines by itself,
    so that no light leaves a spot on it."""
    if scene.ngeom >= scene.maxgeom:
        return
    box = scene.geoms[scene.ngeom]
    kind = mujoco.mjtGeom.mjGEOM_BOX
    mujoco.mjv_initGeom(box, kind, half, centre, axes, np.array(colour, np.float32))
    box.emission, box.specular = emission, 0.0
    scene.ngeom += 1

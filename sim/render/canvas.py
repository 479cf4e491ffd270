"""Pictures of a scene: with OpenGL off the screen, or as a sketch where there is none.

`Canvas` tries EGL first, then OSMesa, each in a process of its own because a broken driver can end
its process. When neither works, it says so once and draws with matplotlib instead.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import Any

import mujoco
import numpy as np

from sim.core.scene import Scene, View, drawable

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
    """Draws one scene. width, height: of the pictures [pixels]. view: instead of the scene's."""

    def __init__(
        self, scene: Scene, width: int = 480, height: int = 480, view: View | None = None
    ) -> None:
        self.width, self.height, self.scene = width, height, scene
        self._view = view or scene.view
        self._data = mujoco.MjData(scene.model)
        self._gl = _open(scene.model, width, height)

    def draw(self, joints: np.ndarray) -> np.ndarray:
        """Picture (height, width, 3), uint8, at joint positions (n_q,)."""
        scene, data = self.scene, self._data
        data.qpos[:] = joints
        mujoco.mj_kinematics(scene.model, data)
        mujoco.mj_comPos(scene.model, data)
        mujoco.mj_camlight(scene.model, data)
        view = self._view
        if scene.follow:
            x, y, _ = data.body(scene.follow).xpos
            view = replace(view, target=(view.target[0] + x, view.target[1] + y, view.target[2]))
        if self._gl is None:
            # Here and not above: OpenGL does not need it, and it is slow to import.
            from sim.render.sketch import sketch

            return sketch(scene.model, data, scene.colours, self.width, self.height, view)
        return self._gl.draw(scene, data, view)

    def close(self) -> None:
        """Let go of the OpenGL context."""
        if self._gl is not None:
            self._gl.close()
            self._gl = None

    def __enter__(self) -> Canvas:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Pictures:
    """Draws any world of a batch, with one canvas for each model.

    family: for messages. Raises AcclimateError if these worlds cannot be drawn.
    """

    def __init__(self, family: str, worlds: object) -> None:
        self._worlds = drawable(family, worlds)
        self._canvases: dict[int, Canvas] = {}  # by world; several may share one

    def draw(self, world: int) -> np.ndarray:
        """Picture (height, width, 3), uint8, of one world as it stands."""
        scene, canvas = self._worlds.scene(world), self._canvases.get(world)
        if canvas is None or canvas.scene.model is not scene.model:
            shared = [c for c in self._canvases.values() if c.scene.model is scene.model]
            self._canvases[world] = shared[0] if shared else Canvas(scene)
            if canvas is not None and canvas not in self._canvases.values():
                canvas.close()
        return self._canvases[world].draw(self._worlds.configuration(world))

    def close(self) -> None:
        for canvas in self._canvases.values():
            canvas.close()
        self._canvases.clear()


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

    def draw(self, looks: Scene, data: mujoco.MjData, view: View) -> np.ndarray:
        self._context.make_current()
        camera, scene = self._camera, self._scene
        camera.lookat[:] = view.target
        camera.distance, camera.azimuth = view.distance, view.azimuth
        camera.elevation = view.elevation
        mujoco.mjv_updateScene(
            looks.model, data, self._option, None, camera, mujoco.mjtCatBit.mjCAT_ALL.value, scene
        )
        for i in range(scene.ngeom):
            geom = scene.geoms[i]
            if geom.objtype == mujoco.mjtObj.mjOBJ_GEOM:
                geom.rgba[:] = looks.colours[geom.objid]
                geom.transparent = looks.colours[geom.objid, 3] < 1
        for geom in looks.faces:
            _add_box(scene, *face_box(looks.model, data, geom), looks.face_colour)
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
    right, up, forward = view.directions()
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


def face_box(
    model: mujoco.MjModel, data: mujoco.MjData, geom: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half sizes (3,), centre (3,) and axes (9,) in the world of a sheet on a box's front face."""
    axes = data.geom_xmat[geom].reshape(3, 3)
    size = model.geom_size[geom]
    centre = data.geom_xpos[geom] - axes[:, 1] * size[1]
    return np.array([size[0], 1e-5, size[2]]), centre, axes.ravel()

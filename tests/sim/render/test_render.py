"""Pictures and films: what is drawn, what is cut away, and what happens without OpenGL."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio.v2 as imageio
import mujoco
import numpy as np
import pytest

from adapt.errors import AcclimateError
from sim.core.registry import FAMILIES, family
from sim.insertion.arm import arm_model
from sim.insertion.plugs import FAMILIES as PLUGS
from sim.insertion.scene import CLOSE, HOUSING, WHOLE, colours, scene
from sim.insertion.section import cut_open, geom_name, housing, shapes
from sim.insertion.space import SPACE
from sim.insertion.wrist import wrist_model
from sim.render import canvas as render
from sim.render.canvas import Canvas, Pictures, backend, face_box
from sim.render.film import (
    AFTERWARDS,
    CAPTION,
    GAP,
    OVERVIEW,
    PANEL,
    frames,
    save_film,
)
from sim.render.sketch import hull
from sim.render.takes import Take
from tests.support.toy_worlds import ToyWorlds

TASK = SPACE.task(family="nema_5_15")


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return wrist_model(TASK)


@pytest.fixture
def no_opengl(monkeypatch):
    """As if no driver worked."""
    failed = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(render.subprocess, "run", lambda *a, **k: failed)
    backend.cache_clear()
    render._say.cache_clear()
    yield
    backend.cache_clear()


def joints(height: float) -> np.ndarray:
    return np.array([0, 0, height, 0, 0, 0.0])


def take(success: bool, length: int) -> Take:
    path = np.linspace(0.006, -0.01, length)
    states = np.stack([joints(z) for z in path])
    force = np.linspace(0, 60, length)
    return Take("insertion", "wrist", TASK.values, 0.05, states, force, success)


@pytest.mark.parametrize("plug", PLUGS)
def test_the_socket_is_cut_open_along_the_pins_and_placeholders_are_hidden(plug) -> None:
    model = wrist_model(SPACE.task(family=plug))
    cut, faces = cut_open(model)
    data = mujoco.MjData(cut)
    mujoco.mj_kinematics(cut, data)
    drawn = [geom for geom in range(cut.ngeom) if colours(cut)[geom, 3] > 0]
    socket = [geom for geom in drawn if geom_name(model, geom).startswith("socket_")]
    assert faces
    assert set(faces) < set(socket)
    # All faces lie in one plane, which some pin crosses, and nothing stands before it.
    axes = [face_box(cut, data, geom)[2].reshape(3, 3) for geom in faces]
    fronts = [face_box(cut, data, g)[1] @ a[:, 1] for g, a in zip(faces, axes, strict=True)]
    np.testing.assert_allclose(fronts, fronts[0], atol=1e-12)
    plane = fronts[0]
    pins = [g for g in drawn if geom_name(model, g).startswith("plug_") and g != housing(model)]
    reach = [max(model.geom_size[g, :2]) for g in pins]
    assert any(abs(model.geom_pos[g, 1] - plane) <= r for g, r in zip(pins, reach, strict=True))
    for geom in socket:
        if abs(model.geom_quat[geom, 3]) < 1e-6:
            assert cut.geom_pos[geom, 1] - cut.geom_size[geom, 1] >= plane - 1e-12
    # The task's own model is as it was; what is a placeholder there stays undrawn.
    assert sum(size.max() == 0 for size in model.geom_size) == 0
    orange = [geom for geom in drawn if tuple(colours(cut)[geom]) == HOUSING]
    assert orange == [housing(model)]
    hidden = [g for g in range(model.ngeom) if geom_name(model, g).startswith("socket_")]
    parked = [g for g in hidden if g not in shapes(model, "socket_")]
    assert parked
    assert all(model.geom_pos[g, 2] < -0.5 for g in parked)


def test_directions_are_upright_and_orthogonal() -> None:
    for view in (CLOSE, WHOLE):
        right, up, forward = axes = view.directions()
        np.testing.assert_allclose(np.array(axes) @ np.array(axes).T, np.eye(3), atol=1e-12)
        assert right[2] == 0
        assert up[2] > 0
        assert forward[2] < 0


def test_hull_holds_every_point_and_turns_left() -> None:
    points = np.random.default_rng(0).normal(size=(50, 2))
    around = hull(points)
    edges = np.roll(around, -1, axis=0) - around
    for corner, edge in zip(around, edges, strict=True):
        away = points - corner
        assert (edge[0] * away[:, 1] - edge[1] * away[:, 0] >= -1e-12).all()


def test_without_opengl_a_sketch_is_drawn_and_it_is_said_once(model, no_opengl, capsys) -> None:
    with Canvas(scene(model), 160, 120) as canvas:
        above, inside = canvas.draw(joints(0.006)), canvas.draw(joints(-0.01))
    Canvas(scene(model), 160, 120).close()
    assert above.shape == inside.shape == (120, 160, 3)
    assert above.dtype == np.uint8
    assert (above != inside).any()
    said = capsys.readouterr().err
    assert said.count("neither EGL nor OSMesa") == 1


def test_a_context_that_breaks_later_is_replaced_by_a_sketch(model, monkeypatch, capsys) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no such device")

    monkeypatch.setattr(render, "backend", lambda: "egl")
    monkeypatch.setattr(render, "_OffScreen", broken)
    with Canvas(scene(model), 160, 120) as canvas:
        assert len(np.unique(canvas.draw(joints(0.006)).reshape(-1, 3), axis=0)) > 3
    assert "no such device" in capsys.readouterr().err


def test_opengl_draws_the_plug_going_down(model) -> None:
    if backend() is None:
        pytest.skip("no off-screen OpenGL here")
    with Canvas(scene(model), 160, 120) as canvas:
        above, again, inside = (canvas.draw(joints(z)) for z in (0.006, 0.006, -0.01))
    assert above.shape == (120, 160, 3)
    np.testing.assert_array_equal(above, again)

    def middle(picture: np.ndarray) -> float:
        """Mean row of the housing's orange."""
        r, g, b = (picture[..., i].astype(int) for i in range(3))
        return float(np.nonzero((r > 150) & (g > 60) & (b < 90))[0].mean())

    assert middle(inside) > middle(above) + 5
    # Nothing stands before black.
    assert above[0].min() > 40


def test_film_shows_all_takes_on_one_clock(no_opengl) -> None:
    shown = list(frames([take(False, 4), take(True, 2)], ["first", "last"]))
    assert len(shown) == 4 + round(AFTERWARDS / 0.05)
    assert {p.shape for p in shown} == {(PANEL + CAPTION, 2 * PANEL + GAP, 3)}
    left, right = (slice(0, PANEL), slice(PANEL + GAP, None))
    assert (shown[3][:, left] != shown[2][:, left]).any()
    np.testing.assert_array_equal(shown[3][:, right], shown[1][:, right])


def test_an_arm_is_shown_whole_above_its_plug(no_opengl) -> None:
    joints = np.zeros((1, arm_model(TASK).nq))
    shown = next(
        frames([Take("insertion", "arm", TASK.values, 0.05, joints, np.zeros(1), True)], ["only"])
    )
    assert shown.shape == (CAPTION + OVERVIEW + PANEL, PANEL, 3)


@pytest.mark.parametrize(("force", "filled"), [(0, 0), (40, 110), (80, 220), (200, 220)])
def test_the_bar_of_force_ends_where_an_episode_ends(no_opengl, force, filled) -> None:
    path = np.tile(joints(0.006), (2, 1))
    shown = next(
        frames(
            [Take("insertion", "wrist", TASK.values, 0.05, path, np.full(2, force), True)], ["one"]
        )
    )
    row = shown[47, 171:390].astype(int)
    groove = np.abs(row - np.array((62, 69, 79))).sum(axis=1) < 5
    assert abs((~groove).sum() - filled) <= 3


def test_films_and_pictures_as_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (32, 48, 3), np.uint8) for _ in range(3)]
    for name in ("a.gif", "a.mp4"):
        save_film(tmp_path / name, iter(pictures), 0.05)
        read = imageio.mimread(tmp_path / name)
        assert len(read) == 3
        assert read[0].shape[:2] == (32, 48)
    with pytest.raises(AcclimateError, match=r"end in \.gif or \.mp4"):
        save_film(tmp_path / "a.avi", iter(pictures), 0.05)
    with pytest.raises(AcclimateError, match="absent"):
        save_film(tmp_path / "absent" / "a.gif", iter(pictures), 0.05)


def test_takes_are_read_back_and_others_refused(tmp_path: Path) -> None:
    written = take(True, 3)
    path = written.save(tmp_path / "takes", 4, 1)
    assert path.name == "0004-01.npz"
    read = Take.load(path)
    assert (read.family, read.body, read.period) == ("insertion", "wrist", 0.05)
    assert read.success
    for name in ("task", "joints", "gauge"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    np.savez(tmp_path / "other.npz", body="leg")
    with pytest.raises(AcclimateError, match=r"other\.npz.*family"):
        Take.load(tmp_path / "other.npz")
    with pytest.raises(AcclimateError, match=r"none\.npz"):
        Take.load(tmp_path / "none.npz")


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_every_family_is_drawn_with_and_without_opengl(name: str, no_opengl) -> None:
    worlds = family(name).make(1, 0, 1)
    worlds.assign([family(name).space.task()])
    worlds.reset(np.ones(1, bool))
    pictures = Pictures(name, worlds)
    before = pictures.draw(0)
    for _ in range(5):
        worlds.step(np.ones((1, worlds.spec.action_size)))
    after = pictures.draw(0)
    assert before.shape == (480, 480, 3) and before.dtype == np.uint8
    assert len(np.unique(before.reshape(-1, 3), axis=0)) > 3
    assert (before != after).any()
    pictures.close()
    worlds.close()


def test_worlds_without_looks_are_named() -> None:
    with pytest.raises(AcclimateError, match=r"'toy' has no pictures; .* scene and configuration"):
        Pictures("toy", ToyWorlds(1, 0))

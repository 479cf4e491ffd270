"""Pictures and films: what is drawn, what is cut away, and what happens without OpenGL."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio.v2 as imageio
import mujoco
import numpy as np
import pytest
from PIL import Image

from adapt.errors import AcclimateError
from sim.insertion.worlds import SPACE
from sim.insertion.wrist import wrist_model
from sim.render import render
from sim.render.film import AFTERWARDS, CAPTION, GAP, PANEL, frames, save_film, save_picture
from sim.render.render import HOUSING, Canvas, backend, colours
from sim.render.sketch import hull
from sim.render.views import CLOSE, WHOLE, directions
from sim.twin.takes import Take

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
    return Take("wrist", TASK.values, 0.05, states, np.linspace(0, 60, length), success)


def test_only_the_front_of_the_socket_is_glass_and_stand_ins_are_hidden(model) -> None:
    whole, cut = colours(model, False), colours(model, True)
    names = [mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_GEOM, g) or "" for g in range(len(cut))]
    socket = np.array([name.startswith("socket_") for name in names])
    drawn = socket & (whole[:, 3] > 0)
    glass = drawn & (cut[:, 3] < 1)
    assert 0 < glass.sum() < drawn.sum()
    assert (model.geom_pos[glass, 1] < 0).all()
    assert (whole[drawn, 3] == 1).all()
    # What stands in for no shape is parked far from where anything is.
    hidden = (whole[:, 3] == 0) & socket
    assert hidden.any()
    assert (model.geom_pos[hidden, 2] < -0.5).all()
    orange = [n for n, c in zip(names, cut, strict=True) if tuple(c) == HOUSING]
    assert len(orange) == 1


def test_directions_are_upright_and_orthogonal() -> None:
    for view in (CLOSE, WHOLE):
        right, up, forward = axes = directions(view)
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
    with Canvas(model, 160, 120) as canvas:
        above, inside = canvas.draw(joints(0.006)), canvas.draw(joints(-0.01))
    Canvas(model, 160, 120).close()
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
    with Canvas(model, 160, 120) as canvas:
        assert len(np.unique(canvas.draw(joints(0.006)).reshape(-1, 3), axis=0)) > 3
    assert "no such device" in capsys.readouterr().err


def test_opengl_draws_the_plug_going_down(model) -> None:
    if backend() is None:
        pytest.skip("no off-screen OpenGL here")
    with Canvas(model, 160, 120) as canvas:
        above, again, inside = (canvas.draw(joints(z)) for z in (0.006, 0.006, -0.01))
    assert above.shape == (120, 160, 3)
    np.testing.assert_array_equal(above, again)

    def middle(picture: np.ndarray) -> float:
        """Mean row of the housing's orange."""
        r, g, b = (picture[..., i].astype(int) for i in range(3))
        return float(np.nonzero((r > 150) & (g > 60) & (b < 90))[0].mean())

    assert middle(inside) > middle(above) + 5
    # Nothing stands before black.
    assert above[0].min() > 200


def test_film_shows_all_takes_on_one_clock(no_opengl) -> None:
    shown = list(frames([take(False, 4), take(True, 2)], ["first", "last"]))
    assert len(shown) == 4 + round(AFTERWARDS / 0.05)
    assert {p.shape for p in shown} == {(PANEL + CAPTION, 2 * PANEL + GAP, 3)}
    left, right = (slice(0, PANEL), slice(PANEL + GAP, None))
    assert (shown[3][:, left] != shown[2][:, left]).any()
    np.testing.assert_array_equal(shown[3][:, right], shown[1][:, right])


def test_films_and_pictures_as_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (32, 48, 3), np.uint8) for _ in range(3)]
    for name in ("a.gif", "a.mp4"):
        save_film(tmp_path / name, iter(pictures), 0.05)
        read = imageio.mimread(tmp_path / name)
        assert len(read) == 3
        assert read[0].shape[:2] == (32, 48)
    save_picture(tmp_path / "a.png", pictures[0])
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), pictures[0])
    with pytest.raises(AcclimateError, match=r"end in \.gif or \.mp4"):
        save_film(tmp_path / "a.avi", iter(pictures), 0.05)
    with pytest.raises(AcclimateError, match=r"end in \.png"):
        save_picture(tmp_path / "a.jpg", pictures[0])
    with pytest.raises(AcclimateError, match="absent"):
        save_picture(tmp_path / "absent" / "a.png", pictures[0])


def test_takes_are_read_back_and_others_refused(tmp_path: Path) -> None:
    written = take(True, 3)
    path = written.save(tmp_path / "takes", 4, 1)
    assert path.name == "0004-01.npz"
    read = Take.load(path)
    assert (read.body, read.period, read.success) == ("wrist", 0.05, True)
    for name in ("task", "joints", "force"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    np.savez(tmp_path / "other.npz", body="leg")
    with pytest.raises(AcclimateError, match=r"other\.npz.*no body 'leg'"):
        Take.load(tmp_path / "other.npz")
    with pytest.raises(AcclimateError, match=r"none\.npz"):
        Take.load(tmp_path / "none.npz")

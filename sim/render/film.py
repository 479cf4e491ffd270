"""Takes of one task side by side on one clock, as a film; pictures and films as files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import mujoco
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from adapt.errors import AcclimateError
from sim.core.task_space import Task
from sim.insertion.arm import arm_model
from sim.insertion.worlds import FORCE_COMFORT, SPACE
from sim.insertion.wrist import wrist_model
from sim.render.render import Canvas
from sim.render.views import CLOSE, View
from sim.twin.takes import Take

PANEL, CAPTION, GAP = 400, 48, 16
"""Sizes [pixels]; sums of them are multiples of 16, as H.264 wants."""
AFTERWARDS = 1.5
"""How long the last picture stands [s]."""
INK, FAINT, PAPER = (35, 38, 44), (120, 124, 132), (255, 255, 255)
GOOD, BAD, BAR = (38, 132, 82), (190, 60, 50), (86, 126, 176)


def take_model(take: Take) -> mujoco.MjModel:
    """The model in which a take was recorded. Raises AcclimateError where it no longer fits."""
    task = Task(SPACE, take.task)
    model = arm_model(task) if take.body == "arm" else wrist_model(task)
    if take.joints.shape[1:] != (model.nq,):
        raise AcclimateError(
            f"take of the {take.body}: {take.joints.shape[1:]} joints, its model has {model.nq}"
        )
    return model


def frames(
    takes: Sequence[Take], titles: Sequence[str], view: View = CLOSE
) -> Iterator[np.ndarray]:
    """Pictures (height, width, 3), uint8, one per period of the first take."""
    if not takes or len(takes) != len(titles):
        raise AcclimateError(f"{len(takes)} takes and {len(titles)} titles; each needs one")
    canvases = [Canvas(take_model(take), PANEL, PANEL, view) for take in takes]
    try:
        width = len(takes) * PANEL + (len(takes) - 1) * GAP
        last = max(len(take.joints) for take in takes) - 1
        shown: list[Image.Image | None] = [None] * len(takes)
        page = Image.new("RGB", (width, PANEL + CAPTION), PAPER)
        for k in range(last + 1):
            for i, (take, canvas, title) in enumerate(zip(takes, canvases, titles, strict=True)):
                end = len(take.joints) - 1
                if k <= end:
                    shown[i] = _panel(take, canvas, title, k)
                panel = shown[i]
                if panel is not None and k <= end:
                    page.paste(panel, (i * (PANEL + GAP), 0))
            yield np.asarray(page).copy()
        for _ in range(round(AFTERWARDS / takes[0].period)):
            yield np.asarray(page).copy()
    finally:
        for canvas in canvases:
            canvas.close()


def save_film(path: Path, pictures: Iterator[np.ndarray], period: float) -> None:
    """Write a .gif or an .mp4 that shows each picture for `period` [s].

    Raises AcclimateError for another ending, or when the file cannot be written.
    """
    try:
        if path.suffix == ".gif":
            images = [Image.fromarray(p).quantize(128) for p in pictures]
            images[0].save(
                path,
                save_all=True,
                append_images=images[1:],
                duration=round(period * 1000),
                loop=0,
            )
        elif path.suffix == ".mp4":
            writer: Any = imageio.get_writer(
                path, fps=1 / period, codec="libx264", quality=8, macro_block_size=16
            )
            with writer:
                for picture in pictures:
                    writer.append_data(picture)
        else:
            raise AcclimateError(f"{path}: films end in .gif or .mp4")
    except OSError as error:
        raise AcclimateError(f"{path}: {error.strerror or error}") from error


def save_picture(path: Path, picture: np.ndarray) -> None:
    """Write a .png. Raises AcclimateError for another ending, or when it cannot be written."""
    if path.suffix != ".png":
        raise AcclimateError(f"{path}: pictures end in .png")
    try:
        Image.fromarray(picture).save(path)
    except OSError as error:
        raise AcclimateError(f"{path}: {error.strerror or error}") from error


def _panel(take: Take, canvas: Canvas, title: str, k: int) -> Image.Image:
    """One take at frame k: its title, its clock, its contact force, and the picture."""
    panel = Image.new("RGB", (PANEL, PANEL + CAPTION), PAPER)
    panel.paste(Image.fromarray(canvas.draw(take.joints[k])), (0, CAPTION))
    draw = ImageDraw.Draw(panel)
    draw.text((10, 5), title, INK, ImageFont.load_default(17))
    clock = f"{k * take.period:.2f} s"
    draw.text((PANEL - 10, 5), clock, INK, ImageFont.load_default(17), anchor="ra")
    small, force = ImageFont.load_default(13), float(take.force[k])
    draw.text((10, 28), f"contact force {force:3.0f} N", FAINT, small)
    left, right = 150, PANEL - 10
    draw.rectangle((left, 33, right, 41), (228, 231, 236))
    filled = left + (right - left) * min(force / FORCE_COMFORT, 1.0)
    draw.rectangle((left, 33, filled, 41), BAD if force > FORCE_COMFORT else BAR)
    if k == len(take.joints) - 1:
        text, colour = ("home", GOOD) if take.success else ("failed", BAD)
        box = (PANEL - 108, CAPTION + 10, PANEL - 10, CAPTION + 40)
        draw.rounded_rectangle(box, 6, colour)
        middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        draw.text(middle, text, PAPER, ImageFont.load_default(17), anchor="mm")
    return panel

"""Takes of one task side by side on one clock, as a film; pictures and films as files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from adapt.errors import AcclimateError
from sim.core.embodiment import Measure
from sim.core.family import Family
from sim.core.registry import family
from sim.core.scene import Scene, drawable
from sim.core.task_space import Task
from sim.render.canvas import Canvas
from sim.render.takes import Take

PANEL, OVERVIEW, CAPTION, GAP = 400, 272, 64, 16
"""Width of a panel and height of its close view, height of the overview, of the caption;
between panels [pixels]. Sums of them are multiples of 16, as H.264 wants."""
AFTERWARDS = 1.5
"""How long the last picture stands [s]."""
# Dark as a film is on either page, light or dark.
PAPER, INK, SOFT, GROOVE = (27, 31, 37), (236, 238, 241), (176, 184, 194), (62, 69, 79)
GOOD, BAD, BAR = (38, 132, 82), (214, 84, 70), (118, 168, 226)


def take_scene(take: Take, found: Family) -> Scene:
    """The scene of a take of that family. Raises AcclimateError where it no longer fits."""
    worlds = found.one_world(take.body)
    worlds.assign([Task(found.space, take.task)])
    scene = drawable(take.family, worlds).scene(0)
    worlds.close()
    if take.joints.shape[1:] != (scene.model.nq,):
        raise AcclimateError(
            f"take of the {take.body}: {take.joints.shape[1:]} joints, its model has "
            f"{scene.model.nq}"
        )
    return scene


def frames(
    takes: Sequence[Take], titles: Sequence[str], notes: Sequence[tuple[int, str]] = ()
) -> Iterator[np.ndarray]:
    """Pictures (height, width, 3), uint8, one per period of the first take: side by side, for each
    take the scene's overview, if it has one, and its own view. notes: in the order of their frames,
    words that stand in the picture from a frame on."""
    if not takes or len(takes) != len(titles):
        raise AcclimateError(f"{len(takes)} takes and {len(titles)} titles; each needs one")
    with ExitStack() as stack:
        panels = [
            _Panel(take, title, stack, notes) for take, title in zip(takes, titles, strict=True)
        ]
        width = len(takes) * PANEL + (len(takes) - 1) * GAP
        page = Image.new("RGB", (width, max(panel.height for panel in panels)), PAPER)
        for k in range(max(len(take.joints) for take in takes)):
            for i, panel in enumerate(panels):
                if k < len(takes[i].joints):
                    page.paste(panel.draw(k), (i * (PANEL + GAP), 0))
            yield np.asarray(page).copy()
        for _ in range(round(AFTERWARDS / takes[0].period)):
            yield np.asarray(page).copy()


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


class _Panel:
    """One take: its title, its clock, its gauge, and its pictures."""

    def __init__(
        self, take: Take, title: str, stack: ExitStack, notes: Sequence[tuple[int, str]]
    ) -> None:
        self._take, self._title, self._notes = take, title, notes
        self._family = found = family(take.family)
        scene = take_scene(take, found)
        views = [(PANEL, scene.view)]
        if scene.overview is not None:
            views.insert(0, (OVERVIEW, scene.overview))
        self._canvases = [
            stack.enter_context(Canvas(scene, PANEL, height, view)) for height, view in views
        ]
        self.height = CAPTION + sum(canvas.height for canvas in self._canvases)

    def draw(self, k: int) -> Image.Image:
        """The panel at frame k."""
        take, embodiment = self._take, self._family.embodiment
        panel = Image.new("RGB", (PANEL, self.height), PAPER)
        top = CAPTION
        for canvas in self._canvases:
            panel.paste(Image.fromarray(canvas.draw(take.joints[k])), (0, top))
            top += canvas.height
        draw = ImageDraw.Draw(panel)
        large, small = ImageFont.load_default(22), ImageFont.load_default(16)
        draw.text((10, 4), self._title, INK, large)
        draw.text((PANEL - 10, 4), f"{k * take.period:.2f} s", INK, large, anchor="ra")
        told = [text for start, text in self._notes if start <= k]
        if told:
            right = 26 + draw.textlength(told[-1], large)
            draw.rounded_rectangle((10, CAPTION + 8, right, CAPTION + 40), 6, BAR)
            draw.text((18, CAPTION + 24), told[-1], PAPER, large, anchor="lm")
        _draw_gauge(draw, *embodiment.gauge, float(take.gauge[k]), small)
        if k == len(take.joints) - 1 and self._family.judged_by == "success":
            text, colour = (embodiment.succeeded, GOOD) if take.success else ("failed", BAD)
            box = (PANEL - 110, CAPTION + 10, PANEL - 10, CAPTION + 44)
            draw.rounded_rectangle(box, 6, colour)
            middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
            draw.text(middle, text, INK, large, anchor="mm")
        return panel


def _draw_gauge(
    draw: ImageDraw.ImageDraw, name: str, gauge: Measure, value: float, font: Any
) -> None:
    """A number and its bar, with a line at the gauge's mark; beyond it the bar is red."""
    number = f"{value:3.0f}" if gauge.full >= 10 else f"{value:.2f}"
    unit = "" if gauge.unit == "1" else f" {gauge.unit}"
    draw.text((10, 38), f"{name} {number}{unit}", SOFT, font)
    left, right = 170, PANEL - 10
    scale = (right - left) / gauge.full
    draw.rectangle((left, 42, right, 52), GROOVE)
    filled = left + scale * min(max(value, 0.0), gauge.full)
    high = gauge.mark is not None and value > gauge.mark
    draw.rectangle((left, 42, filled, 52), BAD if high else BAR)
    if gauge.mark is not None:
        mark = left + scale * gauge.mark
        draw.line((mark, 39, mark, 55), SOFT)

"""Ground as height fields: a periodic tile that a robot never leaves.

A tile repeats in both directions, so a robot that walks over its edge is put back on the other
side without noticing. Slopes are no part of it: a slope is gravity that leans, the same at every
place and for as long as one walks.

The kinds follow the terrains of public legged training environments (legged_gym, Isaac Lab):
rough ground, stairs, waves, obstacles, gaps; difficulty 0 to 1 scales each to its hardest.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

TILE = 8.0
"""Side of a tile [m]."""
CELL = 0.05
"""Distance of two heights [m]."""
CELLS = round(TILE / CELL)
PAD = 2.0
"""How far the field reaches beyond the tile on each side [m]: more than a robot's half length."""
POINTS = CELLS + 2 * round(PAD / CELL) + 1
"""Heights along each side of the field, which is a tile and its padding."""
FLOOR, CEILING = -0.6, 1.6
"""Lowest and highest height that the field can hold [m]."""
START_RADIUS = 0.6
"""Around the tile's centre the ground is level, for a robot to start on [m]."""

ROUGHNESS = 0.05
"""Largest deviation of rough ground [m]."""
STAIR_HEIGHT, STAIR_DEPTH = 0.15, 0.30
"""Of the hardest stairs' steps [m]."""
WAVE = 0.20
"""Largest height of waves [m], crest to trough."""
OBSTACLE = 0.15
"""Height of the highest obstacles [m]."""
GAP_WIDTH, GAP_DEPTH = 0.20, 0.5
"""Of the widest gaps [m]; a stride reaches 0.4."""

Maker = Callable[[float, np.random.Generator], np.ndarray]


def _axes() -> tuple[np.ndarray, np.ndarray]:
    """Places (CELLS, 1) and (1, CELLS) of the tile's heights [m], its centre at 0."""
    x = (np.arange(CELLS) - CELLS // 2) * CELL
    return x[:, None], x[None, :]


def _flat(difficulty: float, rng: np.random.Generator) -> np.ndarray:
    return np.zeros((CELLS, CELLS))


def _rough(difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """Bumps of 10 cm and finer ones, both periodic."""
    coarse = rng.uniform(-1, 1, (CELLS // 2, CELLS // 2)).repeat(2, 0).repeat(2, 1)
    fine = rng.uniform(-1, 1, (CELLS, CELLS))
    return difficulty * ROUGHNESS * (0.7 * coarse + 0.3 * fine)


def _stairs(difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """Up from the tile's edges to a landing at its centre, and down again, on all four sides."""
    x, y = _axes()
    step = 0.02 + difficulty * (STAIR_HEIGHT - 0.02)
    inward = TILE / 2 - np.maximum(np.abs(x), np.abs(y))
    # So many that the highest landing stays below the field's ceiling.
    most = int(CEILING / step)
    return step * np.minimum(np.floor(inward / STAIR_DEPTH), most)


def _waves(difficulty: float, rng: np.random.Generator) -> np.ndarray:
    x, y = _axes()
    periods = rng.integers(2, 5, 2)
    turn = 2 * np.pi / TILE
    return difficulty * WAVE / 4 * (np.sin(turn * periods[0] * x) + np.sin(turn * periods[1] * y))


def _obstacles(difficulty: float, rng: np.random.Generator) -> np.ndarray:
    heights = np.zeros((CELLS, CELLS))
    for _ in range(60):
        i, j = rng.integers(0, CELLS, 2)
        n, m = rng.integers(4, 16, 2)
        rows, columns = np.arange(i, i + n) % CELLS, np.arange(j, j + m) % CELLS
        heights[np.ix_(rows, columns)] = difficulty * rng.uniform(0.2, 1.0) * OBSTACLE
    return heights


def _gaps(difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """Trenches across the tile, one every 1.6 m."""
    x, y = _axes()
    width = max(CELL, difficulty * GAP_WIDTH)
    along = x if rng.random() < 0.5 else y
    trench = np.abs((along + 0.8) % 1.6 - 0.8) > 0.8 - width / 2
    return np.where(trench, -GAP_DEPTH, 0.0) * np.ones((CELLS, CELLS))


KINDS: dict[str, Maker] = {
    "flat": _flat,
    "rough": _rough,
    "stairs": _stairs,
    "waves": _waves,
    "obstacles": _obstacles,
    "gaps": _gaps,
}
"""Makers of tiles (CELLS, CELLS) of heights [m] from a difficulty in [0, 1]; row i lies at
x = (i − CELLS/2)·CELL, column j at the same y."""


def tile(kind: str, difficulty: float, seed: int) -> np.ndarray:
    """Heights (CELLS, CELLS) [m], with a level place to start at the centre."""
    heights = KINDS[kind](difficulty, np.random.default_rng(seed))
    x, y = _axes()
    level = np.hypot(x, y) < START_RADIUS
    heights[level] = np.median(heights[level])
    return np.clip(heights, FLOOR, CEILING)


def field_data(heights: np.ndarray) -> np.ndarray:
    """A MuJoCo height field (POINTS, POINTS), rows along y, in [0, 1] from FLOOR to CEILING."""
    index = np.arange(-round(PAD / CELL), CELLS + round(PAD / CELL) + 1) % CELLS
    field = heights[np.ix_(index, index)].T
    return ((field - FLOOR) / (CEILING - FLOOR)).astype(np.float32)


def height_at(tiles: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Heights (B, K) [m] of B tiles (B, CELLS, CELLS) at places (B, K, 2) [m], nearest cell."""
    index = np.rint(place / CELL).astype(int) + CELLS // 2
    index %= CELLS
    world = np.arange(len(tiles))[:, None]
    return tiles[world, index[..., 0], index[..., 1]]


def wrap(place: np.ndarray) -> np.ndarray:
    """The same places (…, 2) on the tile, in [−TILE/2, TILE/2) [m]."""
    return (place + TILE / 2) % TILE - TILE / 2

"""Ground: periodic, within the field, level where robots start."""

import numpy as np
import pytest

from sim.locomotion import terrain


@pytest.mark.parametrize("kind", terrain.KINDS)
@pytest.mark.parametrize("difficulty", [0.0, 0.5, 1.0])
def test_a_tile_fits_the_field_and_is_level_at_its_centre(kind, difficulty):
    heights = terrain.tile(kind, difficulty, 3)
    assert heights.shape == (terrain.CELLS, terrain.CELLS)
    assert heights.min() >= terrain.FLOOR
    assert heights.max() <= terrain.CEILING
    centre = terrain.CELLS // 2
    near = round(0.5 * terrain.START_RADIUS / terrain.CELL)
    start = heights[centre - near : centre + near, centre - near : centre + near]
    assert np.ptp(start) == 0.0


@pytest.mark.parametrize("kind", sorted(set(terrain.KINDS) - {"flat"}))
def test_difficulty_raises_what_must_be_climbed(kind):
    def relief(difficulty):
        return np.std(terrain.tile(kind, difficulty, 3))

    assert relief(1.0) > relief(0.3)


def test_a_seed_draws_one_ground():
    one, same = terrain.tile("rough", 1.0, 5), terrain.tile("rough", 1.0, 5)
    assert (one == same).all()
    assert (one != terrain.tile("rough", 1.0, 6)).any()


def test_the_field_repeats_the_tile_beyond_its_edges():
    """So a robot that is put back on the other side finds the same ground under its feet."""
    field = terrain.field_data(terrain.tile("rough", 1.0, 0))
    n = terrain.CELLS
    assert np.array_equal(field[:, : terrain.POINTS - n], field[:, n:])
    assert np.array_equal(field[: terrain.POINTS - n], field[n:])
    assert field.min() >= 0.0
    assert field.max() <= 1.0


def test_heights_are_looked_up_where_the_field_has_them():
    heights = terrain.tile("obstacles", 1.0, 2)
    field = terrain.field_data(heights)
    x = np.linspace(-4, 4, 33)[:-1]
    places = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(1, -1, 2)
    found = terrain.height_at(heights[None], places)[0]
    index = np.rint((places[0] + terrain.TILE / 2 + terrain.PAD) / terrain.CELL).astype(int)
    stored = field[index[:, 1], index[:, 0]] * (terrain.CEILING - terrain.FLOOR) + terrain.FLOOR
    assert found == pytest.approx(stored, abs=1e-6)


def test_places_wrap_onto_the_tile():
    places = np.array([[3.99, 4.0], [-4.01, 12.5]])
    assert terrain.wrap(places) == pytest.approx(np.array([[3.99, -4.0], [3.99, -3.5]]))

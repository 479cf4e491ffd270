"""What a probing robot is told of every plug: it can be sent, and there is room to land."""

import numpy as np
import pytest
from msgspec import json

from adapt.errors import AcclimateError
from robot_bridge.protocol.probe_messages import Post
from sim.insertion.parts.described import named_plugs, plug_file
from sim.insertion.parts.spaces import plug_space
from sim.insertion.plugs import FAMILIES
from sim.insertion.probe import landings, posts
from sim.insertion.space import SPACE


@pytest.mark.parametrize("size", [-1.0, 1.0])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_plug_has_edges_and_places_to_land(family, size):
    task = SPACE.task(family=family, size=size)
    found = posts(task)
    assert json.decode(json.encode(found), type=tuple[Post, ...]) == found
    assert min(post.end for post in found) == pytest.approx(0.0, abs=1e-9)
    assert all(post.bottom >= post.end for post in found)
    places = np.array(landings(found, 0.0035))
    assert places.shape == (3, 2)
    assert np.abs(places).max() < 0.04


@pytest.mark.parametrize("name", named_plugs())
@pytest.mark.parametrize("off", [0.0035, 0.00525])
def test_every_plug_of_the_table_lands_also_where_less_is_known_of_its_place(name, off):
    """Up to 1.5 times as far off as training's."""
    found = posts(plug_space(plug_file(name)).task())
    a, b, c = np.array(landings(found, off))
    assert abs(np.linalg.det([b - a, c - a])) >= 4e-4
    feet = np.array([(p.x, p.y) for p in found if p.end < 1e-4])
    assert np.abs(np.array([a, b, c])[:, None] + feet).max() < 0.04 - off


def test_a_plug_as_large_as_its_plate_has_no_place_to_land():
    corners = tuple(Post(x, y, 0.0, 0.0, 0.0) for x in (-0.03, 0.03) for y in (-0.03, 0.03))
    with pytest.raises(AcclimateError, match="no room on the plate's face"):
        landings(corners, 0.0035)

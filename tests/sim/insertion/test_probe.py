"""What a probing robot is told of every plug: it can be sent, and there is room to land."""

import numpy as np
import pytest
from msgspec import json

from robot_bridge.protocol.probe_messages import Post
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

"""The nine plugs of the published table: compiled, they have the dimensions that are stated of
them, and no training draws one."""

import mujoco
import numpy as np
import pytest

from sim.core.parameter import TaskSpaceError
from sim.core.registry import family
from sim.core.task_space import Task
from sim.insertion.parts.described import described_plug, named_plugs, plug_file
from sim.insertion.parts.procedural import HELD_OUT, LENGTHS
from sim.insertion.parts.spaces import BROAD, plug_space
from sim.insertion.plugs import MM
from sim.insertion.scripted import Privileged
from sim.insertion.worlds import InsertionWorlds
from sim.insertion.wrist import SHAPE, task_plug, wrist_model

# What the sources state [mm], written down apart from the plugs' files. A pin: a point on its axis,
# then its width along x, its width along y and its length; None where another part touches it.
STATED: dict[str, list[tuple[float, float, float | None, float | None, float]]] = {
    # Blades 1.5 × 6.35, 12.7 apart; ground ⌀4.76, 11.9 from their line, 3 longer.
    "us_ac": [
        (-6.35, 4.0, 1.5, 6.35, 17.1),
        (6.35, 4.0, 1.5, 6.35, 17.1),
        (0, 4.0 - 11.9, 4.76, 4.76, 20.1),
    ],
    # Two blades 1.8 × 9.5, an L, a ground pin ⌀4.8.
    "nema_14_30p": [
        (-11.5, 0, 1.8, 9.5, 17.5),
        (11.5, 0, 1.8, 9.5, 17.5),
        (0, -11.9, 9.5, 1.8, 17.5),
        (3.85, -8.0, 1.8, None, 17.5),
        (0, 11.5, 4.8, 4.8, 20.1),
    ],
    "metal_peg_rectangular": [(0, 0, 12, 8, 16)],
    "metal_peg_round": [(0, 0, 12, 12, 16)],
    "metal_peg_square": [(0, 0, 4, 4, 16)],
    # L and N 6.35 × 4.0 × 17.7, 22.2 apart; earth 4.0 × 8.0 × 22.7, 22.2 above.
    "uk_ac": [
        (-11.1, -7.4, 6.35, 4.0, 17.7),
        (11.1, -7.4, 6.35, 4.0, 17.7),
        (0, -7.4 + 22.2, 4.0, 8.0, 22.7),
    ],
    "car_4_pin": [(-10, 0, None, 15, 20), (5.6, 8.75, 4, None, 20)],
    "car_3_pin": [(9, 0, None, 15, 20), (-4.4, 8.75, 4, None, 20)],
    # ⌀4.0 × 19, 18.6 apart.
    "eu_ac": [(-9.3, 0, 4, 4, 19), (9.3, 0, 4, 4, 19)],
}
# A side [mm].
CLEARANCE = {
    "metal_peg_rectangular": (8.137 - 8) / 2,
    "metal_peg_round": (12.2 - 12) / 2,
    "metal_peg_square": (4.11 - 4) / 2,
    "car_4_pin": 0.15,
    "car_3_pin": 0.1,
}
every_plug = pytest.mark.parametrize("name", sorted(STATED))


def nominal(name: str) -> Task:
    return plug_space(plug_file(name)).task()


class Probe:
    """Rays [mm] against the compiled rig, its plug `up` above the socket's face."""

    def __init__(self, name: str, up: float) -> None:
        self._model = wrist_model(nominal(name))
        self._data = mujoco.MjData(self._model)
        self._data.qpos[2] = up * MM
        mujoco.mj_forward(self._model, self._data)

    def ray(self, point: tuple[float, float, float], along: tuple[int, int, int]) -> float:
        """Distance from a point to the first surface; inf where there is none."""
        start, hit = np.array(point) * MM, np.zeros(1, np.int32)
        found = mujoco.mj_ray(
            self._model, self._data, start, np.array(along, float), None, 1, -1, hit
        )
        return found / MM if found >= 0 else np.inf


def test_the_table_has_nine_rows_and_each_says_where_its_dimensions_are_from():
    assert named_plugs() == sorted(STATED) and len(STATED) == 9
    assert all(described_plug(plug_file(name)).description.source for name in STATED)


@every_plug
def test_the_compiled_pins_have_the_stated_dimensions(name):
    up, near = 200.0, 0.4
    probe, depth = Probe(name, up), max(pin[4] for pin in STATED[name])
    for x, y, width, height, length in STATED[name]:
        z = up + depth - length / 2
        if width is not None:
            for sign in (-1, 1):
                start = (x + sign * (width / 2 + near), y, z)
                assert probe.ray(start, (-sign, 0, 0)) == pytest.approx(near, abs=1e-6)
        if height is not None:
            for sign in (-1, 1):
                start = (x, y + sign * (height / 2 + near), z)
                assert probe.ray(start, (0, -sign, 0)) == pytest.approx(near, abs=1e-6)
        # The end is rounded, so its lowest point may be anywhere below the pin.
        half = np.array([width or height, height or width], float) / 2
        grid = np.linspace(-1, 1, 81)[1:-1]
        below = up + depth - length - 5
        points = [(x + half[0] * a, y + half[1] * b, below) for a in grid for b in grid]
        assert min(probe.ray(p, (0, 0, 1)) for p in points) == pytest.approx(5, abs=0.02)


@every_plug
def test_the_compiled_socket_is_wider_by_the_stated_clearance(name):
    probe, clearance = Probe(name, 200.0), CLEARANCE.get(name, 0.2)
    for x, y, width, height, _ in STATED[name]:
        for size, axis in ((width, 0), (height, 1)):
            for sign in (-1, 1):
                if size is not None:
                    along = (sign, 0, 0) if axis == 0 else (0, sign, 0)
                    found = probe.ray((x, y, -3.0), along)
                    assert found == pytest.approx(size / 2 + clearance, abs=1e-6)


def test_a_round_peg_can_move_as_far_as_its_clearance_in_every_direction():
    model, data = wrist_model(nominal("metal_peg_round")), None
    for angle in np.linspace(0, 2 * np.pi, 32, endpoint=False):
        for factor, expected in ((0.97, False), (1.04, True)):
            data = mujoco.MjData(model)
            offset = factor * 0.1 * MM
            data.qpos[:3] = [offset * np.cos(angle), offset * np.sin(angle), -8 * MM]
            mujoco.mj_forward(model, data)
            assert (data.ncon > 0) == expected, angle


@every_plug
def test_training_never_draws_a_plug_as_long_as_one_of_the_table(name):
    """The rule of the split: bands of the length are held out, and every plug of the table lies in
    one."""
    depth = described_plug(plug_file(name)).plug.depth / MM
    assert sum(low < depth < high for low, high in HELD_OUT) == 1
    unit = 2 * (depth - LENGTHS[0]) / (LENGTHS[1] - LENGTHS[0]) - 1
    assert any(low < unit < high for low, high in BROAD[SHAPE[0]].held_out)


def test_no_plug_that_training_draws_is_one_of_the_table():
    rng = np.random.default_rng(0)
    table = [described_plug(plug_file(name)).plug for name in STATED]
    for task in BROAD.sample(600, rng, "train"):
        drawn = task_plug(task)
        assert not any(low <= drawn.depth / MM <= high for low, high in HELD_OUT)
        assert all(abs(drawn.depth - plug.depth) > 0.3 * MM for plug in table)
    # The held-out side of the same rule lies there.
    for task in BROAD.sample(60, rng, "held_out"):
        depth = task_plug(task).depth / MM
        assert any(low <= depth <= high for low, high in HELD_OUT)


def test_no_run_trains_on_a_plug_of_the_table():
    space = family(str(plug_file("us_ac"))).space
    with pytest.raises(TaskSpaceError, match="is for tests alone"):
        space.sample(1, np.random.default_rng(0), "train")
    first, again = (space.sample(9, np.random.default_rng(1), "held_out") for _ in range(2))
    assert all((a.values == b.values).all() for a, b in zip(first, again, strict=True))


def test_one_roll_out_takes_the_whole_table_and_each_can_be_inserted():
    tasks = [
        task
        for name in STATED
        for task in plug_space(plug_file(name)).sample(2, np.random.default_rng(3), "held_out")
    ]
    worlds, script = InsertionWorlds(len(tasks), 0), Privileged()
    worlds.assign(tasks)
    worlds.reset(np.ones(len(tasks), bool))
    won = np.zeros(len(tasks), bool)
    done = won.copy()
    while not done.all():
        step = worlds.step(script.act(worlds))
        won |= step.success & ~done
        done |= step.done
    worlds.close()
    assert won.all(), [tasks[i].choice("family") for i in np.flatnonzero(~won)]

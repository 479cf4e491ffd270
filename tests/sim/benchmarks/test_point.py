"""Point-sparse: its geometry, its two rewards, its ceiling, its fixed tasks."""

import math

import numpy as np
import pytest

from sim.benchmarks.point import (
    CIRCLE,
    FACTORS,
    GOAL_RADIUS,
    HORIZON,
    SPACE,
    STEP,
    PointWorlds,
    Privileged,
    Wander,
    goal,
    task_factors,
)
from sim.core.family import UniformActions
from sim.core.parameter import TaskSpaceError
from sim.core.registry import family


def started(tasks):
    worlds = PointWorlds(len(tasks), 0)
    worlds.assign(tasks)
    worlds.reset(np.ones(len(tasks), bool))
    return worlds


def test_goals_lie_on_the_upper_half_circle():
    goals = np.array([goal(t) for t in SPACE.sample(200, np.random.default_rng(0), "all")])
    assert np.allclose(np.linalg.norm(goals, axis=1), CIRCLE) and (goals[:, 1] >= 0).all()
    assert goals[:, 0].min() < -0.9 and goals[:, 0].max() > 0.9


def test_a_step_moves_by_a_tenth_along_each_axis():
    worlds = started([SPACE.task()] * 2)
    step = worlds.step(np.array([[1.0, -1.0], [0.5, 0.0]]))
    assert np.allclose(step.observation, [[STEP, -STEP], [0.5 * STEP, 0.0]])


@pytest.mark.parametrize(
    ("distance", "measured"),
    [(0.0, 1.0), (0.15, 0.85), (GOAL_RADIUS - 1e-9, 0.8), (GOAL_RADIUS + 1e-9, 0.0), (0.7, 0.0)],
)
def test_critics_see_the_distance_and_the_context_only_what_lies_within_the_radius(
    distance, measured
):
    worlds = started([SPACE.task(angle=math.pi / 3)])
    worlds.position[:] = goal(SPACE.task(angle=math.pi / 3)) * (CIRCLE - distance) / CIRCLE
    step = worlds.step(np.zeros((1, 2)))
    assert step.reward[0] == pytest.approx(-distance, abs=1e-6)
    assert step.measured_reward[0] == pytest.approx(measured, abs=1e-6)
    assert step.success[0] == (measured > 0) and step.discount[0] == 1


def test_nothing_but_time_ends_an_episode():
    worlds, script = started([SPACE.task()]), Privileged()
    ends = [worlds.step(script.act(worlds)) for _ in range(HORIZON)]
    assert [bool(s.done[0]) for s in ends] == [False] * (HORIZON - 1) + [True]
    assert ends[-1].truncated[0] and ends[-1].success[0]


def test_a_policy_that_knows_the_goal_reaches_the_ceiling():
    tasks = [SPACE.task(angle=math.pi / 4), *SPACE.sample(50, np.random.default_rng(0), "all")]
    worlds, script = started(tasks), Privileged()
    steps = [worlds.step(script.act(worlds)) for _ in range(HORIZON)]
    measured = np.sum([s.measured_reward for s in steps], axis=0)
    # Across, seven steps lead to within 0.7 · 0.1 · √2 of it, and the eighth onto it.
    left = [math.sqrt(2) * (math.sqrt(0.5) - 0.1 * n) for n in (6, 7)]
    assert measured[0] == pytest.approx(13 + sum(1 - d for d in left), abs=1e-5)
    # Along an axis it takes ten, of which the ninth and perhaps the eighth end within the radius.
    assert (measured > 11.8).all() and (measured <= measured[0] + 1e-5).all()


def test_a_replay_starts_with_walks_of_which_some_find_the_goal():
    worlds = started(SPACE.sample(400, np.random.default_rng(0), "all"))
    everyone = np.ones(400, bool)
    for script, low, high in (
        (UniformActions(worlds, np.random.default_rng(1)), 0.0, 0.02),
        (Wander(worlds, np.random.default_rng(1)), 0.03, 0.2),
    ):
        found = np.zeros(400, bool)
        observation = worlds.reset(everyone)
        script.begin(everyone)
        for _ in range(HORIZON):
            step = worlds.step(script.act(observation))
            observation, found = step.observation, found | step.success
        assert low <= found.mean() < high


def test_every_world_walks_a_way_of_its_own_until_its_next_episode():
    worlds = started([SPACE.task()] * 400)
    script = Wander(worlds, np.random.default_rng(1))
    script.begin(np.ones(400, bool))
    before = script._direction.copy()
    assert np.linalg.norm(before, axis=1) == pytest.approx(np.ones(400))
    assert len(np.unique(before, axis=0)) == 400
    script.begin(np.arange(400) < 200)
    assert (script._direction[:200] != before[:200]).all()
    assert (script._direction[200:] == before[200:]).all()


def test_the_sets_are_the_papers_and_always_the_same():
    def angles(seed, n, split):
        return sorted(t["angle"] for t in SPACE.sample(n, np.random.default_rng(seed), split))

    for split, n in (("train", 80), ("held_out", 20)):
        assert angles(0, n, split) == angles(1, n, split)
        assert len(set(angles(0, n, split))) == n
    assert not set(angles(0, 80, "train")) & set(angles(0, 20, "held_out"))


def test_factors_are_the_goal_in_metres():
    task = SPACE.task(angle=1.0)
    physical = task_factors(task) * [f.scale for f in FACTORS] + [f.offset for f in FACTORS]
    assert physical == pytest.approx([math.cos(1.0), math.sin(1.0)])
    assert family("point-sparse").judged_by == "return"


def test_no_choice_is_unseen_here():
    assert SPACE.holds_out("held_out") and not SPACE.holds_out("unseen_choice")
    with pytest.raises(TaskSpaceError, match="angle = 4 rad is outside"):
        SPACE.task(angle=4.0)

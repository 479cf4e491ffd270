"""Every family keeps Gymnasium's contracts, alone and as a batch."""

import sys
import warnings
from types import ModuleType
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from adapt.errors import AcclimateError
from sim import gym
from sim.core.parameter import Parameter
from sim.core.registry import FAMILIES, family
from sim.core.task_space import Task, TaskSpace
from sim.insertion.scripted import Privileged
from sim.insertion.space import task_factors

INSERTION = gym.env_id("insertion")
WORLDS = 3


@pytest.fixture(params=sorted(FAMILIES))
def name(request):
    return request.param


@pytest.fixture
def make():
    """Environments that are closed when the test ends."""
    made = []

    def make(maker, *args, **kwargs):
        made.append(maker(*args, **kwargs))
        return made[-1]

    yield make
    for env in made:
        env.close()


def single(make, name="insertion", **kwargs):
    return make(gymnasium.make, gym.env_id(name), **kwargs)


def vector(make, name="insertion", num_envs=WORLDS, **kwargs):
    return make(gymnasium.make_vec, gym.env_id(name), num_envs=num_envs, **kwargs)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("insertion", "acclimate/Insertion-v0"), ("point-sparse", "acclimate/PointSparse-v0")],
)
def test_ids_are_camel_case(name, expected):
    assert gym.env_id(name) == expected


def test_gymnasiums_own_checker_finds_nothing(make, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(single(make, name).unwrapped)


def test_spaces_are_the_specs(make, name):
    spec, env = family(name).spec, single(make, name)
    assert env.observation_space.shape == (spec.observation_size,)
    start = 0
    for field in spec.observation:
        stop = start + field.size
        assert (env.observation_space.low[start:stop] == np.float32(field.low)).all()
        assert (env.observation_space.high[start:stop] == np.float32(field.high)).all()
        start = stop
    assert env.action_space == gymnasium.spaces.Box(-1, 1, (spec.action_size,), np.float32)


def test_a_vector_environment_keeps_the_vector_contract(make, name):
    env = vector(make, name)
    spec = family(name).spec
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert env.observation_space == gymnasium.vector.utils.batch_space(
        env.single_observation_space, WORLDS
    )
    assert env.action_space.shape == (WORLDS, spec.action_size)
    observation, info = env.reset(seed=3)
    assert env.observation_space.contains(observation)
    assert info["factors"].shape == (WORLDS, len(spec.factors))
    assert info["success"].dtype == bool and not info["success"].any()
    env.action_space.seed(3)
    returned = [observation, *info.values()]
    for _ in range(3):
        action = env.action_space.sample()
        observation, reward, terminated, truncated, info = env.step(action)
        assert env.observation_space.contains(observation)
        assert reward.shape == terminated.shape == truncated.shape == (WORLDS,)
        assert terminated.dtype == truncated.dtype == bool
        returned += [observation, reward, *(v for v in info.values() if v.dtype != object)]
    for i, one in enumerate(returned):
        assert not any(np.shares_memory(one, other) for other in returned[:i])


def test_the_same_seed_gives_the_same_numbers_and_another_gives_others(make, name):
    env = vector(make, name)

    def trace(seed):
        parts = [env.reset(seed=seed)[0]]
        env.action_space.seed(0)
        for _ in range(3):
            observation, reward, *_, info = env.step(env.action_space.sample())
            parts += [observation, reward[:, None], info["factors"]]
        return np.concatenate(parts, axis=1)

    first = trace(1)
    assert (trace(1) == first).all()
    assert (trace(2) != first).any()


def test_one_world_alone_does_what_it_does_in_a_batch_of_one(make):
    alone, batch = single(make), vector(make, num_envs=1, threads=1)
    a, _ = alone.reset(seed=5)
    b, _ = batch.reset(seed=5)
    assert (a == b[0]).all()
    for _ in range(5):
        action = alone.action_space.sample()
        a, reward, *_, info = alone.step(action)
        b, rewards, *_, infos = batch.step(action[None])
        assert (a == b[0]).all() and reward == rewards[0]
        assert (info["factors"] == infos["factors"][0]).all()


def test_an_episode_ends_within_its_step_and_the_next_is_on_the_same_task(make):
    env = vector(make)
    env.reset(seed=0)
    tasks, factors = list(env.tasks), env.worlds.factors().copy()
    script, ends = Privileged(), np.zeros(WORLDS, int)
    heights = np.full(WORLDS, np.nan)
    for _ in range(60):
        observation, reward, terminated, truncated, info = env.step(script.act(env.worlds))
        done = terminated | truncated
        assert ("final_obs" in info) == done.any()
        if not done.any():
            continue
        assert (info["_final_obs"] == done).all() and (info["_final_info"] == done).all()
        for world in np.flatnonzero(done):
            # The old episode ends deep in the socket, the new one starts above it.
            assert info["final_obs"][world][2] < -0.01 < 0.0 < observation[world][2]
            heights[world] = observation[world][2]
        assert (info["final_info"]["success"] == terminated).all()
        assert (info["final_info"]["_success"] == done).all()
        assert (reward[terminated] > 5).all() and not info["success"].any()
        ends += done
    assert (ends >= 1).all()
    assert env.tasks == tasks and (env.worlds.factors() == factors).all()


def test_running_out_of_time_is_truncation_not_termination(make):
    env = single(make)
    env.reset(seed=0)
    for period in range(1, family("insertion").spec.horizon + 1):
        *_, terminated, truncated, _ = env.step(np.zeros(4, np.float32))
        assert not terminated
        assert truncated == (period == family("insertion").spec.horizon)


def test_a_diverged_world_is_cut_off_without_reward(make):
    env = single(make).unwrapped  # the state is no longer one that a checker would accept
    env.reset(seed=0)
    env.worlds.sim.qvel[0, 0] = 1e9
    _, reward, terminated, truncated, info = env.step(np.zeros(4, np.float32))
    assert info["diverged"] and truncated and not terminated and reward == 0


def test_reset_takes_a_task_a_mapping_or_a_split(make):
    env = single(make)
    space = family("insertion").space
    task = space.task(family="peg_round", socket_x=1e-3)
    env.reset(seed=0, options={"task": task})
    assert (env.unwrapped.task.values == task.values).all()
    _, info = env.reset(options={"task": {"family": "peg_round", "socket_x": 1e-3}})
    assert (env.unwrapped.task.values == task.values).all()
    assert np.allclose(info["factors"], task_factors(task))
    env.reset(options={"split": "unseen_choice"})
    assert env.unwrapped.task.choice("family") in space["family"].unseen
    held = single(make, split="held_out")
    held.reset(seed=0)
    assert space["size"]._in_band(space["size"].to_unit(np.array([held.unwrapped.task["size"]])))


def test_a_batch_takes_one_task_for_all_or_one_each(make):
    env, space = vector(make), family("insertion").space
    each = space.sample(WORLDS, np.random.default_rng(0))
    env.reset(seed=0, options={"task": each})
    assert all((a.values == b.values).all() for a, b in zip(env.tasks, each, strict=True))
    env.reset(options={"task": {"family": "peg_rect"}})
    assert [t.choice("family") for t in env.tasks] == ["peg_rect"] * WORLDS


OTHER = TaskSpace("other", (Parameter("mass", "kg", 0, 1),))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"taks": 1}, r"\['taks'\] are unknown; there are \['split', 'task'\]"),
        ({"split": "test"}, "no split 'test'; there are .*held_out"),
        ({"task": {"sise": 0}}, "has no 'sise'; it has .*size"),
        ({"task": {"size": 2.0}}, r"insertion\.size = 2"),
        ({"task": 3}, "expected a Task or a mapping of values by name, got int"),
        ({"task": "peg_round"}, "expected a Task or a mapping of values by name, got str"),
        ({"task": [{}, {}]}, "1 worlds need as many tasks, got 2"),
        ({"task": OTHER.task()}, "a task of 'other', expected one of 'insertion'"),
    ],
)
def test_reset_refuses_options_that_make_no_sense(make, options, message):
    env = single(make)
    with pytest.raises(AcclimateError, match=message):
        env.reset(seed=0, options=options)


def test_a_task_of_wider_ranges_is_checked_against_these(make):
    space = family("insertion").space
    wide = [
        Parameter(p.name, p.unit, p.low - 1, p.high + 1, nominal=p.nominal)
        for p in space.parameters
    ]
    values = np.array([p.nominal for p in space.parameters])
    values[space.index("socket_x")] = 0.5
    with pytest.raises(AcclimateError, match=r"socket_x = 0\.5 m is outside"):
        single(make).reset(options={"task": Task(TaskSpace("wide", tuple(wide)), values)})


def test_construction_refuses_what_there_is_not():
    with pytest.raises(AcclimateError, match="no task family 'walking'"):
        gym.FamilyEnv("walking")
    with pytest.raises(AcclimateError, match="no split 'test'"):
        gym.FamilyEnv("insertion", split="test")  # pyright: ignore[reportArgumentType]
    with pytest.raises(AcclimateError, match="num_envs must be at least 1, got 0"):
        gym.FamilyVectorEnv("insertion", 0)


def test_a_step_before_reset_and_an_action_of_the_wrong_shape_are_refused(make):
    env = vector(make)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros((WORLDS, 4), np.float32))
    env.reset(seed=0)
    with pytest.raises(AcclimateError, match=r"shape \(3, 5\), expected \(3, 4\)"):
        env.step(np.zeros((WORLDS, 5), np.float32))


def test_registering_twice_changes_nothing():
    before = dict(gymnasium.registry)
    gym.register()
    assert gymnasium.registry == before
    assert INSERTION in before


class Clip:
    """Stands in for moviepy, which RecordVideo writes its films with; notes what they hold."""

    made: ClassVar[list[Any]] = []

    def __init__(self, frames: list[np.ndarray], fps: int) -> None:
        self.frames, self.fps = frames, fps
        self.made.append(self)

    def write_videofile(self, path: str, **options: object) -> None:
        """Nothing is encoded."""


def test_a_world_is_drawn_and_recorded_as_a_film(name, tmp_path, monkeypatch):
    for package in ("moviepy", "moviepy.video", "moviepy.video.io"):
        monkeypatch.setitem(sys.modules, package, ModuleType(package))
    clips = ModuleType("ImageSequenceClip")
    monkeypatch.setattr(clips, "ImageSequenceClip", Clip, raising=False)
    monkeypatch.setitem(sys.modules, "moviepy.video.io.ImageSequenceClip", clips)
    env = gymnasium.make(gym.env_id(name), render_mode="rgb_array", max_episode_steps=3)
    env = gymnasium.wrappers.RecordVideo(env, str(tmp_path / "films"), disable_logger=True)
    env.reset(seed=0)
    for _ in range(3):
        env.step(env.action_space.sample())
    env.close()
    film = Clip.made[-1]
    assert len(film.frames) == 4
    assert film.fps == round(1 / family(name).spec.control_period)
    assert {f.shape for f in film.frames} == {(480, 480, 3)}
    assert {f.dtype for f in film.frames} == {np.dtype(np.uint8)}
    assert (film.frames[0] != film.frames[-1]).any()


def test_a_batch_draws_each_of_its_worlds():
    env: Any = gymnasium.make_vec(INSERTION, num_envs=2, render_mode="rgb_array")
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.render()
    env.reset(seed=0, options={"task": [{"family": "peg_round"}, {"family": "nema_5_15"}]})
    one, other = env.render()
    assert one.shape == other.shape == (480, 480, 3)
    assert (one != other).any()
    assert env.metadata["render_fps"] == 20
    env.close()


def test_nothing_is_drawn_without_a_render_mode_and_no_other_mode_is_taken(make):
    env = single(make)
    env.reset(seed=0)
    assert env.render() is None
    with pytest.raises(AcclimateError, match="no render_mode 'human'"):
        gym.FamilyEnv("insertion", render_mode="human")
    with pytest.raises(AcclimateError, match=r"no pictures"):
        gym.FamilyEnv("tests.support.toy_worlds:FAMILY", render_mode="rgb_array")

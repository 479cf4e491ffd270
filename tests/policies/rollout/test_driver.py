"""The driver: arrays of a wrong shape or with numbers that are not finite never reach a replay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from adapt.errors import AcclimateError
from policies.algorithms.contract import Action, Agent
from policies.rollout.driver import RollOut
from policies.rollout.episodes import collect_episodes
from policies.rollout.trajectories import TrajectoryRecorder, collect_run
from policies.training.cli import train
from sim.core.family import Family
from sim.core.worlds import Step
from tests.support.random_search import SearchSettings
from tests.support.toy_worlds import SPACE, SPEC, ToyWorlds


class Still(Agent):
    """Does nothing, and notes what it is told."""

    def __init__(self, worlds: int) -> None:
        super().__init__(worlds, torch.Generator())
        self.told: list[tuple[str, list[bool]]] = []

    def begin_episode(self, which: np.ndarray) -> None:
        self.told.append(("begin", which.tolist()))

    def end_episode(self, which: np.ndarray, complete: np.ndarray) -> None:
        self.told.append(("end", which.tolist()))

    def act(self, observation, stochastic, latent=None) -> Action:
        return Action(np.zeros((self.worlds, 1), np.float32))


class Noted(Still):
    """Moves by random steps."""

    def act(self, observation, stochastic, latent=None) -> Action:
        drawn = torch.rand(self.worlds, 1, generator=self.generator)
        return Action(drawn.numpy() - 0.5)


def test_a_roll_out_goes_on_where_it_stopped() -> None:
    def met(*pieces: int) -> tuple[np.ndarray, list]:
        worlds = ToyWorlds(3, 0)
        worlds.assign(SPACE.sample(3, np.random.default_rng(0)))
        agent, found = Noted(3), []
        agent.generator.manual_seed(0)
        rolling = RollOut(worlds, agent)
        for steps in pieces:
            recorder = TrajectoryRecorder(worlds, np.zeros(3, int), steps, single=False)
            rolling.run(recorder, True)
            found.append(recorder.run.observation)
        return np.concatenate(found, 1), agent.told

    # A piece may end within an episode, with one, and after one step.
    (whole, told), (pieces, same) = met(17), met(3, 2, 1, 11)
    assert np.array_equal(whole, pieces) and told == same
    assert told[0] == ("begin", [True] * 3) and len(told) > 6


class BrokenWorlds(ToyWorlds):
    """One number of world 1 is no number in the third step. diverged: whether it says so."""

    field, diverged = "reward", False

    def step(self, action: np.ndarray) -> Step:
        step = super().step(action)
        if self.calls != 3:
            return step
        values = np.array(getattr(step, self.field))
        values[1] = np.nan
        diverged = np.arange(self.worlds) == (1 if self.diverged else -1)
        return replace(step, **{self.field: values}, diverged=diverged)


class BrokenStart(ToyWorlds):
    def reset(self, which: np.ndarray) -> np.ndarray:
        observation = super().reset(which)
        observation[0] = np.inf
        return observation


class NarrowStart(ToyWorlds):
    def reset(self, which: np.ndarray) -> np.ndarray:
        return super().reset(which)[:, :-1]


class NarrowStep(ToyWorlds):
    def step(self, action: np.ndarray) -> Step:
        step = super().step(action)
        return replace(step, reward=step.reward[:, None])


def made(kind: type[ToyWorlds], worlds: int = 2, seed: int = 0, threads: int = 1) -> ToyWorlds:
    found = kind(worlds, seed, threads)
    found.assign([SPACE.task(goal=1.0)] * worlds)
    return found


@pytest.mark.parametrize(
    ("field", "named"),
    [
        ("reward", "reward of world 1 is nan after 3 control periods"),
        ("measured_reward", "measured_reward of world 1 is nan after 3"),
        ("observation", r"observation position\[0\] of world 1 is nan after 3"),
    ],
)
def test_a_number_that_is_not_finite_names_world_step_and_field(field: str, named: str) -> None:
    worlds = made(BrokenWorlds)
    worlds.field = field  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(AcclimateError, match=f"family toy: {named}"):
        collect_run(worlds, Still(2), np.arange(2), 5)


def test_a_start_that_is_not_finite_is_named() -> None:
    with pytest.raises(AcclimateError, match=r"position\[0\] of world 0 is inf after 0"):
        collect_run(made(BrokenStart), Still(2), np.arange(2), 5)


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (NarrowStart, r"observation has shape \(2, 0\) after 0 .*; expected \(2, 1\)"),
        (NarrowStep, r"reward has shape \(2, 1\) after 1 .*; expected \(2,\)"),
    ],
)
def test_an_array_of_another_shape_is_named(kind: type[ToyWorlds], named: str) -> None:
    with pytest.raises(AcclimateError, match=f"family toy: {named}"):
        collect_run(made(kind), Still(2), np.arange(2), 5)


def test_where_the_physics_failed_nothing_need_be_finite() -> None:
    worlds = made(BrokenWorlds)
    worlds.diverged = True  # pyright: ignore[reportAttributeAccessIssue]
    run, _ = collect_run(worlds, Still(2), np.arange(2), 5)
    assert np.isfinite(run.reward).all() and run.valid[1].tolist() == [1, 1, 0, 1, 1]


FAMILY = Family(SPACE, SPEC, lambda n, s, t: BrokenWorlds(n, s, t), lambda task: np.zeros(1))


@pytest.mark.usefixtures("installed")
def test_a_training_on_such_a_family_ends_before_it_has_learnt_from_it(tmp_path: Path) -> None:
    settings = SearchSettings("broken", tmp_path / "run", family=f"{__name__}:FAMILY", threads=1)
    with pytest.raises(AcclimateError, match="reward of world 1 is nan after 3 control periods"):
        train(settings)
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_worlds_that_have_done_their_part_step_on_and_are_told_nothing() -> None:
    worlds, agent = made(ToyWorlds, 3), Still(3)
    worlds.goal[:] = [0.0, 5.0, 5.0]  # the first is there at once
    met = collect_episodes(worlds, agent)
    assert met.mask.sum(1).tolist() == [1, SPEC.horizon, SPEC.horizon]
    assert met.success.tolist() == [True, False, False]
    assert agent.told == [
        ("begin", [True, True, True]),
        ("end", [True, False, False]),
        ("end", [False, True, True]),
    ]

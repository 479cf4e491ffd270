"""PearlAgent adapts B worlds as adapt's GaussianAdapter does one robot."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from adapt.adapters.base import Adapter, Transition
from adapt.adapters.registry import make_adapter
from adapt.bundle.policy_bundle import PolicyBundle
from policies.algorithms.contract import Transition as Transitions
from policies.algorithms.pearl.agent import PearlAgent, PearlPolicy
from policies.algorithms.pearl.config import PearlConfig
from tests.support import tiny_bundle

N_O, N_A, N_Z, CAPACITY, HOLD, WORLDS = 6, 3, 2, 8, 4, 3


class Dense(nn.Module):
    """tiny_bundle's graphs in torch: one product for each output."""

    def __init__(self, graph: bytes) -> None:
        super().__init__()
        parts = onnx.load_from_string(graph).graph.initializer
        self.part = {p.name: torch.from_numpy(numpy_helper.to_array(p).copy()) for p in parts}


class TinyActor(Dense):
    def forward(self, observation: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.cat([observation, latent], -1)
        return x @ self.part["weight"], torch.tanh(x @ self.part["spread"])


class TinyEncoder(Dense):
    def forward(self, transition: Tensor) -> tuple[Tensor, Tensor]:
        variance = nn.functional.softplus(transition @ self.part["spread"]) + self.part["floor"]
        return transition @ self.part["weight"], -variance.log()


@pytest.fixture
def make(tmp_path):
    """An agent, and one robot's adapter per world, of the same networks."""

    def make(hold=HOLD, seed=0, exploration=1.0) -> tuple[PearlAgent, list[Adapter]]:
        sizes: dict[str, Any] = {"observation_size": N_O, "action_size": N_A, "latent_size": N_Z}
        sizes |= {"hold": hold, "capacity": CAPACITY}
        path = tmp_path / f"tiny{len(list(tmp_path.iterdir()))}"
        bundle = PolicyBundle.load(tiny_bundle.write(path, **sizes))
        graphs = tiny_bundle.build(**sizes)[1]
        policy = PearlPolicy(
            TinyActor(graphs["policy"]),  # pyright: ignore[reportArgumentType]
            TinyEncoder(graphs["encoder"]),  # pyright: ignore[reportArgumentType]
            N_Z,
            PearlConfig(capacity=CAPACITY, hold=hold, exploration=exploration),
        )
        batch = policy.agent(WORLDS, torch.Generator().manual_seed(seed))
        robots = [make_adapter(bundle, w) for w in range(WORLDS)]
        for robot in robots:
            robot.begin_episode()
        return batch, robots

    return make


def transition(rng, reward=None):
    """One period of all worlds, and the same as the robots' transitions."""
    o, following = rng.uniform(-1, 1, (2, WORLDS, N_O)).astype(np.float32)
    a = rng.uniform(-1, 1, (WORLDS, N_A)).astype(np.float32)
    r = rng.uniform(0, 1, WORLDS).astype(np.float32)
    rows = Transitions(o, a, r, following, np.zeros(WORLDS, bool))
    each = [Transition(o[w], a[w], float(r[w]), following[w]) for w in range(WORLDS)]
    return rows, each


def observe(batch, robots, rng, which=None):
    which = np.ones(WORLDS, bool) if which is None else which
    rows, each = transition(rng)
    batch.observe(rows, which)
    for robot, one, use in zip(robots, each, which, strict=True):
        if use:
            robot.observe(one)


def beliefs(batch):
    belief = batch.belief()
    return belief.mean, belief.variance


def agree(batch, robots):
    mean, variance = beliefs(batch)
    for w, robot in enumerate(robots):
        assert np.allclose(mean[w], robot.belief.mean, atol=1e-5)
        assert np.allclose(variance[w], robot.belief.variance, atol=1e-5)


def everyone():
    return np.ones(WORLDS, bool)


def test_the_belief_is_the_robots_through_and_beyond_a_full_context(make):
    batch, robots = make()
    rng = np.random.default_rng(0)
    agree(batch, robots)
    for _ in range(3 * CAPACITY + 1):
        observe(batch, robots, rng)
        agree(batch, robots)
    assert (beliefs(batch)[1] < 0.9).all()


def test_worlds_whose_step_is_not_valid_do_not_learn_from_it(make):
    batch, robots = make()
    rng = np.random.default_rng(1)
    for _ in range(2 * CAPACITY):
        observe(batch, robots, rng, rng.random(WORLDS) < 0.6)
        agree(batch, robots)
    before = beliefs(batch)
    nan = np.full((WORLDS, N_O), np.nan, np.float32)
    batch.observe(replace(transition(rng)[0], observation=nan), ~everyone())
    for a, b in zip(before, beliefs(batch), strict=True):
        assert (a == b).all()


def test_a_frozen_belief_stays_as_it_was_and_thaws(make):
    batch, robots = make()
    rng = np.random.default_rng(2)
    for period in range(12):
        frozen = 3 <= period < 7
        batch.adapting[1] = robots[1].adapting = not frozen
        before = beliefs(batch)[0][1].clone()
        observe(batch, robots, rng)
        agree(batch, robots)
        assert (beliefs(batch)[0][1] == before).all() == frozen


def test_forgetting_brings_back_the_prior_in_the_worlds_named_alone(make):
    batch, robots = make()
    rng = np.random.default_rng(3)
    for _ in range(CAPACITY + 2):
        observe(batch, robots, rng)
    batch.reset(np.array([False, True, False]), np.zeros((WORLDS, N_Z), np.float32))
    robots[1].reset()
    robots[1].begin_episode()
    agree(batch, robots)
    mean, variance = beliefs(batch)
    assert (mean[1] == 0).all() and (variance[1] == 1).all() and (variance[0] < 1).all()
    for _ in range(CAPACITY + 2):
        observe(batch, robots, rng)
        agree(batch, robots)


def renewals(latents: list[np.ndarray]) -> list[bool]:
    """At which periods the latent was another than before; the first is one."""
    pairs = zip([None, *latents[:-1]], latents, strict=True)
    return [a is None or bool((a != b).any()) for a, b in pairs]


@pytest.mark.parametrize("hold", [0, 1, HOLD])
def test_latents_are_drawn_when_the_robot_draws_them(make, hold):
    batch, robots = make(hold)
    rng = np.random.default_rng(4)
    mine: list[list[np.ndarray]] = [[] for _ in range(WORLDS)]
    theirs: list[list[np.ndarray]] = [[] for _ in range(WORLDS)]
    # World 1's episode ends early: its count of periods begins anew, and the others' do not.
    for period in range(13):
        if period == 6:
            batch.begin_episode(np.array([False, True, False]))
            robots[1].end_episode()
            robots[1].begin_episode()
        o = rng.uniform(-1, 1, (WORLDS, N_O)).astype(np.float32)
        batch.act(o, stochastic=False)
        for w, robot in enumerate(robots):
            theirs[w].append(robot.act(o[w]).latent.copy())
            mine[w].append(batch.latent[w].numpy().copy())
        observe(batch, robots, rng)
    for w in range(WORLDS):
        assert renewals(mine[w]) == renewals(theirs[w])
    expected = [p == 0 or bool(hold and p % hold == 0) for p in range(13)]
    assert renewals(mine[0]) == expected


def test_actions_are_the_robots_for_the_same_latent(make):
    batch, robots = make()
    o = np.random.default_rng(5).uniform(-1, 1, (WORLDS, N_O)).astype(np.float32)
    answers = [robot.act(o[w]) for w, robot in enumerate(robots)]
    batch.act(o, stochastic=False)
    latents = torch.from_numpy(np.stack([a.latent for a in answers]))
    mine = batch.act(o, False, latents).normalised
    assert mine.dtype == np.float32
    assert np.allclose(mine, np.stack([a.normalised for a in answers]), atol=1e-6)


def test_actions_are_drawn_in_the_worlds_named_alone(make):
    batch, _ = make(0)
    o = np.tile(np.random.default_rng(6).uniform(-1, 1, N_O), (WORLDS, 1)).astype(np.float32)
    drawn = [batch.act(o, np.array([False, True, False])).normalised for _ in range(4)]
    mean = batch.act(o, stochastic=False).normalised
    for one in drawn:
        assert (one[[0, 2]] == mean[[0, 2]]).all() and (one[1] != mean[1]).all()
    assert (batch.act(o, stochastic=True).normalised != mean).all()


def test_latents_are_samples_of_the_belief(make):
    batch, robots = make(1)
    rng = np.random.default_rng(7)
    for _ in range(CAPACITY):
        observe(batch, robots, rng)
    mean, variance = beliefs(batch)
    o = np.zeros((WORLDS, N_O), np.float32)
    drawn = []
    for _ in range(3000):
        batch.act(o, stochastic=False)
        drawn.append(batch.latent.numpy().copy())
    error = (np.mean(drawn, axis=0) - mean.numpy()) / np.sqrt(variance.numpy() / len(drawn))
    assert (abs(error) < 4.5).all()
    assert np.allclose(np.var(drawn, axis=0), variance, rtol=0.15)


def test_exploration_scales_the_spread_and_none_acts_on_the_mean(make):
    spread = {}
    for exploration in (0.0, 1.0, 2.0):
        batch, robots = make(1, seed=3, exploration=exploration)
        observe(batch, robots, np.random.default_rng(8))
        batch.act(np.zeros((WORLDS, N_O), np.float32), stochastic=False)
        spread[exploration] = batch.latent - batch.belief().mean
    assert (spread[0.0] == 0).all() and (spread[1.0] != 0).all()
    assert torch.allclose(spread[2.0], 2 * spread[1.0], atol=1e-6)


def test_the_same_generator_gives_the_same_answers(make):
    o = np.zeros((WORLDS, N_O), np.float32)
    a, b, c = (make(seed=s)[0].act(o, stochastic=True).normalised for s in (1, 1, 2))
    assert (a == b).all() and (a != c).any()


def test_a_policy_without_a_latent_takes_no_notice_of_transitions():
    class Plain(nn.Module):
        def forward(self, observation: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
            return observation[:, :N_A], torch.zeros(len(observation), N_A)

    actor: object = Plain()
    policy = PearlPolicy(actor, None, 0, PearlConfig())  # pyright: ignore[reportArgumentType]
    batch = policy.agent(WORLDS, torch.Generator().manual_seed(0))
    rows, _ = transition(np.random.default_rng(0))
    batch.observe(rows, everyone())
    o = np.random.default_rng(0).uniform(-1, 1, (WORLDS, N_O)).astype(np.float32)
    assert np.allclose(batch.act(o, stochastic=False).normalised, np.tanh(o[:, :N_A]))
    assert batch.belief().mean.shape == (WORLDS, 0)


def test_a_restored_snapshot_answers_on_to_the_bit(make):
    batch, robots = make(2)
    rng = np.random.default_rng(9)
    for _ in range(CAPACITY + 3):
        observe(batch, robots, rng)
        batch.act(np.zeros((WORLDS, N_O), np.float32), stochastic=True)
    data, state = batch.snapshot(), rng.bit_generator.state
    answers = []
    for _ in range(2):
        batch.restore(data)
        rng.bit_generator.state = state
        for _ in range(5):
            observe(batch, robots, rng)
            answer = batch.act(np.zeros((WORLDS, N_O), np.float32), stochastic=True)
        answers.append(np.concatenate([answer.normalised, batch.belief().mean.numpy()], 1))
    assert (answers[0] == answers[1]).all()

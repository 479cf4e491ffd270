"""A job's result depends only on its fields and the networks, not on worker or history."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from policies.algorithms.pearl.agent import PearlPolicy
from policies.algorithms.pearl.config import PearlConfig
from policies.networks.modules import Actor, FactorEncoder
from policies.rollout.jobs import Collected, CollectJob, CollectPlan, JobRunner
from sim.core.registry import FAMILIES, family
from sim.core.task_space import Task

WORLDS, STEPS, LATENT = 3, 8, 4
CONFIG = PearlConfig(capacity=6, hold=2, exploration=1.0)


def plan(name: str) -> CollectPlan:
    return CollectPlan(name, WORLDS, STEPS)


def networks(name: str) -> PearlPolicy:
    spec = family(name).spec
    n_o, n_a = spec.observation_size, spec.action_size
    with torch.random.fork_rng():
        torch.manual_seed(0)
        # As wide as real ones: what a second thread would sum in another order.
        actor = Actor(n_o, LATENT, n_a, (256, 256))
        encoder = FactorEncoder(2 * n_o + n_a + 1, LATENT, (32,))
        return PearlPolicy(actor, encoder, LATENT, CONFIG)


def job(name: str, seed: int = 1, scripted: bool = False, worlds: int = WORLDS) -> CollectJob:
    tasks = family(name).space.sample(worlds, np.random.default_rng(seed), "train")
    mixed = np.arange(worlds) != 1
    values = np.stack([t.values for t in tasks])
    nobody = np.zeros(worlds, bool)
    return CollectJob((seed, 0), np.arange(worlds), values, mixed, nobody, ~mixed, scripted)


def same(one: Collected, other: Collected) -> bool:
    arrays = zip(vars(one[0]).values(), vars(other[0]).values(), strict=True)
    return one[1] == other[1] and all(np.array_equal(a, b) for a, b in arrays)


@pytest.mark.parametrize("name", FAMILIES)
def test_neither_the_jobs_before_nor_threads_change_a_run(name: str) -> None:
    """In every family: worlds that keep anything from one job to the next would be found here."""
    acting = networks(name)
    fresh, used = JobRunner(plan(name), 1), JobRunner(plan(name), 2)
    used.run(job(name, seed=2, scripted=True), acting)
    used.run(job(name, seed=3), acting)
    for scripted in (False, True):
        wanted = job(name, scripted=scripted)
        assert same(fresh.run(wanted, acting), used.run(wanted, acting))
    fresh.close()
    used.close()


def test_torchs_threads_change_nothing_and_are_left_as_they_were() -> None:
    runner, acting = JobRunner(plan("point-sparse"), 1), networks("point-sparse")
    found, before = [], torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(runner.run(job("point-sparse"), acting))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert same(*found)


def test_a_policy_that_was_sent_to_another_process_collects_the_same() -> None:
    runner, acting = JobRunner(plan("point-sparse"), 1), networks("point-sparse")
    sent = pickle.loads(pickle.dumps(acting))
    assert same(*(runner.run(job("point-sparse"), each) for each in (acting, sent)))


def test_everything_in_a_job_matters() -> None:
    runner, acting = JobRunner(plan("cheetah-vel"), 1), networks("cheetah-vel")
    first = job("cheetah-vel")
    expected = runner.run(first, acting)
    others = {
        "seed": replace(first, seed=(1, 1)),
        "values": replace(first, values=first.values[::-1]),
        "task": replace(first, task=first.task + 1),
        "adapting": replace(first, adapting=~first.adapting),
        "stochastic": replace(first, stochastic=~first.stochastic),
        "scripted": replace(first, scripted=True),
    }
    for name, other in others.items():
        assert not same(runner.run(other, acting), expected), name


# Points start all alike, so that only latents, actions and scripts differ; cheetahs do not.
@pytest.mark.parametrize("name", ["point-sparse", "cheetah-vel"])
@pytest.mark.parametrize("scripted", [False, True])
def test_no_two_worlds_or_shards_meet_the_same_noise(name: str, scripted: bool) -> None:
    runner, acting = JobRunner(plan(name), 1), networks(name)
    both = job(name, scripted=scripted, worlds=2 * WORLDS)
    everywhere = np.ones(2 * WORLDS, bool)
    one = both.values[:1].repeat(2 * WORLDS, axis=0)
    both = replace(both, values=one, stochastic=everywhere, adapting=everywhere)
    first, second = (runner.run(part, acting)[0] for part in both.cut(2))
    runs = [*first.action, *second.action]
    assert len({run.tobytes() for run in runs}) == 2 * WORLDS
    starts = [*first.observation[:, 0], *second.observation[:, 0]]
    assert len({start.tobytes() for start in starts}) == (
        1 if name == "point-sparse" else 2 * WORLDS
    )


def test_a_cut_keeps_every_world_once_and_in_order() -> None:
    whole = replace(job("point-sparse", worlds=12), told=np.arange(12) % 5 == 0)
    parts = whole.cut(4)
    assert [part.seed for part in parts] == [(1, 0, shard) for shard in range(4)]
    for name in ("task", "values", "adapting", "told", "stochastic"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        assert np.array_equal(joined, getattr(whole, name))


def test_a_world_told_the_truth_acts_on_it_and_others_are_unaffected() -> None:
    told = np.arange(WORLDS) == 2
    acting = PearlPolicy(Actor(2, 2, 2, (8,)), FactorEncoder(4 + 2 + 1, 2, (8,)), 2, CONFIG)
    runner = JobRunner(plan("point-sparse"), 1)
    # Two tasks whose truths differ, the rest alike.
    plain = replace(job("point-sparse"), told=told, stochastic=np.zeros(WORLDS, bool))
    other = replace(plain, values=plain.values + told[:, None] * 0.5)
    untold = [runner.run(replace(j, told=~told & told), acting)[0] for j in (plain, other)]
    one, two = (runner.run(j, acting)[0] for j in (plain, other))
    assert (one.action[2, 0] != two.action[2, 0]).any(), "its first action knows the task"
    assert (untold[0].action[2, 0] == untold[1].action[2, 0]).all()
    assert (one.action[~told] == untold[0].action[~told]).all()
    # By the policy's mean for that latent, in every period.
    truth = torch.tensor(
        family("point-sparse").factors(Task(family("point-sparse").space, plain.values[2]))
    )
    observation = torch.from_numpy(one.observation[2])
    with torch.no_grad():
        mean, _ = acting.actor(observation, truth.float().expand(len(observation), -1))
    assert one.action[2] == pytest.approx(np.tanh(mean.numpy()), abs=1e-6)

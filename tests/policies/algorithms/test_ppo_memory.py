"""PPO's memory: one state in collection, in the update and on a robot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from adapt.adapters.recurrent import RecurrentAdapter
from adapt.adapters.registry import make_adapter
from adapt.bundle.cli import main as bundle_command
from policies.algorithms.ppo.agent import RememberingAgent
from policies.algorithms.ppo.config import PpoConfig
from policies.algorithms.ppo.memory import Memory, Sequences
from policies.algorithms.ppo.rollout import RolloutRecorder, make_batch
from policies.export.exporter import export
from policies.export.parity import closed_loop
from policies.rollout.driver import RollOut
from policies.training.trainer import Trainer
from tests.policies.algorithms.test_ppo import LEARNER, learner_of, settings, success
from tests.support.toy_worlds import FAMILY, SPACE, ToyWorlds

HISTORY = replace(LEARNER, knowledge="history", reward_in_context=True, memory_size=6)


def memory_of(trainer: Trainer) -> Memory:
    memory = learner_of(trainer).memory
    assert memory is not None
    return memory


def test_one_pass_through_time_makes_the_states_of_single_steps() -> None:
    torch.manual_seed(0)
    memory, state = Memory(4, 5), torch.randn(3, 5)
    transitions = torch.randn(3, 7, 4)
    found = memory.states(state, transitions)
    for t in range(7):
        assert torch.allclose(found[:, t], state, atol=1e-6)
        state = memory(state, transitions[:, t])


def test_an_update_begins_with_the_states_that_the_actor_was_fed(tmp_path: Path) -> None:
    trainer = Trainer(settings(tmp_path, HISTORY))
    learner = learner_of(trainer)
    worlds = ToyWorlds(4, 0)
    worlds.diverge = {(1, 2), (1, 9)}
    worlds.assign(SPACE.sample(4, np.random.default_rng(0)))
    agent = learner.policy().agent(4, torch.Generator().manual_seed(0))
    recorder, rolling = RolloutRecorder(worlds, np.zeros(4, int), 14), RollOut(worlds, agent)
    for steps, left_out in ((6, 4), (8, 5)):
        piece = recorder.extend(steps)
        rolling.run(recorder, True)
        sequences = Sequences.of(recorder, piece, HISTORY)
        batch = make_batch(
            recorder, piece, torch.zeros(4, 1), learner.actor, learner.critic, HISTORY
        )
        with torch.no_grad():
            states = memory_of(trainer).states(sequences.start, sequences.transitions)
        learnt = sequences.row >= 0
        # World 1 teaches nothing after the step whose physics failed; the others everything.
        assert (~learnt).sum(1).tolist() == [0, left_out, 0, 0]
        fed = batch.rows[sequences.row[learnt]][:, 1:7]
        assert torch.allclose(states[learnt], fed, atol=1e-6)
        assert fed.abs().max() > 0.01


def test_gradients_go_back_through_time(tmp_path: Path) -> None:
    trainer = Trainer(settings(tmp_path, HISTORY))
    before = {k: v.clone() for k, v in memory_of(trainer).state_dict().items()}
    trainer.iterate()
    after = memory_of(trainer).state_dict()
    for name in ("cell.weight_ih_l0", "cell.weight_hh_l0"):
        assert not torch.equal(before[name], after[name])
    assert after["normaliser.count"] == 6 * 4 * 4


def test_a_new_task_clears_the_state_and_an_episode_does_not(tmp_path: Path) -> None:
    agent = Trainer(settings(tmp_path, HISTORY)).learner.policy().agent(2, torch.Generator())
    assert isinstance(agent, RememberingAgent)
    worlds = ToyWorlds(2, 0)
    worlds.assign(SPACE.sample(2, np.random.default_rng(0)))
    recorder = RolloutRecorder(worlds, np.zeros(2, int), 12)
    recorder.extend(12)
    RollOut(worlds, agent).run(recorder, True)
    state, kept = agent.fed().clone(), agent.snapshot()
    agent.begin_episode(np.array([True, True]))
    assert torch.equal(agent.fed(), state) and state.abs().min() > 0.0
    agent.reset(np.array([True, False]), worlds.factors())
    assert (agent.fed()[0] == 0.0).all() and torch.equal(agent.fed()[1], state[1])
    agent.restore(kept)
    assert torch.equal(agent.fed(), state)


def test_it_learns_to_find_a_goal_that_only_the_reward_tells(tmp_path: Path) -> None:
    config = PpoConfig(
        knowledge="history", hidden=(32,), critic_hidden=(32,), learning_rate=3e-3,
        entropy_weight=0.0, reward_in_context=True, memory_size=16,
    )  # fmt: skip
    trainer = Trainer(settings(tmp_path, config, worlds=64, train_tasks=512, iterations=99))
    for _ in range(20):
        trainer.iterate()
    assert success(trainer) > 0.9


def test_its_bundle_remembers_and_acts_as_torch_does(tmp_path: Path) -> None:
    trainer = Trainer(settings(tmp_path / "run", HISTORY))
    trainer.iterate()
    state = {"iteration": 1, "metrics": {}}
    bundle = export(trainer, state, tmp_path / "bundle", "toy", tmp_path / "run")
    assert bundle_command(["verify", str(tmp_path / "bundle")]) == 0
    adapter = make_adapter(bundle, 0)
    assert isinstance(adapter, RecurrentAdapter) and adapter.latent.size == 6
    assert [phase.condition for phase in bundle.manifest.phases] == ["state"]
    assert bundle.manifest.synchronous and bundle.manifest.latent.size == 0
    policy = trainer.learner.policy()
    assert closed_loop(policy, FAMILY, bundle, 3, 3, 0).worst <= 1e-5
    # A memory that works otherwise shows in what the robot does.
    with torch.no_grad():
        memory_of(trainer).cell.get_parameter("bias_ih_l0").add_(0.5)
    assert closed_loop(policy, FAMILY, bundle, 3, 3, 0).action > 1e-4

"""PEARL with a recurrent belief: the agent is the robot's adapter, in torch; what trains it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from adapt.adapters.base import Adapter, Transition
from adapt.adapters.registry import make_adapter
from adapt.belief.mixture import MixtureBelief
from adapt.bundle.algorithms import Recurrent
from adapt.bundle.policy_bundle import PolicyBundle
from adapt.errors import AcclimateError
from policies.algorithms.contract import Agent
from policies.algorithms.contract import Transition as Transitions
from policies.algorithms.pearl.config import PearlConfig, PearlSettings
from policies.algorithms.pearl.learner import PearlLearner
from policies.export.exporter import export
from policies.export.parity import closed_loop
from policies.training.cli import train
from policies.training.runs import load_best
from policies.training.trainer import Trainer
from tests.policies.training.test_train import numbers, settings

B = 3
SMALL = PearlConfig(
    belief="recurrent",
    state=16,
    components=3,
    window=5,
    hold=4,
    encoder_hidden=(16, 8),
    actor_hidden=(16,),
    critic_hidden=(16,),
    tasks_per_batch=2,
    rows_per_task=4,
)


def recurrent(out: Path, **changes: object) -> PearlSettings:
    return settings(out, **{"learner": SMALL, "family": "point-sparse", **changes})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    train(recurrent(out))
    return out


@pytest.fixture(scope="module")
def bundle(run: Path) -> PolicyBundle:
    trainer, state = load_best(run)
    return export(trainer, state, run.parent / "bundle", "small", run)


@pytest.fixture
def both(run: Path, bundle: PolicyBundle) -> tuple[Agent, list[Adapter]]:
    """An agent of B worlds, and a robot for each."""
    agent = load_best(run)[0].learner.policy().agent(B, torch.Generator().manual_seed(0))
    robots = [make_adapter(bundle, w) for w in range(B)]
    for robot in robots:
        robot.begin_episode()
    return agent, robots


def observe(
    agent: Agent, robots: list[Adapter], rng: np.random.Generator, which: np.ndarray | None = None
) -> None:
    """One period of the worlds; where which (B,) is False it is not valid."""
    which = np.ones(B, bool) if which is None else which
    n_o, n_a = robots[0].bundle.manifest.observation_size, robots[0].bundle.manifest.action_size
    before, after = rng.uniform(-1, 1, (2, B, n_o)).astype(np.float32)
    action = rng.uniform(-1, 1, (B, n_a)).astype(np.float32)
    reward = rng.random(B).astype(np.float32)
    agent.observe(Transitions(before, action, reward, after, np.zeros(B, bool)), which)
    for w in np.flatnonzero(which):
        robots[w].observe(Transition(before[w], action[w], float(reward[w]), after[w]))


def agree(agent: Agent, robots: list[Adapter]) -> None:
    belief = agent.belief()
    for w, robot in enumerate(robots):
        np.testing.assert_allclose(belief.mean[w], robot.belief.mean, atol=1e-5)
        np.testing.assert_allclose(belief.variance[w], robot.belief.variance, atol=1e-5)


def test_beliefs_are_the_robots_through_episodes_and_invalid_steps(both) -> None:
    agent, robots = both
    rng = np.random.default_rng(0)
    agree(agent, robots)
    for period in range(60):
        observe(agent, robots, rng, rng.random(B) < 0.7)
        agree(agent, robots)
        if period % 20 == 19:
            # A state outlives episodes.
            agent.begin_episode(np.array([True, False, False]))
            robots[0].end_episode()
            robots[0].begin_episode()
            agree(agent, robots)
    assert isinstance(robots[0].belief, MixtureBelief)
    assert not torch.allclose(agent.belief().mean[0], torch.zeros(2), atol=1e-3)


def test_a_new_task_and_a_frozen_belief_leave_the_other_worlds_alone(both) -> None:
    agent, robots = both
    rng = np.random.default_rng(1)
    for _ in range(5):
        observe(agent, robots, rng)
    agent.reset(np.array([False, True, False]), np.zeros((B, 2), np.float32))
    robots[1].reset()
    robots[1].begin_episode()
    agree(agent, robots)
    assert (agent.belief().mean[1] == 0).all()
    torch.testing.assert_close(agent.belief().variance[1], torch.ones(2))
    agent.adapting[2] = robots[2].adapting = False
    before = agent.belief().mean[2].clone()
    for _ in range(5):
        observe(agent, robots, rng)
        agree(agent, robots)
    assert torch.equal(agent.belief().mean[2], before)


def test_agent_and_robot_return_to_a_snapshot_to_the_bit(both) -> None:
    agent, robots = both
    rng = np.random.default_rng(2)
    for _ in range(7):
        observe(agent, robots, rng)
    kept, theirs = agent.snapshot(), [robot.snapshot() for robot in robots]
    seen = np.zeros((B, robots[0].bundle.manifest.observation_size), np.float32)

    def go_on() -> list[np.ndarray]:
        again, found = np.random.default_rng(3), []
        for _ in range(6):
            found.append(agent.act(seen, True).normalised)
            found.append(np.stack([robot.act(seen[0], True).normalised for robot in robots]))
            observe(agent, robots, again)
        return found

    first = go_on()
    agent.restore(kept)
    for robot, data in zip(robots, theirs, strict=True):
        robot.restore(data)
    np.testing.assert_array_equal(first, go_on())
    agree(agent, robots)


def test_the_bundle_passes_the_parity_gate(run: Path, bundle: PolicyBundle) -> None:
    algorithm = bundle.manifest.algorithm
    assert isinstance(algorithm, Recurrent)
    assert (algorithm.head, algorithm.components, algorithm.state_size) == ("mixture", 3, 16)
    trainer, _ = load_best(run)
    policy = trainer.learner.policy()
    parity = closed_loop(policy, trainer.family, bundle, 2, 3, 5)
    assert parity.steps > 50 and parity.worst < 1e-5
    with torch.no_grad():
        next(policy.encoder.cell.parameters()).mul_(1.05)  # pyright: ignore
    assert closed_loop(policy, trainer.family, bundle, 1, 3, 5).belief_mean > 1e-5


def test_it_resumes_to_the_same_numbers(run: Path, tmp_path: Path) -> None:
    given = recurrent(tmp_path / "cut")
    first = Trainer(given)
    for _ in range(2):
        first.iterate()
    second = Trainer(given)
    second.load_state_dict(first.state_dict())
    for iteration in (2, 3):
        row = {k: v for k, v in second.iterate().items() if not k.startswith("time/")}
        assert row == {k: v for k, v in numbers(run)[iteration].items() if k != "iteration"}


def networks(trainer: Trainer) -> dict[str, torch.Tensor]:
    modules = trainer.learner.modules().items()
    return {f"{n}.{k}": v.clone() for n, m in modules for k, v in m.state_dict().items()}


@pytest.mark.parametrize("source", ["run", "bundle"])
def test_a_belief_is_trained_alone_on_the_networks_that_a_run_starts_from(
    run: Path, bundle: PolicyBundle, tmp_path: Path, source: str
) -> None:
    given = recurrent(
        tmp_path / "alone",
        start=run if source == "run" else run.parent / "bundle",
        script_iterations=0,
        learner=replace(SMALL, fixed_actor=True),
    )
    there = networks(load_best(run)[0])
    trainer = Trainer(given)
    metrics = trainer.iterate()
    assert metrics["learn/belief_nll"] > 0 and "learn/critic_loss" not in metrics
    here = networks(trainer)
    assert not [name for name in here if name.startswith("critic")]
    for name, value in here.items():
        kept = name.startswith("actor") or "normaliser" in name
        if kept:
            assert torch.equal(value, there[name]), name
    moved = [n for n in here if n.startswith("encoder.cell") and not here[n].equal(there[n])]
    assert moved
    # From here on the run needs nothing that it started from.
    resumed = Trainer(replace(given, start=tmp_path / "gone"))
    resumed.load_state_dict(trainer.state_dict())
    resumed.iterate()


def test_another_belief_starts_from_the_actor_and_critic_alone(run: Path, tmp_path: Path) -> None:
    there = networks(load_best(run)[0])
    product = replace(SMALL, belief="product", encoder_hidden=(8,))
    trainer = Trainer(
        recurrent(tmp_path / "x", start=run, learner=product, script_iterations=0, iterations=1)
    )
    learner = trainer.learner
    assert isinstance(learner, PearlLearner)
    trainer.iterate()
    assert learner.networks.taken == ["actor", "critic", "target"]
    here = networks(trainer)
    assert torch.equal(here["actor.normaliser.mean"], there["actor.normaliser.mean"])
    assert not torch.equal(here["actor.body.0.weight"], there["actor.body.0.weight"])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"learner": replace(SMALL, objective="critic")}, "learner.objective=posterior"),
        ({"learner": replace(SMALL, fixed_actor=True)}, "start="),
        ({"start": Path("nowhere")}, "nowhere"),
        ({"start": Path("RUN"), "learner": replace(SMALL, actor_hidden=(8,))}, "actor.*shapes"),
    ],
)
def test_what_does_not_fit_is_told(run: Path, tmp_path: Path, changes, told: str) -> None:
    if changes.get("start") == Path("RUN"):
        changes = changes | {"start": run}
    with pytest.raises(AcclimateError, match=told):
        Trainer(recurrent(tmp_path / "no", **changes)).iterate()

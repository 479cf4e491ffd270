"""Speed of the worlds as a share of bare physics.

The worlds' step and a bare `mujoco.rollout` of the same models, states, controls and threads take
turns at every control period, so that other work on the machine affects both.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import mujoco.rollout
import numpy as np

from benchmarks.support.results import Scalar, record
from sim.benchmarks.running import RunnerWorlds
from sim.core.batch import BatchSim
from sim.core.family import UniformActions
from sim.core.registry import family
from sim.core.worlds import Worlds
from sim.insertion.body import WristBody
from sim.insertion.scripted import Privileged, SpiralSearch
from sim.insertion.space import SPACE
from sim.insertion.spec import CONTROL_PERIOD, SUBSTEPS
from sim.insertion.worlds import InsertionWorlds
from sim.insertion.wrist import TIMESTEP

Script = Callable[[InsertionWorlds], np.ndarray]
SCRIPTS: dict[str, Script] = {"spiral": SpiralSearch().act, "privileged": Privileged().act}
WARM_UP = 10
"""Control periods before the clock counts: down to contact, and once through every cache."""
BLOCK = 5
"""Control periods behind one ratio."""
NOISE = 0.3
"""Standard deviation added to the scripts' actions, as a learner's are."""
RUNNERS = ("cheetah-vel", "ant-goal", "walker-params")
"""A published family of each body."""


@dataclass(frozen=True)
class Subject:
    """Worlds to be measured.

    models: of every world. act: observation → action. control: the controls that the physics got
    for an action, read after the step.
    """

    worlds: Worlds
    sim: BatchSim
    models: list[mujoco.MjModel]
    substeps: int
    act: Callable[[np.ndarray], np.ndarray]
    control: Callable[[np.ndarray], np.ndarray]


class Bare:
    """`mujoco.rollout` and nothing else, on models that worlds have compiled."""

    def __init__(self, subject: Subject, threads: int) -> None:
        self._models, self._substeps = subject.models, subject.substeps
        self._data = [mujoco.MjData(self._models[0]) for _ in range(threads)]
        self._pool = mujoco.rollout.Rollout(nthread=threads)

    def run(self, state: np.ndarray, control: np.ndarray) -> np.ndarray:
        """States (B, n, n_state) from state (B, n_state) under control (B, n_u)."""
        states, _ = self._pool.rollout(
            self._models, self._data, state, control[:, None], nstep=self._substeps
        )
        return np.asarray(states)

    def close(self) -> None:
        self._pool.close()


@dataclass(frozen=True)
class Cost:
    """Wall-clock and processor seconds (blocks, 2) of worlds and of bare physics; mean contacts."""

    wall: np.ndarray
    processor: np.ndarray
    contacts: float


def insertion(script: Script, worlds: int, threads: int, seed: int) -> Subject:
    """Wrist rigs under a script, with a learner's noise on its actions."""
    rng = np.random.default_rng(seed)
    rigs = InsertionWorlds(worlds, seed, threads)
    rigs.assign(SPACE.sample(worlds, rng))
    body = rigs.sim
    if not isinstance(body, WristBody):
        raise RuntimeError(f"expected wrist rigs, found {type(body).__name__}")

    def act(observation: np.ndarray) -> np.ndarray:
        action = script(rigs)
        return action + NOISE * rng.normal(size=action.shape)

    def control(action: np.ndarray) -> np.ndarray:
        reference = rigs.reference.copy()
        reference[:, :2] += rigs.constants.controller
        return reference

    models = [body.model(world) for world in range(worlds)]
    return Subject(rigs, body.sim, models, SUBSTEPS, act, control)


def runner(name: str, worlds: int, threads: int, seed: int) -> Subject:
    """A published family under uniform random actions."""
    rng = np.random.default_rng(seed)
    runners = family(name).make(worlds, seed, threads)
    if not isinstance(runners, RunnerWorlds):
        raise RuntimeError(f"expected a family of runners, found {type(runners).__name__}")
    runners.assign(family(name).space.sample(worlds, rng))
    models = [runners.sim.model(world) for world in range(worlds)]
    act = UniformActions(runners, rng).act
    return Subject(runners, runners.sim, models, runners.substeps, act, lambda action: action)


def measure(subject: Subject, threads: int, blocks: int) -> Cost:
    """Run both for `blocks` blocks of BLOCK control periods.

    Raises RuntimeError if the two did not do the same physics.
    """
    worlds, sim, bare = subject.worlds, subject.sim, Bare(subject, threads)
    observation = worlds.reset(np.ones(worlds.worlds, bool))
    clock = np.zeros((WARM_UP + blocks * BLOCK, 2, 2))
    for period in range(len(clock)):
        action, before = subject.act(observation), sim.state.copy()
        start = _now()
        step = worlds.step(action)
        clock[period, 0] = _now() - start
        control = subject.control(action)
        start = _now()
        states = bare.run(before, control)
        clock[period, 1] = _now() - start
        moved = ~step.diverged
        if not np.array_equal(states[moved, -1], sim.state[moved]):
            raise RuntimeError("bare physics went elsewhere than the worlds did")
        start = _now()
        observation = worlds.reset(step.done)
        clock[period, 0] += _now() - start
    contacts = _contacts(subject)
    bare.close()
    worlds.close()
    wall, processor = clock[WARM_UP:].reshape(blocks, BLOCK, 2, 2).sum(axis=1).transpose(2, 0, 1)
    return Cost(wall, processor, contacts)


def _now() -> np.ndarray:
    """Wall-clock and processor time [s]; the latter counts every thread of this process."""
    return np.array([time.perf_counter(), time.process_time()])


def _contacts(subject: Subject) -> float:
    """Mean number of contacts in a world now; without contacts, physics would be faster."""
    total = 0
    for world, model in enumerate(subject.models):
        data = mujoco.MjData(model)
        data.qpos[:] = subject.sim.qpos[world]
        mujoco.mj_forward(model, data)
        total += data.ncon
    return total / len(subject.models)


def report(cost: Cost, who: str, parameters: dict[str, Scalar], worlds: int, seed: int) -> None:
    """Record medians over blocks, so that a short disturbance by another program has no effect."""
    rate = worlds * BLOCK / np.median(cost.wall, axis=0)
    for metric, value, unit in (
        ("share of bare physics", np.median(cost.wall[:, 1] / cost.wall[:, 0]), "1"),
        ("share in processor time", np.divide(*cost.processor.sum(axis=0)[::-1]), "1"),
        (who, rate[0], "policy steps/s"),
        ("bare rollout", rate[1], "policy steps/s"),
        ("contacts per world", cost.contacts, "1"),
    ):
        record("physics", metric, float(value), unit, parameters, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--blocks", type=int, default=24, help=f"of {BLOCK} control periods each")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name, script in SCRIPTS.items():
        subject = insertion(script, options.worlds, options.threads, options.seed)
        parameters = {
            "controller": name,
            "worlds": options.worlds,
            "threads": options.threads,
            "substeps": SUBSTEPS,
            "timestep": TIMESTEP,
            "control_period": CONTROL_PERIOD,
        }
        cost = measure(subject, options.threads, options.blocks)
        report(cost, "insertion worlds", parameters, options.worlds, options.seed)
    for name in RUNNERS:
        subject = runner(name, options.worlds, options.threads, options.seed)
        parameters = {
            "family": name,
            "substeps": subject.substeps,
            "worlds": options.worlds,
            "threads": options.threads,
        }
        cost = measure(subject, options.threads, options.blocks)
        report(cost, "the family's worlds", parameters, options.worlds, options.seed)


if __name__ == "__main__":
    main()

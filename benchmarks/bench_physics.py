"""How much of bare physics the insertion worlds keep: everything around the roll-out has a price.

`InsertionWorlds.step` and a bare `mujoco.rollout` of the same models, states, controls and threads
take turns at every control period, so that whatever else the machine does meets both.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import mujoco.rollout
import numpy as np

from benchmarks.results import record
from sim.body import WristBody
from sim.insertion import CONTROL_PERIOD, SPACE, SUBSTEPS, InsertionWorlds
from sim.scripted import Privileged, SpiralSearch
from sim.wrist import TIMESTEP

Script = Callable[[InsertionWorlds], np.ndarray]
SCRIPTS: dict[str, Script] = {"spiral": SpiralSearch().act, "privileged": Privileged().act}
WARM_UP = 10
"""Control periods before the clock counts: down to contact, and once through every cache."""
BLOCK = 5
"""Control periods behind one ratio."""
NOISE = 0.3
"""Standard deviation added to the scripts' actions, as a learner's are."""


class Bare:
    """`mujoco.rollout` and nothing else, on models that worlds have compiled."""

    def __init__(self, worlds: InsertionWorlds, body: WristBody, threads: int) -> None:
        self._models = [body.model(world) for world in range(worlds.worlds)]
        self._data = [mujoco.MjData(self._models[0]) for _ in range(threads)]
        self._pool = mujoco.rollout.Rollout(nthread=threads)

    def run(self, state: np.ndarray, control: np.ndarray) -> np.ndarray:
        """States (B, n, n_state) from state (B, n_state) under control (B, n_u)."""
        states, _ = self._pool.rollout(
            self._models, self._data, state, control[:, None], nstep=SUBSTEPS
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


def measure(script: Script, worlds: int, threads: int, blocks: int, seed: int) -> Cost:
    """Run both for `blocks` blocks of BLOCK control periods.

    Raises RuntimeError if the two did not do the same physics.
    """
    rng = np.random.default_rng(seed)
    rigs = InsertionWorlds(worlds, seed, threads)
    rigs.assign(SPACE.sample(worlds, rng))
    body = rigs.sim
    if not isinstance(body, WristBody):
        raise RuntimeError(f"expected wrist rigs, found {type(body).__name__}")
    bare = Bare(rigs, body, threads)
    rigs.reset(np.ones(worlds, bool))
    clock = np.zeros((WARM_UP + blocks * BLOCK, 2, 2))
    for period in range(len(clock)):
        action = script(rigs)
        action += NOISE * rng.normal(size=action.shape)
        before = body.sim.state.copy()
        start = _now()
        step = rigs.step(action)
        clock[period, 0] = _now() - start
        control = rigs.reference.copy()
        control[:, :2] += rigs.constants.controller
        start = _now()
        states = bare.run(before, control)
        clock[period, 1] = _now() - start
        moved = ~step.diverged
        if not np.array_equal(states[moved, -1], body.sim.state[moved]):
            raise RuntimeError("bare physics went elsewhere than the worlds did")
        start = _now()
        rigs.reset(step.done)
        clock[period, 0] += _now() - start
    contacts = _contacts(body, worlds)
    bare.close()
    rigs.close()
    wall, processor = clock[WARM_UP:].reshape(blocks, BLOCK, 2, 2).sum(axis=1).transpose(2, 0, 1)
    return Cost(wall, processor, contacts)


def _now() -> np.ndarray:
    """Wall-clock and processor time [s]; the latter counts every thread of this process."""
    return np.array([time.perf_counter(), time.process_time()])


def _contacts(body: WristBody, worlds: int) -> float:
    """Mean number of contacts in a world as it stands: physics in the air would be cheap."""
    total = 0
    for world in range(worlds):
        data = mujoco.MjData(body.model(world))
        data.qpos[:] = body.configuration(world)
        mujoco.mj_forward(body.model(world), data)
        total += data.ncon
    return total / worlds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--blocks", type=int, default=24, help=f"of {BLOCK} control periods each")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name, script in SCRIPTS.items():
        cost = measure(script, options.worlds, options.threads, options.blocks, options.seed)
        parameters = {
            "controller": name,
            "worlds": options.worlds,
            "threads": options.threads,
            "substeps": SUBSTEPS,
            "timestep": TIMESTEP,
            "control_period": CONTROL_PERIOD,
        }
        # Medians over blocks: another program's moment on the processor spoils one, not all.
        rate = options.worlds * BLOCK / np.median(cost.wall, axis=0)
        for metric, value, unit in (
            ("share of bare physics", np.median(cost.wall[:, 1] / cost.wall[:, 0]), "1"),
            ("share in processor time", np.divide(*cost.processor.sum(axis=0)[::-1]), "1"),
            ("insertion worlds", rate[0], "policy steps/s"),
            ("bare rollout", rate[1], "policy steps/s"),
            ("contacts per world", cost.contacts, "1"),
        ):
            record("physics", metric, float(value), unit, parameters, options.seed)


if __name__ == "__main__":
    main()

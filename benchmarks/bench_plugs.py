"""The nine plugs of a published table, none of which training draws: success of the shipped policy
after so many attempts at each socket, beside scripts, and under harder conditions.

    python -m benchmarks.bench_plugs [--attempts 20] [--harder 8] [--bodies wrist arm] [--seed 0]

`arm` is the simulated arm that a bridge's twin has, `wrist` the rig that training uses, both in
this process: tests hold the twin to the same worlds. Every method meets the same sockets and
starts.
"""

from __future__ import annotations

import os

os.environ.setdefault("MUJOCO_GL", "disable")

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import mujoco
import numpy as np

from adapt.adapters.base import Adapter, Transition
from adapt.adapters.registry import make_adapter
from adapt.bundle.policy_bundle import PolicyBundle
from benchmarks.support.results import Scalar, record
from sim.core.task_space import Task
from sim.core.worlds import Step
from sim.demo import SHIPPED
from sim.insertion.arm import ArmBody
from sim.insertion.body import WristBody
from sim.insertion.parts.described import described_plug, named_plugs, plug_file
from sim.insertion.parts.spaces import CONDITIONS, plug_space
from sim.insertion.scripted import Privileged, SpiralSearch
from sim.insertion.spec import CONTROL_PERIOD
from sim.insertion.worlds import InsertionWorlds

NAME = "plugs"
PUBLISHED = {
    "us_ac": 1.0, "nema_14_30p": 1.0, "metal_peg_rectangular": 1.0, "metal_peg_round": 1.0,
    "metal_peg_square": 0.99, "uk_ac": 1.0, "car_4_pin": 1.0, "car_3_pin": 0.75, "eu_ac": 0.99,
}  # fmt: skip
"""Success after fine-tuning with demonstrations on a real arm: Zhao et al. 2021, arXiv 2110.04276,
as printed in a lecture of 2026."""
SHOWN = (0, 1, 3, 5, 10)
"""Attempts before the one that counts."""
HARDER_SHOWN = (0, 1, 3, 5)
BODIES = {"wrist": WristBody, "arm": ArmBody}


class Player(Protocol):
    """Acts in B worlds, episode after episode."""

    def begin(self) -> None: ...

    def act(self, worlds: InsertionWorlds, seen: np.ndarray, going: np.ndarray) -> np.ndarray:
        """Normalised action (B, 4); only rows where going (B,) count."""
        ...

    def learn(self, seen: np.ndarray, action: np.ndarray, step: Step, going: np.ndarray) -> None:
        """What became of the action."""
        ...

    def end(self) -> None: ...


class Shipped:
    """The shipped bundle as a robot runs it, one belief a world.

    adapting: False keeps every belief at its prior.
    """

    def __init__(self, bundle: PolicyBundle, seeds: Sequence[int], adapting: bool) -> None:
        self._adapters: list[Adapter] = [make_adapter(bundle, seed) for seed in seeds]
        self._adapting = adapting

    def begin(self) -> None:
        for adapter in self._adapters:
            adapter.begin_episode()

    def act(self, worlds: InsertionWorlds, seen: np.ndarray, going: np.ndarray) -> np.ndarray:
        action = np.zeros((worlds.worlds, worlds.spec.action_size), np.float32)
        for i in np.flatnonzero(going):
            action[i] = self._adapters[i].act(seen[i]).normalised
        return action

    def learn(self, seen: np.ndarray, action: np.ndarray, step: Step, going: np.ndarray) -> None:
        for i in np.flatnonzero(going & self._adapting):
            reward, terminal = float(step.measured_reward[i]), bool(step.discount[i] == 0)
            lesson = Transition(seen[i], action[i], reward, step.observation[i], terminal)
            self._adapters[i].observe(lesson)

    def end(self) -> None:
        for adapter in self._adapters:
            adapter.end_episode()


class Scripted:
    """A script, which remembers nothing."""

    def __init__(self, script: Privileged | SpiralSearch) -> None:
        self._script = script

    def begin(self) -> None: ...

    def act(self, worlds: InsertionWorlds, seen: np.ndarray, going: np.ndarray) -> np.ndarray:
        return self._script.act(worlds)

    def learn(
        self, seen: np.ndarray, action: np.ndarray, step: Step, going: np.ndarray
    ) -> None: ...

    def end(self) -> None: ...


@dataclass
class Attempts:
    """N tasks × E episodes. inside: how deep pins and the slots' sides penetrate each other, one
    number [m] a world and control period in which they touch."""

    success: np.ndarray
    seconds: np.ndarray
    peak_force: np.ndarray
    inside: list[float] = field(default_factory=list)


def attempts(
    body: str, tasks: Sequence[Task], players: Sequence[Player], episodes: int, seed: int
) -> Attempts:
    """Every player's tasks, an equal share each in order, in consecutive episodes."""
    n, share = len(tasks), len(tasks) // len(players)
    shape = (n, episodes)
    found = Attempts(np.zeros(shape, bool), np.zeros(shape), np.zeros(shape))
    worlds = InsertionWorlds(share, seed, 1, BODIES[body])
    for number, player in enumerate(players):
        rows = slice(number * share, (number + 1) * share)
        worlds.assign(tasks[rows])
        for episode in range(episodes):
            # An episode's noise depends on nothing that ran before it, as on the twin.
            worlds.rng = np.random.default_rng([seed, number, episode])
            _episode(worlds, player, found, rows, episode)
    worlds.close()
    return found


def _episode(
    worlds: InsertionWorlds, player: Player, found: Attempts, rows: slice, episode: int
) -> None:
    going = np.ones(worlds.worlds, bool)
    seen = worlds.reset(going)
    player.begin()
    while going.any():
        action = player.act(worlds, seen, going)
        step = worlds.step(action)
        player.learn(seen, action, step, going)
        found.seconds[rows, episode][going] += CONTROL_PERIOD
        found.peak_force[rows, episode][going] = worlds.peak_force[going]
        found.success[rows, episode][going & step.success] = True
        if isinstance(player, Scripted):
            inside = [_penetration(worlds, int(i)) for i in np.flatnonzero(going)]
            found.inside += [depth for depth in inside if depth > 0]
        going &= ~step.done
        seen = step.observation
    player.end()


def _penetration(worlds: InsertionWorlds, world: int) -> float:
    """Of the deepest contact whose normal is nearer to the horizontal than to the socket's axis."""
    model = worlds.sim.model(world)
    data = mujoco.MjData(model)
    data.qpos[:] = worlds.configuration(world)
    mujoco.mj_forward(model, data)
    return max((-c.dist for c in data.contact if abs(c.frame[2]) < 0.5), default=0.0)


def players(
    method: str, bundle: PolicyBundle, body: str, tasks: int, seed: int
) -> Sequence[Player]:
    """One for all worlds of the rig; for the arm, one for each task."""
    count = 1 if body == "wrist" else tasks
    if method == "spiral search":
        return [Scripted(SpiralSearch())] * count
    if method == "privileged":
        return [Scripted(Privileged())] * count
    seeds = [seed * 1000 + i for i in range(tasks)]
    adapting = method == "shipped policy"
    if body == "wrist":
        return [Shipped(bundle, seeds, adapting)]
    return [Shipped(bundle, [s], adapting) for s in seeds]


METHODS = {
    "shipped policy": SHOWN,
    "shipped policy, belief at the prior": (0,),
    "spiral search": (0,),
    "privileged": (0,),
}
"""Methods, and after how many attempts their next one is shown."""


def report(parameters: dict[str, Scalar], shown: Sequence[int], found: Attempts, seed: int) -> None:
    """Success by attempts before, and the peak force of all attempts."""
    for k in shown:
        rate = float(found.success[:, k].mean())
        record(NAME, "success", rate, "1", {**parameters, "episodes": k}, seed)
    for name, value in (
        ("peak force, median", np.median(found.peak_force)),
        ("peak force, 95th percentile", np.quantile(found.peak_force, 0.95)),
    ):
        record(NAME, name, float(value), "N", parameters, seed)
    if found.success.any():
        mean = float(found.seconds[found.success].mean())
        record(NAME, "time of a success", mean, "s", parameters, seed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attempts", type=int, default=20, help="sockets for each plug")
    parser.add_argument("--harder", type=int, default=8, help="the same, under each condition")
    parser.add_argument("--bodies", nargs="*", choices=list(BODIES), default=list(BODIES))
    parser.add_argument("--plugs", nargs="+", choices=named_plugs(), default=list(PUBLISHED))
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    bundle, seed = PolicyBundle.load(SHIPPED), words.seed

    def tasks(plug: str, condition: str, n: int) -> list[Task]:
        space = plug_space(plug_file(plug), condition)
        return space.sample(n, np.random.default_rng([seed, 1]), "held_out")

    for body in words.bodies:
        for plug in words.plugs:
            met = tasks(plug, "", words.attempts)
            for method, shown in METHODS.items():
                chosen = players(method, bundle, body, len(met), seed)
                found = attempts(body, met, chosen, shown[-1] + 1, seed)
                common: dict[str, Scalar] = {"body": body, "attempts": len(met), "plug": plug}
                report({**common, "method": method}, shown, found, seed)
                if method == "shipped policy":
                    gap = float(found.success[:, shown[-1]].mean()) - PUBLISHED[plug]
                    record(NAME, "success above the published", gap, "1", common, seed)
                if method == "privileged" and found.inside:
                    clearance = described_plug(plug_file(plug)).description.clearances[0]
                    for name, share in (("median", 0.5), ("95th percentile", 0.95)):
                        value = float(np.quantile(found.inside, share)) / clearance
                        record(
                            NAME, f"penetration over clearance, {name}", value, "1", common, seed
                        )
    for condition in CONDITIONS if words.harder else ():
        for plug in words.plugs:
            met = tasks(plug, condition, words.harder)
            chosen = players("shipped policy", bundle, "arm", len(met), seed)
            found = attempts("arm", met, chosen, HARDER_SHOWN[-1] + 1, seed)
            common = {"condition": condition, "attempts": len(met), "plug": plug}
            report(common, HARDER_SHOWN, found, seed)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

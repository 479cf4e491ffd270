"""Locomotion on held-out tasks: what walking on unseen ground with an unknown body comes to.

    python -m benchmarks.bench_locomotion [--only PARTS] [--tasks 24] [--seconds 20]
        [--ours RUN] [--randomised RUN] [--history RUN] [--regression RUN] [--oracle RUN]
        [--robot FILE] [--bundle BUNDLE]

Parts: gentle, moderate, worth, table, bridge, belief, change, throughput; the runs are those that
the experiments `locomotion_*` leave behind. Gentle is the table on level and rough ground alone,
with loads and weak joints; moderate is the same with ice and slopes, which is what the shipped
policy was trained for; worth is moderate again for runs that were trained for as long as each
other, and shows what knowing is worth. FILE is a joint map of another robot, for the tables.
Bridge is BUNDLE on moderate ground, one walk of 20 s on each task, with `acclimate bridge`, `twin`
and `trial`; there a fall ends the walk.

Every method meets the same tasks: of every case (what differs from a healthy robot) and every
terrain, values from bands that training never draws; and terrains, joints and cases that training
never saw. A robot that falls stands up again at its start and goes on until the seconds are over.
Ours with a belief of t seconds: it walks for t seconds from the prior, its belief then stays, and
it starts anew. The numbers are those of the networks; the bundle made of them answers as they do
(the parity gate of `acclimate export`).
"""

from __future__ import annotations

import os

os.environ.setdefault("MUJOCO_GL", "disable")

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import mujoco.rollout
import numpy as np
from rich.console import Console

from benchmarks.support import walking
from benchmarks.support.results import Scalar, record
from benchmarks.support.walking import Trot, Walk, walk
from policies.algorithms.contract import Agent, Policy
from policies.training.runs import load_best
from sim.core.task_space import Task, TaskSpace
from sim.locomotion.family import FAMILY, NoisyTrot
from sim.locomotion.spec import CONTROL_PERIOD, SUBSTEPS
from sim.locomotion.task import CASES, FACTORS, GENTLE_SPACE, MODERATE_SPACE, SPACE
from sim.locomotion.worlds import LocomotionWorlds
from sim.twin.child_processes import Signals
from sim.twin.stage import stage

NAME = "locomotion"
SEED = 1000
PARTS = ("gentle", "moderate", "worth", "table", "bridge", "belief", "change", "throughput")
SHOWN_BY_CASE = (
    "velocity error",
    "settled velocity error",
    "progress",
    "falls",
    "cost of transport",
)
LEARNING = (0.5, 1.0, 2.0, 5.0)
"""Seconds of walking before the belief is held."""
CHANGES: dict[str, dict[str, float]] = {
    "8 kg on one side": {"payload": 8.0, "payload_y": 0.06},
    "ice": {"friction": 0.12},
    "a calf at 30 %": {"weak_joint": 3, "strength": 0.3},
}
CHANGE_AT, AFTER = 4.0, 8.0
"""Of a walk in which the body changes: when, and how long it goes on [s]."""


def gentle(n: int) -> dict[str, list[Task]]:
    """Tasks of level and rough ground by group; their loads come from the held-out band."""
    rng = np.random.default_rng(SEED)
    return {"level and rough ground": GENTLE_SPACE.sample(n, rng, "held_out")}


def moderate(n: int) -> dict[str, list[Task]]:
    """Tasks of every case on level and rough ground, from held-out bands."""
    rng = np.random.default_rng(SEED)
    return {"moderate ground": MODERATE_SPACE.sample(n, rng, "held_out")}


def worth(n: int) -> dict[str, list[Task]]:
    """The tasks of `moderate`, under a name of their own."""
    return {"moderate ground, equal training": moderate(n)["moderate ground"]}


def held_out(n: int) -> dict[str, list[Task]]:
    """Tasks by group: n of the held-out bands, spread over cases and terrains, and n of what
    training never saw."""
    rng = np.random.default_rng(SEED)
    return {
        "held-out values": SPACE.sample(n, rng, "held_out"),
        "unseen terrain, joint and case": SPACE.sample(n, rng, "unseen_choice"),
    }


def table(
    policies: dict[str, Policy],
    groups: dict[str, list[Task]],
    seconds: float,
    robot: Path | None = None,
) -> None:
    """Error, progress, falls and cost of transport of every method, by case and by terrain."""
    body: dict[str, Scalar] = {} if robot is None else {"robot": robot.stem}
    for group, chosen in groups.items():
        for method, policy in policies.items():
            seconds_learnt: Sequence[float] = (np.inf,)
            if policy.adapts:
                seconds_learnt = (0.0, *LEARNING, np.inf)
            for learning in seconds_learnt:
                name = method
                if policy.adapts:
                    name += _belief_name(learning)
                done = walk(policy, chosen, seconds, SEED, learning=learning, robot=robot)
                _report(group, name, chosen, done, {"seconds": seconds} | body)


def _belief_name(learning: float) -> str:
    if learning == 0.0:
        return ", belief kept at the prior"
    return f", belief of {learning:g} s" if np.isfinite(learning) else ", belief follows"


def _report(
    group: str, method: str, tasks: list[Task], done: Walk, given: dict[str, Scalar]
) -> None:
    cases = np.array([t.choice("case") for t in tasks])
    grounds = np.array([t.choice("terrain") for t in tasks])
    # A case is named "all".
    rows = {("any", "any"): np.ones(len(tasks), bool)}
    if len(set(cases)) > 1:
        rows |= {(case, "any"): cases == case for case in CASES if (cases == case).any()}
        rows |= {("any", ground): grounds == ground for ground in sorted(set(grounds.tolist()))}
    for (case, ground), which in rows.items():
        parameters: dict[str, Scalar] = {"group": group, "case": case, "terrain": ground}
        parameters |= {"tasks": int(which.sum()), "method": method} | given
        for metric, (value, unit) in done.summary(which).items():
            if case == ground == "any" or metric in SHOWN_BY_CASE:
                record(NAME, metric, value, unit, parameters, SEED)


def bridge(bundle: Path, tasks: int) -> None:
    """A bundle on simulated robots through a bridge, with its belief and with it at the prior."""
    for adapting in (True, False):
        with Signals() as signals, stage(bundle, signals) as found:
            found.twin({"held_out": tasks}, f"family={walking.__name__}:MODERATE")
            out = found.scratch / "trial"
            lines = found.trial(out, tasks, 1, SEED, Console(stderr=True), adapting)
        total = {
            name: sum(line.outcome.measures[name] for line in lines)
            for name in ("distance", "asked", "progress", "energy_per_weight")
        }
        steps = np.array([line.outcome.steps for line in lines])
        errors = np.array([line.outcome.measures["speed_error"] for line in lines])
        falls = sum(line.outcome.reason == "fell" for line in lines)
        method = "ours" + _belief_name(np.inf if adapting else 0.0)
        where = {"group": "moderate ground, through the bridge", "case": "any", "terrain": "any"}
        parameters = where | {"tasks": tasks, "method": method, "seconds": 20.0}
        error = float((errors * steps).sum() / steps.sum())
        record(NAME, "velocity error", error, "m/s", parameters, SEED)
        record(NAME, "progress", total["progress"] / total["asked"], "1", parameters, SEED)
        record(NAME, "falls", 1000 * falls / total["distance"], "1/km", parameters, SEED)
        transport = total["energy_per_weight"] / total["distance"]
        record(NAME, "cost of transport", transport, "1", parameters, SEED)
        record(NAME, "walks without a fall", 1 - falls / tasks, "1", parameters, SEED)


def belief(policy: Policy, space: TaskSpace, group: str, tasks: int) -> None:
    """R² from the belief's mean to each factor that varies, and the error in the belief's own std
    (root mean square; 1 is a calibrated belief), after some seconds of walking."""
    chosen = space.sample(tasks, np.random.default_rng(SEED + 1), "train")
    marks = {round(t / CONTROL_PERIOD): t for t in LEARNING}
    found: dict[float, tuple[np.ndarray, np.ndarray]] = {}
    truth = np.stack([FAMILY.factors(t) for t in chosen])

    def look(worlds: LocomotionWorlds, agent: Agent, period: int) -> None:
        if period in marks:
            now = agent.belief()
            found[marks[period]] = now.mean.numpy().copy(), now.variance.sqrt().numpy().copy()

    walk(policy, chosen, max(LEARNING), SEED, moment=look)
    spread = ((truth - truth.mean(0)) ** 2).mean(0)
    varying = spread > 1e-6
    for seconds, (mean, std) in found.items():
        error = mean - truth
        parameters = {"group": group, "factor": "all", "tasks": tasks, "seconds": seconds}
        share = (error**2).mean(0)[varying].sum() / spread[varying].sum()
        record(NAME, "R2", float(1 - share), "1", parameters, SEED)
        rms = float(np.sqrt(((error / std)[:, varying] ** 2).mean()))
        record(NAME, "error in its own std", rms, "1", parameters, SEED)
        for factor in FACTORS:
            if varying[factor.index]:
                r2 = 1 - (error[:, factor.index] ** 2).mean() / spread[factor.index]
                record(NAME, "R2", float(r2), "1", parameters | {"factor": factor.name}, SEED)


def change(policies: dict[str, Policy], tasks: int) -> None:
    """A body or ground that changes in the middle of a walk at 0.5 m/s on the level."""
    for name, values in CHANGES.items():
        for method, policy in policies.items():
            for learning in (np.inf, 0.0) if policy.adapts else (np.inf,):
                label = method + (_belief_name(learning) if policy.adapts else "")
                _changed(name, label, policy, tasks, SPACE.task(**values), learning)


def _changed(
    name: str, method: str, policy: Policy, tasks: int, later: Task, learning: float
) -> None:
    at, after = (round(t / CONTROL_PERIOD) for t in (CHANGE_AT, AFTER))
    truth, off = FAMILY.factors(later), np.full(at + after, np.nan)

    def act(worlds: LocomotionWorlds, agent: Agent, period: int) -> None:
        worlds.command[:] = 0.5, 0.0, 0.0
        if period == at:
            worlds.change(np.ones(tasks, bool), [later] * tasks)
            agent.reset(np.zeros(tasks, bool), worlds.factors())
        now = agent.belief().mean.numpy()
        if now.shape[1] == len(truth):
            off[period - 1] = np.sqrt(((now - truth) ** 2).mean())

    done = walk(
        policy, [SPACE.task()] * tasks, CHANGE_AT + AFTER, SEED, learning=learning, moment=act
    )
    error = done.errors.mean(axis=1)
    window = round(0.5 / CONTROL_PERIOD)
    smooth = np.convolve(error, np.ones(window) / window, mode="valid")
    parameters = {"change": name, "tasks": tasks, "method": method}
    before, end = error[at // 2 : at].mean(), error[-round(3 / CONTROL_PERIOD) :].mean()
    record(NAME, "velocity error before", float(before), "m/s", parameters, SEED)
    first = error[at : at + round(2 / CONTROL_PERIOD)].mean()
    record(NAME, "velocity error in the first 2 s after", float(first), "m/s", parameters, SEED)
    record(NAME, "velocity error at the end", float(end), "m/s", parameters, SEED)
    settled = smooth[at:] <= 1.25 * end
    calm = np.flatnonzero(~settled)
    recovery = 0.0 if not calm.size else (calm[-1] + 1) * CONTROL_PERIOD
    record(NAME, "time to settle", float(recovery), "s", parameters, SEED)
    record(NAME, "falls of each robot", float(done.falls.mean()), "1", parameters, SEED)
    if np.isfinite(off).any() and np.isinf(learning):
        for seconds in (0.0, 1.0, 2.0, 4.0):
            value = float(off[at - 1 + round(seconds / CONTROL_PERIOD)])
            shown = {"change": name, "tasks": tasks, "seconds after": seconds}
            record(NAME, "belief's distance from the truth", value, "std", shown, SEED)


def throughput(rounds: int = 30, worlds_count: int = 64) -> None:
    """Policy steps a second of processor time on one thread, and beside it those of the same
    models in a bare `mujoco.rollout`, measured in turns."""
    rng = np.random.default_rng(SEED)
    worlds = LocomotionWorlds(worlds_count, SEED, 1)
    worlds.assign(SPACE.sample(worlds_count, rng, "train"))
    worlds.reset(np.ones(worlds_count, bool))
    script = NoisyTrot(worlds, rng)
    models = [worlds.sim.model(i) for i in range(worlds_count)]
    data = [mujoco.MjData(models[0])]
    ours, bare = [], []
    with mujoco.rollout.Rollout(nthread=0) as pool:
        for _ in range(rounds):
            state, targets = worlds.sim.state.copy(), worlds._targets[:, :1].copy()
            start = time.process_time()
            step = worlds.step(script.act(np.zeros(0)))
            ours.append(time.process_time() - start)
            if step.done.any():
                worlds.reset(step.done)
            start = time.process_time()
            pool.rollout(models, data, state, targets, nstep=SUBSTEPS)
            bare.append(time.process_time() - start)
    worlds.close()
    # The tenth percentile: what the machine does when nothing else runs on it.
    fast, floor = (float(np.quantile(times, 0.1)) for times in (ours, bare))
    parameters = {"worlds": worlds_count, "threads": 1}
    record(NAME, "throughput", worlds_count / fast, "policy steps/s", parameters, SEED)
    record(NAME, "share of a bare mujoco.rollout", floor / fast, "1", parameters, SEED)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--tasks", type=int, default=24, help="of each group")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each robot's walk")
    parser.add_argument("--ours", type=Path, default=Path("runs/locomotion-ppo-belief-0"))
    parser.add_argument("--randomised", type=Path, default=None)
    parser.add_argument("--history", type=Path, default=None)
    parser.add_argument("--regression", type=Path, default=None)
    parser.add_argument("--oracle", type=Path, default=None)
    parser.add_argument("--robot", type=Path, default=None)
    parser.add_argument("--bundle", type=Path, default=Path("bundles/locomotion-ppo"))
    given = parser.parse_args()
    parts = given.only.split(",")
    unknown = sorted(set(parts) - set(PARTS))
    if unknown:
        parser.error(f"unknown parts {unknown}; there are {', '.join(PARTS)}")
    if given.tasks < 1 or given.seconds <= 0:
        parser.error("--tasks must be at least 1 and --seconds positive")
    if "throughput" in parts:
        throughput()
    if "bridge" in parts:
        bridge(given.bundle, given.tasks)
    if set(parts) <= {"throughput", "bridge"}:
        return 0
    folders = {
        "ours": given.ours,
        "randomised": given.randomised,
        "randomised with a history": given.history,
        "regression": given.regression,
        "oracle": given.oracle,
    }
    policies: dict[str, Policy] = {"the trot alone": Trot()}
    policies |= {
        name: load_best(folder)[0].learner.policy() for name, folder in folders.items() if folder
    }
    tables = {"gentle": gentle, "moderate": moderate, "worth": worth, "table": held_out}
    for part, groups in tables.items():
        if part in parts:
            table(policies, groups(given.tasks), given.seconds, given.robot)
    if "belief" in parts:
        belief(policies["ours"], GENTLE_SPACE, "level and rough ground", 4 * given.tasks)
        belief(policies["ours"], MODERATE_SPACE, "moderate ground", 4 * given.tasks)
        belief(policies["ours"], SPACE, "all", 4 * given.tasks)
    if "change" in parts:
        change(policies, given.tasks)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Success of the shipped insertion policy from its first episode on, by what its prior knows.

    python -m benchmarks.bench_probe [--tasks 20] [--episodes 4] [--seed 0] [--bodies wrist arm]
                                     [--cells NAME ...]

`wrist` is the rig that training used, in this process. `arm` is the simulated arm, through a bridge
and `acclimate trial prior=FOLDER`; there the cell `touched` measures its priors by touches,
`acclimate trial probe=first`, and its cost is recorded, too. Every cell meets the same tasks,
starts and latents' seeds.
"""

from __future__ import annotations

import os

os.environ.setdefault("MUJOCO_GL", "disable")

import argparse
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np

from adapt.adapters.base import Transition
from adapt.adapters.registry import make_adapter
from adapt.bundle.policy_bundle import PolicyBundle
from adapt.prior import PRIOR_FORMAT, MeasuredPrior, MeasuredQuantity, latent_prior
from benchmarks.support.results import record
from robot_bridge.trial.folder import read_lines
from robot_bridge.trial.probing import ProbeLine, read_probes
from robot_bridge.trial.runner import TrialSettings, run
from sim.core.parameter import Split
from sim.core.task_space import Task
from sim.demo import REACH, SHIPPED, BodyName
from sim.insertion.plugs import MM
from sim.insertion.space import SPACE
from sim.insertion.worlds import InsertionWorlds
from sim.insertion.wrist import seat_pose
from sim.twin.child_processes import Children, Signals
from sim.twin.twin import draw_tasks

NAME = "probe"
SPLITS: tuple[Split, ...] = ("held_out", "unseen_choice")
START = 60.0
"""For bridge and twin to appear [s]."""
PATIENCE = 600.0
"""For one episode, or one probing, on a busy machine [s]."""
DEGREE = np.pi / 180
ACROSS, ABOUT = 0.17 * MM, 0.19 * DEGREE
"""What five touches of a socket's plate leave unknown in a prototype's twin (90 % of them within
these); taken as standard deviations here."""

Draw = Callable[[Task, np.random.Generator], MeasuredPrior | None]


def measured(names: Sequence[str], truth: Iterable[float], std: Iterable[float]) -> MeasuredPrior:
    """x, y [m] and yaw [rad] as they are claimed."""
    quantities = [
        MeasuredQuantity(name, unit, "linear", float(mean), std=float(each))
        for name, unit, mean, each in zip(names, ("m", "m", "rad"), truth, std, strict=True)
    ]
    return MeasuredPrior(PRIOR_FORMAT, quantities)


def socket(task: Task, rng: np.random.Generator) -> MeasuredPrior:
    """The socket measured as by touches; of the grasp nothing is known."""
    names = ("socket_x", "socket_y", "socket_yaw")
    std = np.array([ACROSS, ACROSS, ABOUT])
    return measured(names, [task[n] for n in names] + std * rng.normal(size=3), std)


def seat(across: float, about: float) -> Draw:
    """The pose at which the plug meets the socket, to so many m and rad, honestly."""

    def draw(task: Task, rng: np.random.Generator) -> MeasuredPrior:
        std = np.array([across, across, about])
        return measured(SEAT, _seat(task) + std * rng.normal(size=3), std)

    return draw


def boast(task: Task, rng: np.random.Generator) -> MeasuredPrior:
    """The seat, claimed to 0.2 mm and 1 mm off; the yaw honestly to 1.1°."""
    angle, about = rng.uniform(0, 2 * np.pi), 1.1 * DEGREE
    off = [MM * np.cos(angle), MM * np.sin(angle), about * rng.normal()]
    return measured(SEAT, _seat(task) + off, [0.2 * MM, 0.2 * MM, about])


def true_seat(task: Task, rng: np.random.Generator) -> MeasuredPrior:
    """The seat as it is, claimed as surely as touches do."""
    return measured(SEAT, _seat(task), [0.07 * MM, 0.07 * MM, 0.005])


SEAT = ("seat_x", "seat_y", "seat_yaw")
TOUCHED = "touched with the plug"
CELLS: dict[str, Draw] = {
    "the bundle's": lambda task, rng: None,
    "seat to 1 mm, 1.1°": seat(MM, 1.1 * DEGREE),
    "socket to 0.17 mm, 0.19°, grasp unknown": socket,
    "seat to 0.35 mm, 1.1°": seat(0.35 * MM, 1.1 * DEGREE),
    "seat claimed to 0.2 mm, 1 mm off": boast,
    "the true seat": true_seat,
}


def _seat(task: Task) -> np.ndarray:
    pose = seat_pose(task)
    return np.array([pose.x, pose.y, pose.yaw])


@dataclass(frozen=True)
class Plan:
    """tasks: of each split. seed: of tasks, starts, latents and errors of measurement."""

    tasks: int
    episodes: int
    seed: int

    def drawn(self) -> list[Task]:
        """All tasks, split after split, as a twin draws them."""
        return draw_tasks(SPACE, dict.fromkeys(SPLITS, self.tasks), self.seed)


def in_process(plan: Plan, priors: Sequence[MeasuredPrior | None]) -> np.ndarray:
    """Success (N, episodes) on the rig, every task in a world of its own."""
    bundle, tasks = PolicyBundle.load(SHIPPED), plan.drawn()
    adapters = [make_adapter(bundle, plan.seed * 1000 + i) for i in range(len(tasks))]
    for adapter, prior in zip(adapters, priors, strict=True):
        if prior is not None:
            adapter.start_from(latent_prior(prior, bundle.manifest))
    worlds = InsertionWorlds(len(tasks), plan.seed)
    worlds.assign(tasks)
    success = np.zeros((len(tasks), plan.episodes), bool)
    for episode in range(plan.episodes):
        worlds.rng = np.random.default_rng([plan.seed, episode])
        seen = worlds.reset(np.ones(len(tasks), bool))
        going = np.ones(len(tasks), bool)
        for adapter in adapters:
            adapter.begin_episode()
        while going.any():
            action = np.zeros((len(tasks), bundle.manifest.action_size), np.float32)
            for i in np.flatnonzero(going):
                action[i] = adapters[i].act(seen[i]).normalised
            step = worlds.step(action)
            for i in np.flatnonzero(going):
                reward, terminal = float(step.measured_reward[i]), bool(step.discount[i] == 0)
                lesson = Transition(seen[i], action[i], reward, step.observation[i], terminal)
                adapters[i].observe(lesson)
            success[going & step.success, episode] = True
            going &= ~step.done
            seen = step.observation
        for adapter in adapters:
            adapter.end_episode()
    worlds.close()
    return success


def touched(plan: Plan) -> np.ndarray:
    """Success (N, episodes) on the arm whose priors are touched first; records what that cost."""
    found: list[ProbeLine] = []
    success = through_a_bridge(plan, [None] * len(plan.drawn()), found)
    errors = []
    for line, task in zip(found, plan.drawn(), strict=True):
        means = {q.name: q.mean for q in line.prior.parameters}
        errors.append([means[name] for name in SEAT] - _seat(task))
    forces = [line.outcome.measures["peak_force"] for line in found]
    seconds = [line.report.seconds for line in found]
    across = np.linalg.norm(np.array(errors)[:, :2], axis=1) / MM
    parameters = {"body": "arm", "tasks": 2 * plan.tasks}
    for metric, value, unit in (
        ("probing, mean", float(np.mean(seconds)), "s"),
        ("probing, longest", max(seconds), "s"),
        ("peak force, median", float(np.median(forces)), "N"),
        ("peak force, largest", max(forces), "N"),
        ("seat across, p90 of error", float(np.quantile(across, 0.9)), "mm"),
    ):
        record(NAME, metric, value, unit, parameters, plan.seed)
    return success


def through_a_bridge(
    plan: Plan,
    priors: Sequence[MeasuredPrior | None],
    probings: list[ProbeLine] | None = None,
) -> np.ndarray:
    """Success (N, episodes) on the arm: bridge and twin are processes of their own. probings: to
    be filled by touches before each task; None for none."""
    probes = probings is not None
    with tempfile.TemporaryDirectory() as folder, Signals() as signals:
        scratch = Path(folder)
        endpoint = f"ipc://{scratch}/bridge.ipc"
        given = scratch / "priors"
        given.mkdir()
        for number, prior in enumerate(priors):
            if prior is not None:
                (given / f"{number}.json").write_bytes(msgspec.json.encode(prior))
        with Children(scratch, signals) as children:
            reach = f"probe.reach={REACH if probes else 0}"
            children.start("bridge", f"bundle={SHIPPED}", f"endpoint={endpoint}", reach)
            groups = [f"groups.{split}={plan.tasks}" for split in SPLITS]
            children.start("twin", f"endpoint={endpoint}", f"wait={START:g}", "body=arm", *groups)
            settings = TrialSettings(
                endpoint=endpoint,
                out=scratch / "trial",
                tasks=len(priors),
                episodes=plan.episodes,
                seed=plan.seed,
                prior=None if priors[0] is None else given,
                probe="first" if probes else "never",
                wait=START,
                patience=PATIENCE,
            )
            run(settings)
            if probings is not None:
                probings += read_probes(settings.out)
        success = np.zeros((len(priors), plan.episodes), bool)
        for line in read_lines(settings.out):
            success[line.task, line.episode] = line.outcome.success
    return success


METHODS = {"wrist": in_process, "arm": through_a_bridge}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=20, help="of each group")
    parser.add_argument("--episodes", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bodies", nargs="+", choices=get_args(BodyName), default=list(METHODS))
    cells = [*CELLS, TOUCHED]
    parser.add_argument("--cells", nargs="+", choices=cells, default=cells, metavar="NAME")
    words = parser.parse_args()
    plan = Plan(words.tasks, words.episodes, words.seed)
    for body in words.bodies:
        for cell in words.cells:
            if cell == TOUCHED and body != "arm":
                continue
            rng = np.random.default_rng([plan.seed, 1])
            if cell == TOUCHED:
                success = touched(plan)
            else:
                success = METHODS[body](plan, [CELLS[cell](task, rng) for task in plan.drawn()])
            for number, split in enumerate(SPLITS):
                rows = success[number * plan.tasks : (number + 1) * plan.tasks]
                for episode, rate in enumerate(rows.mean(axis=0)):
                    parameters = {
                        "body": body,
                        "group": split,
                        "tasks": plan.tasks,
                        "prior": cell,
                        "episodes": episode,
                    }
                    record(NAME, "success", float(rate), "1", parameters, plan.seed)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

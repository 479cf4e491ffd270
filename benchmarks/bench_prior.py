"""What a calibration is worth to a policy: a prior to start from, and a space to train in.

    python -m benchmarks.bench_prior walk [--twins 50] [--seeds 4] [--bundle FOLDER]
    python -m benchmarks.bench_prior retraining [--tasks 100] [--iterations 16]

`walk`: quadrupeds whose joints and loads are outside of what training met, the twins that
`bench_calibration run legs` and `run standing` have calibrated, walk on level ground for their
first two seconds: from the bundle's prior, from the calibrated one, and from the truth. In the
walk they have the twins' armature, friction, damping, gains, delay, link masses and loads.

`retraining`: an arm's cell is measured by touches; two runs go on from the shipped insertion
bundle for as many iterations, one in the family's space and one in the measured one. Both, and the
shipped bundle, then meet tasks of that cell, each with a grasp and a plug of its own, from their
own prior and from the measured one. It may be stopped and started again.
"""

from __future__ import annotations

import os

os.environ.setdefault("MUJOCO_GL", "disable")

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import mujoco
import numpy as np

import acclimate
from adapt.adapters.base import Adapter, Transition
from adapt.adapters.registry import make_adapter
from adapt.belief.gaussian import GaussianPrior
from adapt.bundle.policy_bundle import PolicyBundle
from adapt.errors import AcclimateError, PriorError
from adapt.prior import PRIOR_FORMAT, MeasuredPrior, MeasuredQuantity, latent_prior
from benchmarks.bench_calibration import SCRATCH, Kept, file_of, kept
from benchmarks.support.results import Scalar, record
from calibration.legs.locomotion import locomotion_prior, locomotion_quantities
from calibration.legs.model import LegsModel, legs_model
from calibration.legs.stance import PAYLOAD
from calibration.posterior import Posterior
from sim.core.parameter import Split
from sim.core.task_space import Task, TaskSpace
from sim.core.worlds import Step, Worlds
from sim.demo import SHIPPED
from sim.insertion.space import FACTOR_TERMS, FACTORS
from sim.insertion.space import SPACE as INSERTION
from sim.insertion.worlds import InsertionWorlds
from sim.locomotion.spec import CONTROL_PERIOD
from sim.locomotion.task import SPACE as LOCOMOTION
from sim.locomotion.worlds import LocomotionWorlds
from sim.robots import go2

NAME = "prior"
WALKING = Path("bundles/locomotion-ppo")
SECONDS = 2.0
LEAST = 0.6
"""Least deviation of a prior that claims less than it could, in those of the bundle's."""
SURE = 2500.0
"""Information of a quantity that is known to 2 % of its prior's deviation."""
CELL = Path("runs/bench_retraining")
TOUCHED = "blocks=[socket,contact]"
SCHEDULE = ("script_iterations=2", "validation_every=4", "validation_tasks=64", "threads=1")
GROUPS: tuple[Split, ...] = ("held_out", "unseen_choice")
EPISODES = 4
POLICIES = ("shipped", "wide", "narrow")
BUNDLES = "the bundle's"


@dataclass(frozen=True)
class Twin:
    """A quadruped that was calibrated: in the air, and on its feet."""

    legs: LegsModel
    air: Kept
    stood: Kept

    @property
    def values(self) -> np.ndarray:
        """Its true quantities (p,), in the order of the legs' priors."""
        return self.air.true

    @property
    def load(self) -> dict[str, float]:
        """Its payload, by the names of `PAYLOAD`."""
        names = self.stood.posterior.priors.names
        return {name: float(self.stood.true[names.index(name)]) for name in PAYLOAD}

    def found(self) -> MeasuredPrior:
        """What its calibration says."""
        return self._prior(self.air.posterior, self.stood.posterior)

    def truth(self) -> MeasuredPrior:
        """What a perfect one would say."""
        return self._prior(_known(self.air), _known(self.stood))

    def _prior(self, air: Posterior, stood: Posterior) -> MeasuredPrior:
        return locomotion_prior(locomotion_quantities(self.legs, air, stood), {})

    def task(self) -> Task:
        """On level ground, with its load and delay."""
        load = self.load
        delay = self.legs.scalar(self.values, "delay") + self.legs.scalar(
            self.values, "target_hold"
        )
        return LOCOMOTION.task(
            case="load", payload=load["payload"], payload_x=load["payload_x"],
            payload_y=load["payload_y"], delay=min(delay, LOCOMOTION["delay"].high),
        )  # fmt: skip

    def give(self, model: mujoco.MjModel) -> None:
        """Give a locomotion model this twin's joints and links."""
        legs, values = self.legs, self.values
        dofs = [model.joint(joint).dofadr[0] for joint in go2.JOINTS]
        for key, row in (
            ("armature", model.dof_armature),
            ("damping", model.dof_damping),
            ("friction", model.dof_frictionloss),
        ):
            row[dofs] = legs.values(values, key)
        gain = legs.values(values, "position_gain")
        model.actuator_gainprm[:, 0], model.actuator_biasprm[:, 1] = gain, -gain
        model.actuator_biasprm[:, 2] = -legs.values(values, "velocity_gain")
        links = model.dof_bodyid[dofs]
        model.body_mass[links] = model.body_mass[links] * legs.values(values, "link_mass")
        model.body_pos[model.body("payload").id, 2] = self.load["payload_z"]
        mujoco.mj_setConst(model, mujoco.MjData(model))


def _known(kept: Kept) -> Posterior:
    priors = kept.posterior.priors
    return Posterior(priors, priors.to_standard(kept.true), SURE * np.eye(len(kept.true)))


def walk(
    twins: Sequence[Twin], starts: Sequence[GaussianPrior | None], seed: int, bundle: PolicyBundle
) -> tuple[np.ndarray, np.ndarray]:
    """Mean distance of the velocity from the command until the end or a fall (N,) [m/s], and which
    (N,) fell. starts: None for the bundle's own prior."""
    adapters = [make_adapter(bundle, 1000 * seed + i) for i in range(len(twins))]
    for adapter, start in zip(adapters, starts, strict=True):
        if start is not None:
            adapter.start_from(start)
    worlds = LocomotionWorlds(len(twins), seed, 1)
    try:
        worlds.assign([twin.task() for twin in twins])
        for world, twin in enumerate(twins):
            twin.give(worlds.sim.model(world))
        errors, counts = np.zeros(len(twins)), np.zeros(len(twins))
        fell = np.zeros(len(twins), bool)
        for step, going in episode(worlds, adapters, round(SECONDS / CONTROL_PERIOD)):
            errors[going] += worlds.speed_error()[going]
            counts[going] += 1
            fell[going] |= (step.discount[going] == 0) & ~step.diverged[going]
        return errors / counts, fell
    finally:
        worlds.close()


def bench_walk(count: int, seeds: int, folder: Path, bundle: Path) -> None:
    legs = legs_model()
    twins = [
        Twin(legs, kept("legs", seed, folder), kept("standing", seed, folder))
        for seed in range(count)
        if file_of("legs", seed, folder).exists() and file_of("standing", seed, folder).exists()
    ]
    if not twins:
        raise SystemExit(
            f"{folder} holds no twin that was calibrated; first run python -m "
            "benchmarks.bench_calibration run legs, and run standing"
        )
    loaded = PolicyBundle.load(bundle)

    def start(prior: MeasuredPrior) -> GaussianPrior | None:
        try:
            return latent_prior(prior, loaded.manifest)
        except PriorError:  # as a bridge would, it then keeps the bundle's
            return None

    found = [start(twin.found()) for twin in twins]
    wider = [
        each and GaussianPrior(each.mean, np.maximum(each.variance, LEAST**2)) for each in found
    ]
    kinds: dict[str, list[GaussianPrior | None]] = {
        BUNDLES: [None] * len(twins),
        "calibrated": found,
        f"calibrated, deviations of {LEAST:g} or more": wider,
        "the truth": [start(twin.truth()) for twin in twins],
    }
    for kind, starts in kinds.items():
        runs = [walk(twins, starts, seed, loaded) for seed in range(seeds)]
        error, fell = (np.array([run[k] for run in runs]) for k in (0, 1))
        parameters: dict[str, Scalar] = {
            "bundle": loaded.manifest.name, "twins": len(twins), "walks": fell.size,
            "seconds": SECONDS, "prior": kind,
        }  # fmt: skip
        record(NAME, "velocity error", float(error.mean()), "m/s", parameters, 0)
        record(NAME, "share that fell", float(fell.mean()), "1", parameters, 0)
        print(kind, error.mean(), fell.mean(), flush=True)
    shared: dict[str, Scalar] = {"bundle": loaded.manifest.name, "twins": len(twins)}
    taken = float(np.mean([each is not None for each in found]))
    record(NAME, "priors that the bundle takes", taken, "1", shared, 0)


def bench_retraining(tasks: int, iterations: int, folder: Path, only: Sequence[str]) -> None:
    """Measure a cell, train in it and in the family's space, and compare those named."""
    if not (folder / "cell").exists():
        run_command("calibrate", "robot=twin", TOUCHED, "seed=0", f"out={folder}/cell")
    space = TaskSpace.load(folder / "cell" / "space.yaml")
    bundles = {"shipped": SHIPPED} if "shipped" in only else {}
    for name, narrow in (("wide", []), ("narrow", [f"space={folder}/cell/space.yaml"])):
        if name not in only:
            continue
        run = folder / name
        words = ("experiment=insertion_pearl", f"start={SHIPPED}", *narrow, *SCHEDULE)
        run_command("train", *words, f"iterations={iterations}", f"name={name}", f"out={run}")
        bundles[f"{name} space, {iterations} iterations more"] = folder / f"{name}-bundle"
        if not (folder / f"{name}-bundle").exists():
            run_command("export", str(run), f"out={folder}/{name}-bundle", f"name={name}")
    prior = cell_prior(space)
    narrowed = INSERTION.narrowed(space)
    drawn = [t for split in GROUPS for t in narrowed.sample(tasks, np.random.default_rng(1), split)]
    for policy, bundle in bundles.items():
        for told, start in ((BUNDLES, None), ("the cell's", prior)):
            success = insert(bundle, drawn, start)
            for group, split in enumerate(GROUPS):
                rates = success[group * tasks : (group + 1) * tasks].mean(axis=0)
                for k, rate in enumerate(rates.tolist()):
                    parameters: dict[str, Scalar] = {
                        "policy": policy, "group": split, "tasks": tasks, "prior": told,
                        "episodes": k,
                    }  # fmt: skip
                    record(NAME, "success", rate, "1", parameters, 0)
                print(policy, split, told, rates, flush=True)


def cell_prior(space: TaskSpace) -> MeasuredPrior:
    """What a measured cell says of the insertion family's factors, with any grasp."""
    found = space.measured
    if found is None:
        raise AcclimateError(f"task space {space.name!r} has nothing measured")
    known = {term.name for terms in FACTOR_TERMS.values() for term in terms}
    known |= {factor.name for factor in FACTORS}
    names = [name for name in found.names if name in known]
    part = found.marginal(names)
    quantities = [
        MeasuredQuantity(name, space[name].unit, _scale(space, name), mean)
        for name, mean in zip(names, part.mean, strict=True)
    ]
    return MeasuredPrior(PRIOR_FORMAT, quantities, [list(row) for row in part.covariance])


def _scale(space: TaskSpace, name: str) -> Literal["linear", "log"]:
    return "log" if space[name].scale == "log" else "linear"


def insert(bundle: Path, tasks: Sequence[Task], prior: MeasuredPrior | None) -> np.ndarray:
    """Success (N, episodes) on the rig that training uses."""
    loaded = PolicyBundle.load(bundle)
    adapters = [make_adapter(loaded, i) for i in range(len(tasks))]
    if prior is not None:
        start = latent_prior(prior, loaded.manifest)
        for adapter in adapters:
            adapter.start_from(start)
    worlds = InsertionWorlds(len(tasks), 0, 1)
    success = np.zeros((len(tasks), EPISODES), bool)
    try:
        worlds.assign(tasks)
        for k in range(EPISODES):
            worlds.rng = np.random.default_rng([1, k])
            for step, going in episode(worlds, adapters, worlds.spec.horizon):
                success[going & step.success, k] = True
        return success
    finally:
        worlds.close()


def episode(
    worlds: Worlds, adapters: Sequence[Adapter], periods: int
) -> Iterator[tuple[Step, np.ndarray]]:
    """One episode in every world, of at most so many periods. Yields each step and which worlds
    (B,) were in their episode as it was made."""
    going = np.ones(len(adapters), bool)
    seen = worlds.reset(going)
    for adapter in adapters:
        adapter.begin_episode()
    action = np.zeros((len(adapters), worlds.spec.action_size), np.float32)
    for _ in range(periods):
        action[:] = 0.0
        for i in np.flatnonzero(going).tolist():
            action[i] = adapters[i].act(seen[i]).normalised
        step = worlds.step(action)
        for i in np.flatnonzero(going).tolist():
            reward, terminal = float(step.measured_reward[i]), bool(step.discount[i] == 0)
            adapters[i].observe(
                Transition(seen[i], action[i], reward, step.observation[i], terminal)
            )
        yield step, going
        going = going & ~step.done
        if not going.any():
            break
        seen = step.observation
    for adapter in adapters:
        adapter.end_episode()


def run_command(*words: str) -> None:
    """Run the command in this process; raises SystemExit where it fails."""
    if code := acclimate.main(list(words)):
        raise SystemExit(code)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("walk", "retraining"))
    parser.add_argument("--twins", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=4, help="walks of each twin")
    parser.add_argument("--bundle", type=Path, default=WALKING, help="that walks")
    parser.add_argument("--folder", type=Path, default=SCRATCH, help="of the twins' files")
    parser.add_argument("--tasks", type=int, default=100, help="of each group, to insert")
    parser.add_argument("--iterations", type=int, default=16, help="of both trainings")
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=POLICIES)
    parser.add_argument("--runs", type=Path, default=CELL, help="of the cell and both trainings")
    options = parser.parse_args()
    if options.what == "retraining":
        bench_retraining(options.tasks, options.iterations, options.runs, options.policies)
        return
    bench_walk(options.twins, options.seeds, options.folder, options.bundle)


if __name__ == "__main__":
    main()

"""Settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from policies.algorithms.pearl.learner import PearlConfig

Count = Annotated[int, Meta(ge=1)]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]


@dataclass(frozen=True)
class TrainSettings:
    """What `acclimate train algorithm=pearl` is told.

    name: of the run; its folder is `out`.
    seed: of everything: tasks, weights, noise, batches.
    family: of tasks: a name of ours, or package.module:NAME (docs/families.md).
    device: "auto" takes CUDA where there is one.
    precision: "auto" takes bfloat16 where the processor multiplies it natively.
    threads: of the physics and of torch; they take turns.
    worlds: in an iteration. run_steps: control periods on one task before the next.
    shards: jobs that an iteration's worlds are divided into, each in lock-step. Another layout
        gives other numbers; who runs the jobs does not.
    collectors: who runs them: this process, or Ray's workers (`pip install '.[train,ray]'`).
    workers, worker_threads: how many of Ray's, and threads of the physics of each.
    ray_address: of a running cluster, such as "auto" or "10.0.0.1:6379"; null starts Ray on this
        machine, for this run alone.
    train_tasks: drawn from the training split, or the family's fixed set.
    iterations: each collects, makes updates_per_iteration updates and, every validation_every,
        validates over validation_episodes episodes; every checkpoint_every a checkpoint is written.
    script_iterations: at the start, collected with the family's script instead of the policy.
    refit_normalisers: whether what networks are fed is standardised by all that was met so far,
        fitted anew before each iteration's updates; else by what the script met, for good. Beyond 8
        standard deviations all looks alike: fast runners are unknown to random actions.
    prior_fraction: share of worlds whose belief stays at the prior while collecting.
    told_fraction: share of worlds that act on the truth while collecting ("posterior" alone).
        Where updates know the task (learner.told_rows), critics else guess what comes of that.
    deterministic_fraction: share of worlds that act without noise while collecting.
    validation_tasks: fresh draws from the *training* split that choose the checkpoint to keep.
    """

    name: str
    out: Path
    algorithm: Literal["pearl"] = "pearl"
    seed: Annotated[int, Meta(ge=0)] = 0
    family: str = "insertion"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: Count = 2
    train_tasks: Count = 2560
    worlds: Count = 64
    run_steps: Count = 160
    shards: Count = 1
    collectors: Literal["local", "ray"] = "local"
    workers: Count = 2
    worker_threads: Count = 1
    ray_address: str | None = None
    iterations: Count = 40
    script_iterations: Annotated[int, Meta(ge=0)] = 4
    updates_per_iteration: Annotated[int, Meta(ge=0)] = 250
    refit_normalisers: bool = False
    prior_fraction: Fraction = 0.25
    told_fraction: Fraction = 0.0
    deterministic_fraction: Fraction = 0.25
    validation_tasks: Count = 96
    validation_episodes: Count = 4
    validation_every: Count = 4
    checkpoint_every: Count = 2
    learner: PearlConfig = field(default_factory=PearlConfig)

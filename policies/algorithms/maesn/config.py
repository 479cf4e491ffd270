"""MAESN's settings and hyperparameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from adapt.settings import Count, Fraction, NonNegative, Positive, WholeNumber, Widths
from policies.training.settings import TrainSettings


@dataclass(frozen=True)
class MaesnConfig:
    """Hyperparameters of the learner.

    latent: size of z.
    hold: steps for which a latent is held; 0 holds it for the episode. 1 explores by noise of each
        step.
    inner_reward: the reward that adaptation climbs in training; a robot climbs the measured one.
    counted: which of an episode's measured rewards make its return; last where the reward says how
        far the task has come.
    hidden: widths of the policy's layers.
    episodes: episodes of each task in one adaptation step, and in one update.
    tasks_per_batch: tasks in an update.
    step_size: initial step of the belief's mean and log std, in standard deviations.
    size_learning_rate: Adam's, of the step sizes; 0 keeps them.
    kl_weight: of KL(belief before the step ‖ N(0, I)).
    trust_region: mean KL of the actions' distribution in one update [nat].
    damping: added to the diagonal of the trust region's Fisher matrix.
    discount: of the return.
    action_std: initial standard deviation of an action, before the tanh.
    """

    latent: Count = 2
    hold: WholeNumber = 0
    inner_reward: Literal["dense", "measured"] = "dense"
    counted: Literal["every", "last"] = "every"
    hidden: Widths = (100, 100)
    episodes: Count = 20
    tasks_per_batch: Count = 20
    step_size: Positive = 1.5
    size_learning_rate: NonNegative = 3e-3
    kl_weight: NonNegative = 0.02
    trust_region: Positive = 0.03
    damping: NonNegative = 1e-3
    discount: Fraction = 0.99
    action_std: Positive = 0.6


@dataclass(frozen=True)
class MaesnSettings(TrainSettings):
    """MAESN: the belief takes a gradient step after some episodes; trained by trust regions.

    start: folder of a PEARL run with a grounded latent, whose policy this run takes over; the
        training tasks' beliefs then start at the prior, as a new task's does. null starts anew.
    validation_steps: adaptation steps from the prior on each validation task.
    """

    algorithm: Literal["maesn"] = "maesn"
    family: str = "point-sparse"
    start: Path | None = None
    train_tasks: Count = 80
    iterations: Count = 240
    validation_tasks: Count = 40
    validation_steps: Count = 3
    validation_every: Count = 20
    checkpoint_every: Count = 10
    learner: MaesnConfig = field(default_factory=MaesnConfig)

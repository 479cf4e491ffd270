"""MAESN's settings and hyperparameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from policies.training.settings import Count, TrainSettings


@dataclass(frozen=True)
class MaesnConfig:
    """Hyperparameters of the learner.

    latent: size of z.
    hold: steps for which a latent is held; 0 for the episode. 1 is exploration by per-step noise.
    inner_reward: what adaptation climbs in training; "measured" is what it climbs on a robot.
    counted: which of an episode's measured rewards make its return; "last" where the reward says
        how far the task has come.
    hidden: the policy's widths. discount: of the return.
    tasks_per_batch: of one update.
    episodes: in one adaptation step, and per task of one update.
    step_size: initial, of the belief's mean and log std, in standard deviations.
    size_learning_rate: Adam's, of the step sizes.
    kl_weight: of KL(belief before the step ‖ N(0, I)).
    trust_region: mean KL of actions in one update [nat]. damping: of its Fisher matrix.
    action_std: initial, before the tanh.
    """

    latent: int = 2
    hold: int = 0
    inner_reward: Literal["dense", "measured"] = "dense"
    counted: Literal["every", "last"] = "every"
    hidden: tuple[int, ...] = (100, 100)
    episodes: int = 20
    tasks_per_batch: int = 20
    step_size: float = 1.5
    size_learning_rate: float = 3e-3
    kl_weight: float = 0.02
    trust_region: float = 0.03
    damping: float = 1e-3
    discount: float = 0.99
    action_std: float = 0.6


@dataclass(frozen=True)
class MaesnSettings(TrainSettings):
    """MAESN: the belief takes a gradient step after some episodes; trained by trust regions.

    start: a PEARL run with a grounded latent, whose policy this one takes over; the training tasks'
        beliefs then start at the prior, where a new task does. null starts from nothing.
    train_tasks: each with a belief of its own.
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

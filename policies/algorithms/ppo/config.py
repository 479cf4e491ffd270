"""PPO's settings and hyperparameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from adapt.settings import Count, Fraction, NonNegative, Positive, Widths
from policies.training.settings import TrainSettings

Knowledge = Literal["none", "history", "belief", "regression", "truth"]


@dataclass(frozen=True)
class PpoConfig:
    """Hyperparameters of the learner.

    knowledge: what the actor is fed of the task beside the observation: nothing, for a policy that
        is randomised over tasks; the state of a memory of all transitions so far, which is trained
        with the policy; mean and log variance of a belief over the task's factors, which
        is trained in the same run; the belief's mean alone, in the place of the truth that the
        policy of `start` was told, with a belief that is trained and a policy that is not (RMA,
        Kumar et al. 2021, arXiv 2107.04034); or the true standardised factors, which no robot can
        know.
    hidden: widths of the actor's layers.
    critic_hidden: widths of the critic's layers. It is told the true factors in every case.
    discount: γ of the returns.
    gae_lambda: λ of the advantages: 0 takes the next value for what comes after a step, 1 the
        rewards that followed.
    epochs: passes over the steps of a roll-out in an update.
    minibatches: gradient steps in a pass.
    clip: by how much an action's probability may change, as a share of what it was, before a step
        gains nothing more from changing it.
    value_clip: the same for values, in standard deviations of the returns; 0 does not clip.
    value_weight: of the critic's loss.
    entropy_weight: of the entropy of actions in [-1, 1].
    learning_rate: Adam's; where target_kl steers it, the first one.
    target_kl: mean KL of new from old actions [nat]. Above twice it the learning rate falls, below
        half of it the rate rises; 0 keeps the rate.
    max_gradient: norm at which gradients are clipped.
    action_std: initial standard deviation of an action, before the tanh.
    capacity: transitions behind a belief: the latest ones, so that it follows a change.
    reward_in_context: a transition of the context holds the measured reward.
    next_in_context: a transition of the context holds the next observation.
    encoder_hidden: widths of the encoder's layers.
    encoder_learning_rate: Adam's, of the encoder.
    encoder_epochs: passes of the encoder over an iteration's runs.
    memory_size: numbers in the memory's state.
    """

    knowledge: Knowledge = "none"
    hidden: Widths = (256, 128)
    critic_hidden: Widths = (256, 128)
    discount: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.98
    gae_lambda: Fraction = 0.95
    epochs: Count = 5
    minibatches: Count = 4
    clip: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.2
    value_clip: NonNegative = 0.0
    value_weight: Positive = 1.0
    entropy_weight: NonNegative = 0.005
    learning_rate: Positive = 1e-3
    target_kl: NonNegative = 0.01
    max_gradient: Positive = 1.0
    action_std: Positive = 0.6
    capacity: Count = 100
    reward_in_context: bool = False
    next_in_context: bool = True
    encoder_hidden: Widths = (128, 128)
    encoder_learning_rate: Positive = 1e-3
    encoder_epochs: Count = 4
    memory_size: Count = 64


@dataclass(frozen=True)
class PpoSettings(TrainSettings):
    """PPO: on-policy roll-outs in many worlds, each followed by an update.

    worlds: worlds that collect side by side.
    rollout_steps: control periods between two updates.
    rollouts: roll-outs in an iteration. In an iteration every world stays on one task, and its
        episodes go on from one roll-out to the next.
    validation_episodes: consecutive episodes of each validation task.
    start: folder of a PPO run whose best networks this one starts from; what this one feeds its
        actor beside the observation has no weight at first. null starts anew.
    """

    algorithm: Literal["ppo"] = "ppo"
    family: str = "locomotion"
    worlds: Count = 128
    rollout_steps: Count = 24
    rollouts: Count = 20
    train_tasks: Count = 4096
    iterations: Count = 100
    validation_tasks: Count = 64
    validation_episodes: Count = 1
    validation_every: Count = 10
    checkpoint_every: Count = 5
    start: Path | None = None
    learner: PpoConfig = field(default_factory=PpoConfig)

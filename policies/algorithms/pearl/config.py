"""PEARL's settings and hyperparameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from policies.networks.critics import CriticKind
from policies.rollout.collectors import CollectSettings
from policies.training.settings import Count, TrainSettings

Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]


@dataclass(frozen=True)
class PearlConfig:
    """Hyperparameters of the learner.

    objective: what trains the encoder; "none" and "privileged" have none.
    latent: size of z for "critic"; "posterior" and "privileged" take one dimension per factor.
    capacity: transitions that make the context.
    hold: control periods for which a latent is held; 0 for an episode.
    reward_in_context, next_in_context: what a transition holds besides observation and action.
    actor_hidden, encoder_hidden: widths.
    discount, target_rate: γ, and τ of the target network (SAC).
    n_step: rewards summed before a target takes the following value from the critic. More than one
        carry values back faster, and judge an action by what an older policy did after it.
    learning_rate: Adam's, of actor, critic and temperature; encoder_learning_rate: of the encoder.
        All fall linearly to a tenth.
    kl_weight: β of the objective "critic".
    target_entropy_per_action, initial_temperature: what the temperature is steered to [nat], from
        where.
    exploration: latents are drawn with the belief's standard deviations times this.
    told_rows: share of an update's rows whose latent is the truth ("posterior" alone). Where a wide
        belief says nothing worth acting on, the actor else learns to ignore z, and no context ever
        narrows it.
    reward_scale: the critic's unit is a reward of 1 / reward_scale; beside it the temperature is
        high or low.
    standardise_rewards: divide rewards, before that, by their standard deviation under the family's
        script, and have the critic learn what a state is worth beyond the average one.
    critic: which twin critic, see policies.networks.critics. critic_hidden: its widths.
    tasks_per_batch, rows_per_task: an update's shape.
    context_recency: contexts come from this many newest runs.
    """

    objective: Literal["critic", "posterior", "none", "privileged"] = "posterior"
    latent: int = 5
    capacity: int = 160
    hold: int = 8
    exploration: float = 1.25
    reward_in_context: bool = True
    next_in_context: bool = True
    actor_hidden: tuple[int, ...] = (256, 256)
    critic: CriticKind = "layer_norm"
    critic_hidden: tuple[int, ...] = (256, 256)
    encoder_hidden: tuple[int, ...] = (128, 128)
    discount: float = 0.98
    target_rate: float = 0.005
    n_step: Annotated[int, Meta(ge=1)] = 1
    learning_rate: float = 3e-4
    encoder_learning_rate: float = 5e-4
    kl_weight: float = 0.1
    reward_scale: float = 1.0
    standardise_rewards: bool = False
    target_entropy_per_action: float = -1.0
    initial_temperature: float = 0.1
    told_rows: float = 0.0
    tasks_per_batch: int = 16
    rows_per_task: int = 48
    context_recency: int = 1024


@dataclass(frozen=True)
class PearlSettings(CollectSettings, TrainSettings):
    """PEARL: the belief changes at every transition; soft actor-critic learns from a replay.

    device: "auto" takes CUDA where there is one.
    precision: "auto" takes bfloat16 where the processor multiplies it natively.
    script_iterations: at the start, collected with the family's script instead of the policy.
    updates_per_iteration: once the script has ended.
    refit_normalisers: whether what networks are fed is standardised by all that was met so far,
        fitted anew before each iteration's updates; else by what the script met, for good. Beyond 8
        standard deviations all looks alike: fast runners are unknown to random actions.
    prior_fraction: share of worlds whose belief stays at the prior while collecting.
    told_fraction: share of worlds that act on the truth while collecting ("posterior" alone).
        Where updates know the task (learner.told_rows), critics otherwise never see such actions.
    deterministic_fraction: share of worlds that act without noise while collecting.
    validation_episodes: consecutive ones on each validation task.
    """

    algorithm: Literal["pearl"] = "pearl"
    family: str = "insertion"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    train_tasks: Count = 2560
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

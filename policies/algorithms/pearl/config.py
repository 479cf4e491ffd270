"""PEARL's settings and hyperparameters."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from adapt.settings import Count, Fraction, NonNegative, Positive, WholeNumber, Widths
from policies.networks.critics import CriticKind
from policies.rollout.collectors import CollectSettings
from policies.training.settings import TrainSettings


@dataclass(frozen=True)
class PearlConfig:
    """Hyperparameters of the learner.

    objective: what trains the encoder: the critic's loss, or the posterior of the task's true
        factors. "none" has no latent; "privileged" is told the true factors and has no encoder.
    belief: what the encoder makes of transitions. "product" makes one Gaussian factor of each, and
        the belief is their product, as published. "recurrent" carries a state from transition to
        transition and reads a mixture of Gaussians from it ("posterior" alone): it can remember
        where the robot has searched in vain.
    latent: size of z for "critic"; "posterior" and "privileged" take one dimension per factor.
    capacity: transitions in the context of a product.
    state: numbers in the state of a recurrent belief.
    components: Gaussians in the mixture of a recurrent belief.
    window: transitions that the gradient of a recurrent belief goes back.
    hold: control periods for which a latent is held; 0 holds it for an episode.
    exploration: latents are drawn with the belief's standard deviations times this.
    reward_in_context: a transition of the context holds the reward.
    next_in_context: a transition of the context holds the next observation.
    actor_hidden: widths of the actor's layers.
    critic: which twin critic (policies/networks/critics.py).
    critic_hidden: widths of each critic's layers.
    encoder_hidden: widths of the encoder's layers; of a recurrent belief, those before the state.
    discount: γ of the returns.
    target_rate: τ, the share by which the target network follows the critic in an update (SAC).
    n_step: rewards summed before a target takes the following value from the critic. More than one
        carry values back faster, and judge an action by what an older policy did after it.
    learning_rate: Adam's, of actor, critic and temperature; falls linearly to a tenth.
    encoder_learning_rate: Adam's, of the encoder; falls linearly to a tenth.
    fixed_actor: train the belief alone, for a policy that knows what to do with a latent; `start`
        names where that comes from.
    kl_weight: β of the objective "critic".
    reward_scale: rewards are multiplied by this for the critic, which sets the weight of the
        entropy beside them.
    standardise_rewards: divide rewards, before that, by their standard deviation under the family's
        script, and let the critic learn what a state is worth beyond the average one.
    target_entropy_per_action: entropy that the temperature is steered to [nat]; no action in
        [-1, 1] has more than ln 2.
    initial_temperature: where the temperature starts.
    told_rows: share of an update's rows whose latent is the truth ("posterior" alone). Where a wide
        belief says nothing worth acting on, the actor otherwise learns to ignore z, and no context
        ever narrows the belief.
    tasks_per_batch: tasks in an update.
    rows_per_task: transitions of each task in an update.
    context_recency: contexts come from this many newest runs.
    """

    objective: Literal["critic", "posterior", "none", "privileged"] = "posterior"
    belief: Literal["product", "recurrent"] = "product"
    latent: Count = 5
    capacity: Count = 160
    state: Count = 128
    components: Annotated[int, Meta(ge=1, le=1024)] = 10
    window: Count = 64
    hold: WholeNumber = 8
    exploration: NonNegative = 1.25
    reward_in_context: bool = True
    next_in_context: bool = True
    actor_hidden: Widths = (256, 256)
    critic: CriticKind = "layer_norm"
    critic_hidden: Widths = (256, 256)
    encoder_hidden: Widths = (128, 128)
    discount: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.98
    target_rate: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.005
    n_step: Count = 1
    learning_rate: Positive = 3e-4
    encoder_learning_rate: Positive = 5e-4
    fixed_actor: bool = False
    kl_weight: NonNegative = 0.1
    reward_scale: Positive = 1.0
    standardise_rewards: bool = False
    target_entropy_per_action: Annotated[float, Meta(ge=-20.0, lt=math.log(2))] = -1.0
    initial_temperature: Positive = 0.1
    told_rows: Fraction = 0.0
    tasks_per_batch: Count = 16
    rows_per_task: Count = 48
    context_recency: Count = 1024


@dataclass(frozen=True)
class PearlSettings(CollectSettings, TrainSettings):
    """PEARL: the belief changes at every transition; soft actor-critic learns from a replay.

    start: a run folder or a bundle whose networks this run takes over, with their normalisers: the
        actor, and the critic and the encoder where it has such as this run trains. null starts
        anew.
    device: auto takes CUDA where there is a GPU.
    precision: auto takes bfloat16 where the processor multiplies it natively.
    script_iterations: iterations at the start that collect with the family's script instead of the
        policy.
    updates_per_iteration: updates of the networks in each iteration after the script's.
    refit_normalisers: true standardises the networks' inputs by all that was met so far, fitted
        before each iteration's updates; false by what the script met. Beyond 8 standard deviations
        inputs are clipped, and a script of random actions meets no fast runners.
    prior_fraction: share of worlds whose belief stays at the prior while collecting.
    told_fraction: share of worlds that act on the truth while collecting ("posterior" alone).
        Where updates know the task (learner.told_rows), critics otherwise never see such actions.
    deterministic_fraction: share of worlds that act without noise while collecting.
    validation_episodes: consecutive episodes of each validation task.
    """

    algorithm: Literal["pearl"] = "pearl"
    family: str = "insertion"
    start: Path | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    train_tasks: Count = 2560
    iterations: Count = 40
    script_iterations: WholeNumber = 4
    updates_per_iteration: WholeNumber = 250
    refit_normalisers: bool = False
    prior_fraction: Fraction = 0.25
    told_fraction: Fraction = 0.0
    deterministic_fraction: Fraction = 0.25
    validation_tasks: Count = 96
    validation_episodes: Count = 4
    validation_every: Count = 4
    checkpoint_every: Count = 2
    learner: PearlConfig = field(default_factory=PearlConfig)

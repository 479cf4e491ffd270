"""The contract of every algorithm on the learning side.

A `Learner` trains networks. Its `Policy` is what acts: networks without what trains them, which
other processes may receive. A policy makes an `Agent`, which acts and adapts in B worlds with the
verbs of `adapt.adapters.base.Adapter`:

    reset -> begin_episode -> act, observe, act, observe, ... -> end_episode -> begin_episode ...

Everything else (trainer, roll-outs, evaluation, export, parity) knows these types alone.

Legend: B worlds, N tasks, n_o observation, n_a action, n_z latent, n_f task factors. A mask (B,) is
a boolean array that names worlds.
"""

# ruff: noqa: B027  # an agent without memory overrides nothing but `act`

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from adapt.bundle.observed_range import Seen
from adapt.errors import AcclimateError
from policies.training.seeds import Seeds
from policies.training.settings import TrainSettings
from sim.core.family import Family
from sim.core.task_space import Task

if TYPE_CHECKING:
    from policies.rollout.trials import Curve

Metrics = dict[str, float]
S = TypeVar("S", bound=TrainSettings)


@dataclass(frozen=True)
class Action:
    """Answers to B observations.

    normalised: (B, n_a) float32 in [−1, 1].
    extras: per-step values (B, ·) by name that the learner wants recorded beside the action, such
        as log densities or hidden states.
    """

    normalised: np.ndarray
    extras: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Transition:
    """One control period of B worlds, as a robot could measure it.

    observation, next_observation: (B, n_o). action: (B, n_a) normalised. reward: (B,) the measured
    one. terminal: (B,) whether the state after it ends the task.
    """

    observation: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    next_observation: np.ndarray
    terminal: np.ndarray


@dataclass(frozen=True)
class Belief:
    """mean, variance: (B, n_z) of each world's belief over the latent; n_z is 0 without one."""

    mean: Tensor
    variance: Tensor


class Agent(ABC):
    """Acts and adapts in B worlds in lock-step. The defaults suit a policy without memory.

    adapting: (B,) worlds whose belief follows what they meet; elsewhere it stays as it is.
    """

    STATE: ClassVar[tuple[str, ...]] = ("adapting",)
    """Attributes, tensors or arrays, that the next answer depends on; see `snapshot`."""

    def __init__(self, worlds: int, generator: torch.Generator) -> None:
        self.worlds, self.generator = worlds, generator
        self.adapting = np.ones(worlds, bool)

    def reset(self, which: np.ndarray, factors: np.ndarray) -> None:
        """New tasks in worlds (B,): forget everything about the old ones.

        factors: (B, n_f) true standardised factors, for agents that are told them (see `tell`).
        """

    def tell(self, which: np.ndarray) -> None:
        """Act on the true factors instead of a belief in worlds (B,), from now on.

        Raises AcclimateError where the latent does not stand for the task's factors.
        """
        raise AcclimateError(f"{type(self).__name__} cannot act on the task's factors")

    def begin_episode(self, which: np.ndarray) -> None:
        """An episode begins in worlds (B,)."""

    @abstractmethod
    def act(
        self, observation: np.ndarray, stochastic: np.ndarray | bool, latent: Tensor | None = None
    ) -> Action:
        """Answer observations (B, n_o).

        stochastic: whether, or in which worlds (B,), the action is drawn; elsewhere it is the mode.
        latent: (B, n_z) to act on instead of the agent's own; the parity gate passes the robot's.
        """

    def observe(self, transition: Transition, valid: np.ndarray) -> None:
        """Take note of what one control period taught, in worlds (B,) where it is valid."""

    def end_episode(self, which: np.ndarray, complete: np.ndarray) -> None:
        """The episode has ended in worlds (B,); where not complete (B,) it was cut."""

    def belief(self) -> Belief:
        """The beliefs as they stand."""
        nothing = torch.zeros(self.worlds, 0)
        return Belief(nothing, nothing)

    def snapshot(self) -> bytes:
        """Everything that the agent knows; see `restore`."""
        state = {name: torch.as_tensor(getattr(self, name)) for name in self.STATE}
        stream = io.BytesIO()
        torch.save(state | {"generator": self.generator.get_state()}, stream)
        return stream.getvalue()

    def restore(self, data: bytes) -> None:
        """Return to a snapshot: from here on the agent answers as it did from there."""
        state = torch.load(io.BytesIO(data), weights_only=True)
        self.generator.set_state(state.pop("generator"))
        for name, value in state.items():
            array = isinstance(getattr(self, name), np.ndarray)
            setattr(self, name, value.numpy() if array else value)


class Policy(Protocol):
    """What acts: networks on the CPU and constants, to be pickled and sent to other processes."""

    @property
    def episodes_per_step(self) -> int:
        """E: episodes that one change of the belief takes; 1 where it changes within an episode."""
        ...

    @property
    def adapts(self) -> bool:
        """Whether there is a belief that follows what is met."""
        ...

    @property
    def privileged(self) -> bool:
        """Whether it is always told the true task, which no robot can be."""
        ...

    def agent(self, worlds: int, generator: torch.Generator, share: int = 1) -> Agent:
        """An agent at the prior.

        generator: of all its noise.
        share: so many consecutive worlds meet one task and share one belief, so that the episodes
            of a step run side by side: 1 or `episodes_per_step`.
        """
        ...


@dataclass(frozen=True)
class Trial:
    """How validation tries a policy: columns K of its `Curve`; stochastic: whether actions are
    drawn."""

    columns: int
    stochastic: bool


@dataclass(frozen=True)
class Artefacts:
    """What an algorithm puts into a bundle.

    graphs: ONNX by name. golden: inputs and outputs of the graphs, as "graph/array" (see
    adapt.bundle.golden). manifest: the algorithm's own keys of the manifest. seen: what training
    observed, for the robot's guard; None where that is not known any more.
    """

    graphs: dict[str, bytes]
    golden: dict[str, np.ndarray]
    manifest: dict[str, Any]
    seen: Seen | None


class Learner(Protocol):
    """Trains networks. What it collects, and when it updates, is its own business."""

    @property
    def updates(self) -> int:
        """Updates made so far; a run validates once there is one."""
        ...

    @property
    def trial(self) -> Trial: ...

    def policy(self) -> Policy:
        """The networks as they stand, on the CPU; not copied where they are there already."""
        ...

    def iterate(self, iteration: int) -> Metrics:
        """Iteration number `iteration` of the run: collect, then update.

        Returns metrics by name, among them "collect/return", "collect/success", "steps" (control
        periods so far) and "time/collect" [s]. What begins with "learn/" must be finite.
        """
        ...

    def judge(self, curve: Curve) -> Metrics:
        """Of a validation: "score", what the checkpoint to keep has most of, and what else is
        worth logging."""
        ...

    def modules(self) -> dict[str, nn.Module]:
        """What an evaluation and an export need, by the names that best.pt keeps them under."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next iteration depends on: tensors and plain values."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def export(self, run: Path, generator: torch.Generator) -> Artefacts:
        """The networks as a bundle's contents.

        run: folder that the networks come from. generator: of golden inputs.
        Raises AcclimateError where they can be no bundle.
        """
        ...

    def close(self) -> None:
        """Let workers and threads go; another iteration would start them anew."""
        ...


@dataclass(frozen=True)
class Setup(Generic[S]):
    """What a learner is made from."""

    settings: S
    family: Family
    tasks: list[Task]
    validation_tasks: list[Task]
    seeds: Seeds


@dataclass(frozen=True)
class Algorithm:
    """An entry of the registry. settings: its dataclass. learner: makes a learner from a setup."""

    settings: type[TrainSettings]
    learner: Callable[[Setup[Any]], Learner]

"""Adaptation trials in simulation: every world meets one task and keeps what it has learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from adapt.errors import AcclimateError
from policies.algorithms.contract import Action, Agent, Policy
from policies.rollout.driver import roll_out
from policies.rollout.episodes import collect_episodes
from sim.core.family import Family
from sim.core.task_space import Task
from sim.core.worlds import Step, Worlds


@dataclass(frozen=True)
class Curve:
    """N tasks × K columns. Column k has k changes of the belief's episodes behind it: k episodes,
    or k steps of E episodes each (`Policy.episodes_per_step`), and is the mean over E episodes.

    success, steps: (N, K).
    returns, measured: (N, K) sums of the critics' reward and of the measured one.
    mean, std: (N, K, n_z) belief at the start of the column.
    truth: (N, n_f) standardised factors.
    """

    success: np.ndarray
    steps: np.ndarray
    returns: np.ndarray
    measured: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    truth: np.ndarray


def score(curve: Curve, judged_by: Literal["success", "return"]) -> float:
    """What chooses the networks to keep, where a belief changes within an episode."""
    if judged_by == "success":
        return float(curve.success.mean()) + 1e-3 * float(curve.returns.mean())
    # The first episode explores: where nothing else ends it, its return does not count.
    return float(curve.measured[:, min(1, curve.measured.shape[1] - 1) :].mean())


class CurveRecorder:
    """K consecutive episodes in every world, each world at its own pace.

    A world that diverges starts its episode anew.
    """

    def __init__(self, worlds: Worlds, agent: Agent, episodes: int) -> None:
        b, n_z = worlds.worlds, agent.belief().mean.shape[1]
        self._agent, self._k, self._row = agent, episodes, np.arange(b)
        # A world that diverged again and again would never finish: the bound lets everyone out.
        self._left = 2 * episodes * worlds.spec.horizon
        self.success = np.zeros((b, episodes), bool)
        self.steps = np.zeros((b, episodes), int)
        self.returns, self.measured = np.zeros((b, episodes)), np.zeros((b, episodes))
        self.mean, self.std = np.zeros((b, episodes, n_z)), np.zeros((b, episodes, n_z))
        self._episode = np.zeros(b, int)
        # Worlds that have done their part go on as before: the agent's noise is drawn for all.
        self.going = np.ones(b, bool)

    @property
    def finished(self) -> bool:
        return self._left == 0 or bool((self._episode >= self._k).all())

    def began(self, which: np.ndarray) -> None:
        now = which & (self._episode < self._k)
        belief = self._agent.belief()
        at = self._row[now], self._episode[now]
        self.mean[at], self.std[at] = belief.mean.numpy()[now], belief.variance.sqrt().numpy()[now]

    def record(self, observation: np.ndarray, action: Action, step: Step) -> np.ndarray:
        active = self._episode < self._k
        counted, broken = active & ~step.diverged, active & step.diverged
        at = self._row[counted], self._episode[counted]
        self.returns[at] += step.reward[counted]
        self.measured[at] += step.measured_reward[counted]
        self.steps[at] += 1
        ended = counted & step.done
        self.success[self._row[ended], self._episode[ended]] = step.success[ended]
        at = self._row[broken], self._episode[broken]
        self.returns[at] = self.measured[at] = 0.0
        self.steps[at] = 0
        self._episode += ended
        self._left -= 1
        return counted


def adaptation_curve(
    worlds: Worlds, agent: Agent, columns: int, share: int = 1, stochastic: bool = False
) -> Curve:
    """Try an agent on the tasks that have been assigned, from the prior.

    share: consecutive worlds that share a task and a belief, as the agent was made; a column is the
        mean over their episodes.
    """
    agent.reset(np.ones(worlds.worlds, bool), worlds.factors())
    if share == 1:
        found = CurveRecorder(worlds, agent, columns)
        roll_out(worlds, agent, found, stochastic)
        return Curve(
            found.success,
            found.steps,
            found.returns,
            found.measured,
            found.mean,
            found.std,
            worlds.factors(),
        )
    names = ("success", "steps", "returns", "measured", "mean", "std")
    kept: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for _ in range(columns):
        belief = agent.belief()
        kept["mean"].append(belief.mean[::share].numpy())
        kept["std"].append(belief.variance.sqrt()[::share].numpy())
        episodes = collect_episodes(worlds, agent, stochastic)
        for name, each in (
            ("success", episodes.success),
            ("steps", episodes.mask.sum(1).numpy()),
            ("returns", episodes.returns(episodes.reward)),
            ("measured", episodes.returns(episodes.measured)),
        ):
            kept[name].append(each.reshape(-1, share).mean(1).astype(float))
    stacked = {name: np.stack(parts, 1) for name, parts in kept.items()}
    return Curve(**stacked, truth=worlds.factors()[::share])


@torch.no_grad()
def try_policy(
    policy: Policy,
    family: Family,
    tasks: Sequence[Task],
    columns: int,
    seed: int,
    threads: int = 2,
    adapting: bool = True,
    stochastic: bool = False,
    told: bool = False,
) -> Curve:
    """Try a policy on every task, from the prior.

    Args:
        columns: K of the curve.
        seed: of worlds and noise.
        adapting: whether beliefs follow what is met; else they stay at the prior.
        stochastic: draw actions; otherwise act by the policy's mode, as a robot does.
        told: act on the true factors; raises AcclimateError for a latent that does not stand for
            them.
    """
    if not tasks:
        raise AcclimateError("no tasks to evaluate on")
    share = policy.episodes_per_step
    worlds = family.make(len(tasks) * share, seed, threads)
    try:
        worlds.assign([task for task in tasks for _ in range(share)])
        agent = policy.agent(worlds.worlds, torch.Generator().manual_seed(seed), share)
        agent.adapting = np.full(worlds.worlds, adapting)
        if told:
            agent.tell(np.ones(worlds.worlds, bool))
        return adaptation_curve(worlds, agent, columns, share, stochastic)
    finally:
        worlds.close()

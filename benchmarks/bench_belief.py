"""What a belief is worth to an insertion policy: success and knowledge after failures, by belief.

    python -m benchmarks.bench_belief [NAME=SOURCE ...]

SOURCE is a run folder or a bundle of PEARL on insertion; without any, the bundles that ship. Every
belief meets the same tasks on the wrist rig: `held_out` are trained families in sizes and
clearances that training never drew, `unseen_choice` is BS 1363, `train` are further tasks of the
training distribution, to choose by.
"""

from __future__ import annotations

import os

os.environ.setdefault("MUJOCO_GL", "disable")

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from adapt.adapters.base import Transition
from adapt.adapters.registry import make_adapter
from adapt.bundle.policy_bundle import PolicyBundle
from benchmarks.support.learners import policy_of
from benchmarks.support.results import record
from policies.algorithms.pearl.agent import PearlAgent, PearlPolicy
from policies.networks.belief import Diagonal, Posterior
from policies.networks.mixture import Mixture
from policies.rollout.driver import roll_out
from policies.rollout.trials import CurveRecorder
from sim.core.parameter import Split
from sim.core.registry import family
from sim.core.task_space import Task
from sim.core.worlds import Worlds
from sim.demo import SHIPPED

NAME = "belief"
GROUPS: tuple[Split, ...] = ("train", "held_out", "unseen_choice")
TASKS = 200
"""In each group."""
EPISODES = 5
ACROSS = [0, 1]
"""The factors that say where the socket is: seat_x and seat_y."""
SEED = 2000
STEPS = 2000
"""Beliefs of one robot that are timed."""


class KnowledgeRecorder(CurveRecorder):
    """Also what the belief knows of the socket's place at the start of each episode.

    density: (B, K) log q(seat_x, seat_y) of the true ones [nat].
    """

    def __init__(self, worlds: Worlds, agent: PearlAgent, episodes: int) -> None:
        super().__init__(worlds, agent, episodes)
        self._pearl = agent
        self._truth = torch.from_numpy(worlds.factors())[:, ACROSS]
        self.density = np.zeros((worlds.worlds, episodes))

    def began(self, which: np.ndarray) -> None:
        now = which & (self._episode < self._k)
        belief = marginal(self._pearl.posterior(), ACROSS)
        found = -belief.negative_log_density(self._truth).numpy()
        self.density[self._row[now], self._episode[now]] = found[now]
        super().began(which)


def marginal(belief: Posterior, dimensions: list[int]) -> Posterior:
    """Of some of the latent's dimensions."""
    if isinstance(belief, Mixture):
        part = belief.roots[..., dimensions, :]
        roots = torch.linalg.cholesky(part @ part.mT)
        return Mixture(belief.log_weight, belief.means[..., dimensions], roots)
    return Diagonal(belief.mean[..., dimensions], belief.variance[..., dimensions])


@dataclass(frozen=True)
class Outcome:
    """success: (N, K). density: (N, K), see `KnowledgeRecorder`. place: (N, 2) true factors."""

    success: np.ndarray
    density: np.ndarray
    place: np.ndarray

    @property
    def blind(self) -> np.ndarray:
        """(N, K) whether every episode before failed."""
        before = np.cumsum(self.success, axis=1) - self.success
        return before == 0


@torch.no_grad()
def outcome(policy: PearlPolicy, tasks: list[Task]) -> Outcome:
    worlds = family("insertion").make(len(tasks), SEED, 1)
    try:
        worlds.assign(tasks)
        agent = policy.agent(len(tasks), torch.Generator().manual_seed(SEED))
        agent.reset(np.ones(len(tasks), bool), worlds.factors())
        found = KnowledgeRecorder(worlds, agent, EPISODES)
        roll_out(worlds, agent, found)
        return Outcome(found.success, found.density, worlds.factors()[:, ACROSS])
    finally:
        worlds.close()


def baseline(place: np.ndarray) -> np.ndarray:
    """log density (n,) [nat] of places (n, 2) by a kernel estimate from the others: what one knows
    who knows only how often the policy has failed."""
    n = len(place)
    # Scott's rule in two dimensions.
    root = np.linalg.cholesky(np.cov(place.T) * n ** (-1 / 3))
    white = np.linalg.solve(root, place.T).T
    square = ((white[:, None] - white[None]) ** 2).sum(-1)
    np.fill_diagonal(square, np.inf)
    mean = np.exp(-0.5 * square).sum(1) / (n - 1)
    return np.log(mean + 1e-300) - np.log(2 * np.pi) - np.log(np.diag(root)).sum()


def report(name: str, group: str, found: Outcome) -> None:
    blind = found.blind
    for k in range(EPISODES):
        parameters = {"belief": name, "group": group, "episodes": k}
        record(NAME, "success", float(found.success[:, k].mean()), "1", parameters, SEED)
        rows = blind[:, k]
        told = parameters | {"tasks": int(rows.sum())}
        if k and rows.sum() >= 10:
            rate = float(found.success[rows, k].mean())
            record(NAME, "success after failures alone", rate, "1", told, SEED)
            gained = found.density[rows, k] - baseline(found.place[rows])
            record(NAME, "knowledge of the place", float(gained.mean()), "nat", told, SEED)


def step_time(bundle: PolicyBundle) -> float:
    """Processor time of one `observe` of a robot [s], the first decile of many: other processes
    disturb the rest."""
    manifest, rng = bundle.manifest, np.random.default_rng(SEED)
    adapter = make_adapter(bundle, 0)
    adapter.begin_episode()
    seen = rng.normal(size=(2, manifest.observation_size)).astype(np.float32)
    action = np.zeros(manifest.action_size, np.float32)
    took = []
    for _ in range(STEPS):
        start = time.thread_time()
        adapter.observe(Transition(seen[0], action, 0.0, seen[1]))
        took.append(time.thread_time() - start)
    return float(np.quantile(took, 0.1))


def main(words: list[str]) -> int:
    sources: dict[str, Path] = {}
    for word in words or [f"shipped={SHIPPED}"]:
        name, _, source = word.partition("=")
        if not source:
            raise SystemExit(f"{word!r}: expected NAME=SOURCE, a run folder or a bundle")
        sources[name] = Path(source)
    space = family("insertion").space
    groups = {group: space.sample(TASKS, np.random.default_rng(SEED), group) for group in GROUPS}
    for name, source in sources.items():
        policy = policy_of(source)
        for group, tasks in groups.items():
            report(name, group, outcome(policy, tasks))
        if (source / "manifest.json").is_file():
            took = step_time(PolicyBundle.load(source))
            record(NAME, "one transition", 1e6 * took, "us", {"belief": name}, SEED)
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    raise SystemExit(main(sys.argv[1:]))

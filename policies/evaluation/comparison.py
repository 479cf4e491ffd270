"""Evaluated runs side by side: seeds of one variant together, beside an oracle of the family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from adapt.settings import flat, resolved
from policies.evaluation.measured import Measured, worst
from policies.training.settings import TrainSettings

SMALLEST_GAP = 0.1
"""Tasks on which the oracle is better than the prior by less than this share of the mean difference
have no gap to speak of: dividing by it would let them decide the mean."""


@dataclass(frozen=True)
class EvaluatedRun:
    """One run: how it was trained, and what its best networks do.

    judged_by: of its family. iteration: of the best networks. log: rows of log.jsonl.
    is_oracle: whether its policy is told the true task.
    """

    folder: Path
    settings: TrainSettings
    judged_by: Literal["success", "return"]
    iteration: int
    measured: list[Measured]
    log: list[dict[str, float]]
    is_oracle: bool = False

    @property
    def seconds(self) -> np.ndarray:
        """Wall-clock of training (n,) after each row of the log: collecting, learning and
        validating. Time in which the run was interrupted does not count."""
        times = [sum(v for k, v in row.items() if k.startswith("time/")) for row in self.log]
        return np.cumsum(times)

    def of(self, group: str, belief: str) -> Measured | None:
        found = [m for m in self.measured if (m.group, m.belief) == (group, belief)]
        return found[0] if found else None


@dataclass(frozen=True)
class Line:
    """A variant on one group of tasks, over its S runs and K episodes or adaptation steps.

    value, worst: (S, K) mean over the tasks, and over the worst 5 % of them, of what the family is
        judged by.
    prior, prior_worst: (S,) the same with the belief kept at the prior; None where there is none.
    gap: (S, K) of the oracle's gap closed, mean over the tasks that have one; None without oracle.
    gap_of_means: (S, K) the same from means over all tasks.
    gap_tasks: (S,) how many tasks have a gap.
    """

    variant: str
    runs: list[EvaluatedRun]
    behind: list[int]
    value: np.ndarray
    worst: np.ndarray
    prior: np.ndarray | None
    prior_worst: np.ndarray | None
    gap: np.ndarray | None
    gap_of_means: np.ndarray | None
    gap_tasks: np.ndarray | None


@dataclass(frozen=True)
class Comparison:
    """All variants of a family on one group of tasks.

    tasks: (N, n_p). oracle: (N,) per task, mean over the oracle's runs and episodes.
    """

    family: str
    group: str
    judged_by: Literal["success", "return"]
    tasks: np.ndarray
    oracle: np.ndarray | None
    lines: list[Line]


def compare(runs: Sequence[EvaluatedRun]) -> list[Comparison]:
    """Families in the order of their first run, each with its groups of tasks."""
    families: dict[str, list[EvaluatedRun]] = {}
    for run in runs:
        families.setdefault(run.settings.tasks_of, []).append(run)
    return [
        _compare(family, group, members)
        for family, members in families.items()
        for group in dict.fromkeys(m.group for run in members for m in run.measured)
    ]


def _compare(family: str, group: str, runs: Sequence[EvaluatedRun]) -> Comparison:
    judged_by = runs[0].judged_by
    tasks = next(m.tasks for m in runs[0].measured if m.group == group)
    by_variant = variants(runs)
    told = [
        np.mean([_values(run, group, "adapting").mean(1) for run in members], axis=0)
        for members in by_variant.values()
        if members[0].is_oracle
    ]
    # Of several oracles the best one: the ceiling is the highest that was reached.
    oracle = max(told, key=np.mean) if told else None
    lines = [_line(name, members, group, oracle) for name, members in by_variant.items()]
    return Comparison(family, group, judged_by, tasks, oracle, lines)


def _line(
    variant: str, runs: Sequence[EvaluatedRun], group: str, oracle: np.ndarray | None
) -> Line:
    first = runs[0].of(group, "adapting")
    values = [_values(run, group, "adapting") for run in runs]
    priors = [_prior(run, group) for run in runs]
    known = [p for p in priors if p is not None]
    whole = len(known) == len(runs)
    gaps = [gap_closed(v, p.mean(1), oracle) for v, p in zip(values, known, strict=False)]
    compared = whole and oracle is not None
    return Line(
        variant=variant,
        runs=list(runs),
        behind=first.behind if first else [],
        value=np.stack([v.mean(0) for v in values]),
        worst=np.stack([worst(v) for v in values]),
        prior=np.array([p.mean() for p in known]) if whole else None,
        prior_worst=np.array([worst(p).mean() for p in known]) if whole else None,
        gap=np.stack([g.mean for g in gaps]) if compared else None,
        gap_of_means=np.stack([g.of_means for g in gaps]) if compared else None,
        gap_tasks=np.array([g.tasks for g in gaps]) if compared else None,
    )


def _values(run: EvaluatedRun, group: str, belief: str) -> np.ndarray:
    """What the family is judged by (N, K)."""
    found = run.of(group, belief)
    if found is None:
        raise ValueError(f"{run.folder}: not evaluated on {group} with the belief {belief}")
    return found.judged(run.judged_by)


def _prior(run: EvaluatedRun, group: str) -> np.ndarray | None:
    """The same with the belief at the prior."""
    return None if run.of(group, "prior") is None else _values(run, group, "prior")


@dataclass(frozen=True)
class Gap:
    """mean, of_means: (K,) shares of a gap closed, nan where there is none. tasks: with a gap."""

    mean: np.ndarray
    of_means: np.ndarray
    tasks: int


def gap_closed(value: np.ndarray, prior: np.ndarray, oracle: np.ndarray | None) -> Gap:
    """(value − prior) / (oracle − prior), task by task, then the mean over tasks.

    value: (N, K). prior, oracle: (N,). Tasks without a gap are left out (see SMALLEST_GAP).
    """
    none = np.full(value.shape[1], np.nan)
    if oracle is None:
        return Gap(none, none, 0)
    room = oracle - prior
    has = room > SMALLEST_GAP * np.abs(room).mean()
    share = (value[has] - prior[has, None]) / room[has, None]
    of_means = (value.mean(0) - prior.mean()) / room.mean() if room.mean() > 0 else none
    return Gap(share.mean(0) if has.any() else none, of_means, int(has.sum()))


def variants(runs: Sequence[EvaluatedRun]) -> dict[str, list[EvaluatedRun]]:
    """Runs that differ in nothing but seed and folder, by a name that tells them apart: the run's
    own and, where others bear it too, the settings in which these differ."""
    members: list[tuple[dict[str, Any], list[EvaluatedRun]]] = []
    for run in runs:
        settings = _variant(run.settings)
        alike = [group for known, group in members if known == settings]
        if alike:
            alike[0].append(run)
        else:
            members.append((settings, [run]))
    named: dict[str, list[EvaluatedRun]] = {}
    for settings, group in members:
        namesakes = [known for known, _ in members if known["name"] == settings["name"]]
        keys = [k for k in settings if len({repr(known.get(k)) for known in namesakes}) > 1]
        words = [str(settings["name"]), *(f"{key}={settings[key]}" for key in keys)]
        named[" ".join(words)] = sorted(group, key=lambda run: run.settings.seed)
    return named


def _variant(settings: TrainSettings) -> dict[str, Any]:
    """Settings by dotted key, without what tells seeds of one variant apart."""
    leaves = flat(resolved(settings))
    for key in ("seed", "out"):
        del leaves[key]
    # Another policy to start from for each seed is the same method.
    if leaves.get("start"):
        leaves["start"] = "a run"
    return leaves

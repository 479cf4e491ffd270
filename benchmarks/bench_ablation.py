"""What each setting of the learner changes: seconds of training until a fixed return.

    python -m benchmarks.bench_ablation [ROW ...] [key=value ...]

A row is cheetah-vel's experiment with one change, on two seeds; `changes` lists the rows. The row
`timing` is one step of a critic, with its two networks as one batched product or separate, in both
precisions. Without a row on the command line all rows run, except `bfloat16` on a processor that
only emulates it. Settings key=value apply to every row.

Every run has a folder runs/ablation-ROW-SEED, as `acclimate train` writes it, so an interrupted
benchmark continues when it is called again. It records numbers after all of its rows have ended.
"""

from __future__ import annotations

import sys
import time
import typing
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.support.learners import expect
from benchmarks.support.results import record
from policies.algorithms.contract import Metrics
from policies.algorithms.pearl.config import PearlSettings
from policies.algorithms.registry import train_settings
from policies.networks.critics import CriticKind, make_critic
from policies.networks.modules import mlp
from policies.training.cli import train
from policies.training.device import choose_bfloat16, choose_device
from policies.training.runs import read_log
from sim.core.registry import family

NAME = "ablation"
SEEDS = (0, 1)
LEVEL = -100.0
"""The return to reach, on the validation tasks in the episode after two of adaptation."""
RETURN = "validate/measured_2"
FINAL = 3
"""Validations whose mean is the final return: a single one differs by several units."""
REPEATS = 30
"""How often a step is timed; the median counts."""
# Validated after every iteration, for the moment of reaching the level; its time is not counted.
COMMON = ("experiment=cheetah_vel", "validation_every=1")


@dataclass(frozen=True)
class Outcome:
    """Results from a run's log.

    seconds: of collecting and learning until LEVEL was first reached; None if it never was.
    whole: the same over the run. final: mean return of the last FINAL validations, None without.
    """

    seconds: float | None
    whole: float
    final: float | None
    iterations: int
    milliseconds_per_update: float


def main(words: list[str]) -> int:
    common = [*COMMON, *(word for word in words if "=" in word)]
    base = composed(common)
    rows = changes(base)
    named = [word for word in words if "=" not in word]
    for word in named:
        if word not in (*rows, "timing"):
            raise SystemExit(f"{word!r}: expected {', '.join(rows)}, timing, or key=value")
    chosen = named or [*(name for name in rows if name != "bfloat16"), "timing"]
    runs = [
        (" ".join(rows[name]) or "none", run_settings(name, rows[name], seed, common))
        for name in chosen
        if name != "timing"
        for seed in SEEDS
    ]
    for _, settings in runs:
        run(settings)
    for change, settings in runs:
        report(change, settings, outcome(read_log(settings.out)))
    if "timing" in chosen:
        timing(base)
    return 0


def composed(words: Sequence[str]) -> PearlSettings:
    return expect(train_settings(words), PearlSettings)


def run_settings(
    name: str, change: Sequence[str], seed: int, common: Sequence[str]
) -> PearlSettings:
    own = [f"name={NAME}-{name}", f"seed={seed}"]
    return composed([*common, *change, *own])


def changes(base: PearlSettings) -> dict[str, list[str]]:
    """Each row's settings, as far as they differ from the base."""
    c = base.learner

    def learner(**values: object) -> list[str]:
        return [f"learner.{key}={_word(value)}" for key, value in values.items()]

    def widths(factor: float, hidden: tuple[int, ...]) -> list[int]:
        return [round(factor * n) for n in hidden]

    def rates(factor: float) -> list[str]:
        own, encoder = factor * c.learning_rate, factor * c.encoder_learning_rate
        return learner(learning_rate=own, encoder_learning_rate=encoder)

    updates, tasks, rows = base.updates_per_iteration, c.tasks_per_batch, c.rows_per_task
    kinds = [kind for kind in typing.get_args(CriticKind) if kind != c.critic]
    objective = "posterior" if c.objective == "critic" else "critic"
    native = choose_bfloat16(base.precision, choose_device(base.device))
    precision = "float32" if native else "bfloat16"
    return {
        "base": [],
        **{kind: learner(critic=kind) for kind in kinds},
        "narrow_critic": learner(critic_hidden=widths(0.5, c.critic_hidden)),
        "wide_critic": learner(critic_hidden=widths(2, c.critic_hidden)),
        "narrow_actor": learner(actor_hidden=widths(0.5, c.actor_hidden)),
        "wide_actor": learner(actor_hidden=widths(2, c.actor_hidden)),
        "shallow": learner(
            actor_hidden=list(c.actor_hidden[1:]), critic_hidden=list(c.critic_hidden[1:])
        ),
        "deep": learner(
            actor_hidden=[c.actor_hidden[0], *c.actor_hidden],
            critic_hidden=[c.critic_hidden[0], *c.critic_hidden],
        ),
        "half_updates": [f"updates_per_iteration={updates // 2}"],
        "double_updates": [f"updates_per_iteration={2 * updates}"],
        # The same rows in another shape, then other numbers of rows.
        "fewer_tasks": learner(tasks_per_batch=tasks // 2, rows_per_task=2 * rows),
        "more_tasks": learner(tasks_per_batch=2 * tasks, rows_per_task=rows // 2),
        "half_rows": learner(rows_per_task=rows // 2),
        "double_rows": learner(rows_per_task=2 * rows),
        precision: [f"precision={precision}"],
        objective: learner(objective=objective),
        "n_step": learner(n_step=3),
        "less_noise": learner(target_entropy_per_action=c.target_entropy_per_action - 1),
        "third_rate": rates(1 / 3),
        "triple_rate": rates(3),
    }


def run(settings: PearlSettings) -> None:
    """Train to the end, or until the numbers are no longer finite."""
    try:
        train(settings)
    except FloatingPointError as error:
        print(f"{settings.out}: {error}; its log up to there counts")


def outcome(log: Sequence[Metrics]) -> Outcome:
    """Raises ValueError for a log without an update."""
    updates = log[-1]["updates"] if log else 0.0
    if not updates:
        raise ValueError("the log holds no update")
    spent = np.cumsum([row["time/collect"] + row["time/learn"] for row in log])
    validated = [(s, row[RETURN]) for s, row in zip(spent, log, strict=True) if RETURN in row]
    final = [value for _, value in validated[-FINAL:]]
    return Outcome(
        seconds=next((float(s) for s, value in validated if value >= LEVEL), None),
        whole=float(spent[-1]),
        final=float(np.mean(final)) if final else None,
        iterations=len(log),
        milliseconds_per_update=1e3 * sum(row["time/learn"] for row in log) / updates,
    )


def report(change: str, settings: PearlSettings, found: Outcome) -> None:
    parameters = {"change": change, "level": LEVEL, "iterations planned": settings.iterations}
    for metric, value, unit in (
        ("reached", float(found.seconds is not None), "1"),
        ("training until then", found.seconds, "s"),
        ("whole training", found.whole, "s"),
        ("final return", found.final, "1"),
        ("one update", found.milliseconds_per_update, "ms"),
        ("iterations", float(found.iterations), "1"),
    ):
        if value is not None:
            record(NAME, metric, value, unit, parameters, settings.seed)


def timing(base: PearlSettings) -> None:
    """A LayerNorm critic's step: forward, backward, Adam."""
    torch.set_num_threads(base.threads)
    rows = base.learner.tasks_per_batch * base.learner.rows_per_task
    for layout in ("batched", "separate"):
        for precision in ("float32", "bfloat16"):
            parameters = {"rows": rows, "precision": precision, "networks": layout}
            took = critic_step(base, layout == "batched", precision == "bfloat16", rows)
            record(NAME, "one critic step", took, "ms", parameters, SEEDS[0])


def critic_step(base: PearlSettings, batched: bool, bfloat16: bool, rows: int) -> float:
    """Median milliseconds of one step on random rows."""
    spec, c = family(base.family).spec, base.learner
    n_o, n_rest = spec.observation_size, spec.action_size + c.latent
    given = torch.randn(rows, n_o), torch.randn(rows, n_rest)
    target = torch.randn(rows)
    critics: list[nn.Module] = [make_critic("layer_norm", n_o, n_rest, c.critic_hidden, 1.0)]
    if not batched:
        sizes = [n_o + n_rest, *c.critic_hidden, 1]
        critics = [mlp(sizes, layer_norm=True) for _ in range(2)]

    def values() -> Tensor:
        """(2, rows)"""
        if batched:
            return critics[0](*given)
        x = torch.cat(given, -1)
        return torch.stack([one(x)[:, 0].float() for one in critics])

    weights = nn.ModuleList(critics).parameters()
    optimiser = torch.optim.Adam(weights, c.learning_rate, fused=True)
    took = []
    for _ in range(REPEATS + 3):  # the first ones allocate
        start = time.perf_counter()
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = ((values() - target) ** 2).mean(1).sum()
        loss.backward()
        optimiser.step()
        took.append(1e3 * (time.perf_counter() - start))
    return float(np.median(took[3:]))


def _word(value: object) -> str:
    """As Hydra reads it: without blanks, with four digits."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace(" ", "")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

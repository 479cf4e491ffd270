"""A comparison of runs as Markdown that can be read as it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from policies.evaluation.comparison import SMALLEST_GAP, Comparison, EvaluatedRun, Line

SHOWN = (0, 1, 2, 3, 5, 10, 20, 40, 60, 80, 100)
"""Episodes of adaptation that a table shows; the last one that was run is always shown."""
HEAD = f"""\
# Comparison of runs

Best networks of each run on the tasks named below, acting by the policy's mean. In the first
episode (k = 0) a latent is drawn from the prior, afterwards from the belief after k episodes of
adaptation; runs with learner.hold draw anew within an episode, from the belief by then. What
adapts by steps of several episodes is shown by the mean over a step's episodes.
A cell is the mean over seeds, with the smallest and the largest where there are several.

- *at the prior*: the belief never adapts.
- *oracle*: the policy of a run with learner.objective=privileged, told the true task.
- *gap closed*: (after k episodes − at the prior) / (oracle − at the prior), each measured on one
  task, then the mean over tasks. Tasks on which the oracle is better than the prior by less than
  {SMALLEST_GAP:.0%} of the mean difference have no gap and are left out, a dash says that none has
  one. *of means*: the same quotient of the means over all tasks.
"""


def markdown(comparisons: Sequence[Comparison]) -> str:
    return "\n".join([HEAD, *(part for each in comparisons for part in _sections(each))])


def _sections(c: Comparison) -> Iterator[str]:
    ks = _shown(c.lines)
    note = "" if c.group != "train" else "; the family holds none out, these are training tasks"
    yield f"## {c.family}, {len(c.tasks)} tasks: {c.group}{note}\n"
    adapting = [f"k = {k}" for k in ks]
    oracle = [] if c.oracle is None else [f"{c.oracle.mean():.4g}"]
    yield f"{c.judged_by.capitalize()}, mean over tasks:\n"
    head = ["variant", "seeds", "at the prior", *adapting, *(["oracle"] if oracle else [])]
    yield _table(
        head,
        [
            [line.variant, _seeds(line), _cell(line.prior), *_row(line, line.value, ks), *oracle]
            for line in c.lines
        ],
    )
    yield f"{c.judged_by.capitalize()}, mean over the worst 5 % of the tasks, at least one:\n"
    yield _table(
        ["variant", "at the prior", *adapting],
        [[line.variant, _cell(line.prior_worst), *_row(line, line.worst, ks)] for line in c.lines],
    )
    gaps = [(line, g, m) for line in c.lines for g, m in _gaps(line) if not line.runs[0].is_oracle]
    if gaps:
        yield "Gap closed, 1 is the oracle:\n"
        yield _table(
            ["variant", "tasks with a gap", *adapting, f"of means, k = {ks[-1]}"],
            [
                [line.variant, _range(line.gap_tasks), *_row(line, g, ks), _cell(m[:, -1])]
                for line, g, m in gaps
            ],
        )
    yield "What training cost, all of it, whichever networks were best:\n"
    yield _table(
        ["variant", "iterations", "best at", "environment steps", "updates", "wall-clock [min]"],
        [_cost(line) for line in c.lines],
    )


def _gaps(line: Line) -> list[tuple[np.ndarray, np.ndarray]]:
    if line.gap is None or line.gap_of_means is None:
        return []
    return [(line.gap, line.gap_of_means)]


def _shown(lines: Sequence[Line]) -> list[int]:
    """Episodes across a table: of SHOWN those that some variant was run at, and every last one."""
    run = {k for line in lines for k in line.behind}
    return sorted({k for k in run if k in SHOWN} | {line.behind[-1] for line in lines})


def _row(line: Line, values: np.ndarray, ks: Sequence[int]) -> list[str]:
    """values (S, K) at the episodes ks; empty where the variant was not run."""
    column = {k: values[:, at] for at, k in enumerate(line.behind)}
    return [_cell(column.get(k)) for k in ks]


def _cost(line: Line) -> list[str]:
    def over(get: Callable[[EvaluatedRun], float]) -> np.ndarray:
        return np.array([get(run) for run in line.runs], float)

    def last(run: EvaluatedRun, key: str) -> float:
        return run.log[-1][key] if run.log else 0.0

    made, wanted = over(lambda r: last(r, "iteration")), line.runs[0].settings.iterations
    return [
        line.variant,
        _range(made) if (made == wanted).all() else f"{_range(made)} of {wanted}: unfinished",
        _range(over(lambda r: r.iteration)),
        _range(over(lambda r: last(r, "steps"))),
        _range(over(lambda r: last(r, "updates"))),
        _cell(over(lambda r: r.seconds[-1] / 60 if r.log else 0.0)),
    ]


def _seeds(line: Line) -> str:
    return " ".join(str(run.settings.seed) for run in line.runs)


def _cell(values: np.ndarray | None) -> str:
    """Mean (smallest to largest) of values (S,); a dash where one is unknown."""
    if values is None:
        return ""
    if not np.isfinite(values).all():
        return "–"
    mean = f"{values.mean():.4g}"
    return mean if len(values) == 1 else f"{mean} ({values.min():.4g} to {values.max():.4g})"


def _range(values: np.ndarray | None) -> str:
    """Counts (S,): one number where all are the same."""
    if values is None:
        return ""
    low, high = f"{values.min():,.0f}", f"{values.max():,.0f}"
    return low if low == high else f"{low} to {high}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Padded, so that it reads in a terminal too."""
    wide = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [
        " | ".join(
            [row[0].ljust(wide[0]), *(c.rjust(w) for c, w in zip(row[1:], wide[1:], strict=True))]
        )
        for row in [head, *rows]
    ]
    rule = " | ".join(["-" * wide[0], *("-" * (w - 1) + ":" for w in wide[1:])])
    return "\n".join(f"| {line} |" for line in [lines[0], rule, *lines[1:]]) + "\n"

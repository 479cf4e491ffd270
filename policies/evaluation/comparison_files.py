"""A comparison of runs on disk.

evaluation.json  every number, per run and per task
table.md         the tables, as they are printed
FAMILY-*.png     return against adaptation episodes; learning curves
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from policies.evaluation.comparison import Comparison, EvaluatedRun, Line, compare
from policies.evaluation.comparison_plots import draw
from policies.evaluation.comparison_table import markdown
from policies.training.files import ensure_folder, write_atomically
from policies.training.runs import revision


def write_comparison(runs: Sequence[EvaluatedRun], out: Path, seed: int) -> list[Comparison]:
    """Compare, print the tables and write everything into `out`. seed: of the evaluation."""
    comparisons = compare(runs)
    ensure_folder(out)
    text = markdown(comparisons)
    data = {
        "revision": revision(),
        "seed": seed,
        "comparisons": [_plain(each) for each in comparisons],
    }
    write_atomically(out / "evaluation.json", json.dumps(data, indent=1).encode())
    write_atomically(out / "table.md", text.encode())
    pictures = draw(comparisons, out)
    print(f"\n{text}\n{out}: evaluation.json, table.md, {', '.join(p.name for p in pictures)}")
    return comparisons


def _plain(c: Comparison) -> dict[str, Any]:
    return {
        "family": c.family,
        "group": c.group,
        "judged_by": c.judged_by,
        "tasks": c.tasks.tolist(),
        "oracle_per_task": _listed(c.oracle),
        "variants": [_variant(line, c.group) for line in c.lines],
    }


def _variant(line: Line, group: str) -> dict[str, Any]:
    """Lists over the variant's runs, in the order of "runs"; what does not exist is null."""
    return {
        "variant": line.variant,
        "oracle": line.runs[0].is_oracle,
        "behind": line.behind,
        "value": _listed(line.value),
        "worst": _listed(line.worst),
        "prior": _listed(line.prior),
        "prior_worst": _listed(line.prior_worst),
        "gap_closed": _listed(line.gap),
        "gap_closed_of_means": _listed(line.gap_of_means),
        "tasks_with_a_gap": _listed(line.gap_tasks),
        "runs": [_run(run, group) for run in line.runs],
    }


def _run(run: EvaluatedRun, group: str) -> dict[str, Any]:
    last = run.log[-1] if run.log else {}
    return {
        "folder": str(run.folder),
        "seed": run.settings.seed,
        "best_iteration": run.iteration,
        "iterations": last.get("iteration"),
        "steps": last.get("steps"),
        "updates": last.get("updates"),
        "seconds": float(run.seconds[-1]) if run.log else None,
        "per_task": {
            m.belief: _listed(m.judged(run.judged_by)) for m in run.measured if m.group == group
        },
    }


def _listed(array: np.ndarray | None) -> Any:
    """Nested lists, with None for what is no number: JSON knows no nan."""
    if array is None:
        return None
    plain = array.astype(object)
    plain[~np.isfinite(array)] = None
    return plain.tolist()

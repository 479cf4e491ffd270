"""Faults: the safe state after each one, and how many control periods a robot takes to reach it.

    python -m benchmarks.bench_faults [--quick]

Runs the fault tests, which measure, and records their results.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import pytest

from benchmarks.support.results import FOLDER, ROOT, record

NAME = "faults"
TESTS = ("wire", "inside")
FIRST = ROOT / "tests/robot_bridge/server/test_faults.py"


class Collector:
    """A pytest plugin. rows: what the fault tests reported by `record_property`."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        row = dict(report.user_properties)
        if report.when == "call" and report.passed and "fault" in row:
            self.rows.append(row)


def measure(words: list[str], folder: Path) -> int:
    """Run the tests and record a number for each fault; returns pytest's exit code."""
    collector = Collector()
    files = [FIRST, *(FIRST.with_name(f"{FIRST.stem}_{part}.py") for part in TESTS)]
    code = pytest.main([*map(str, files), "-p", "no:cacheprovider", *words], plugins=[collector])
    for row in collector.rows:
        parameters = {"fault": row["fault"], "safe state": row["safe"], "told by": row["event"]}
        for metric in ("periods", "bound"):
            record(NAME, metric, row[metric], "1", parameters, 0, folder=folder)
    print(table(collector.rows))
    return int(code)


def table(rows: list[dict[str, Any]]) -> str:
    """For a terminal."""
    lines = [f"{'fault':44} {'safe state':16} {'periods':>7} {'bound':>5}  told by"]
    for row in rows:
        lines.append(
            f"{row['fault']:44} {row['safe']:16} {row['periods']:7} {row['bound']:5}  "
            f"{row['event']}"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="values alone; records nothing")
    options = parser.parse_args()
    if not options.quick:
        return measure([], FOLDER)
    with tempfile.TemporaryDirectory() as scratch:
        return measure(["-k", "number"], Path(scratch))


if __name__ == "__main__":
    raise SystemExit(main())

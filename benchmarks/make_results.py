"""Writes docs/results.md from the recorded numbers: `python -m benchmarks.make_results`."""

import statistics
import sys
from collections.abc import Hashable, Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks.support.results import FOLDER, ROOT, Record, Scalar, read

PAGE = ROOT / "docs" / "results.md"
HEAD = """\
# Results

`python -m benchmarks.make_results` writes this page from the records in `benchmarks/results/`.
Every record has its seed, revision, hardware and command. Where a number was measured more than
once with the same parameters and seed, the page shows the newest. A cell is the mean over seeds;
with several seeds, brackets show the smallest and the largest value.
"""
# A table with more columns than this is wider than a page; its values become rows instead.
WIDEST = 8

Key = tuple[tuple[str, Scalar], ...]


def render(folder: Path) -> str:
    """The page for all records in `folder`; a benchmark's NAME.md, if any, comes first."""
    sections = [HEAD]
    for path in sorted(folder.glob("*.jsonl")):
        sections.append("\n".join(_section(path)))
    if len(sections) == 1:
        sections.append("No number has been recorded yet.\n")
    return "\n".join(sections)


def newest(records: Iterable[Record]) -> list[Record]:
    """The newest record of each (metric, parameters, seed), in the order of first occurrence."""
    kept: dict[Hashable, Record] = {}
    for record in records:
        kept[record.metric, tuple(sorted(record.parameters.items())), record.seed] = record
    return list(kept.values())


def _section(path: Path) -> Iterator[str]:
    records = newest(read(path))
    yield f"## {path.stem}\n"
    intro = path.with_suffix(".md")
    if intro.exists():
        yield intro.read_text(encoding="utf-8").strip() + "\n"
    # Metrics with the same parameters share a table.
    tables: dict[frozenset[str], list[Record]] = {}
    for record in records:
        tables.setdefault(frozenset(record.parameters), []).append(record)
    for rows in tables.values():
        yield from _tables(tuple(rows[0].parameters), rows)
    yield from _provenance(records)


def _tables(names: tuple[str, ...], records: list[Record]) -> Iterator[str]:
    """One table with a column per metric. If two parameters vary independently: one table per
    metric, with a column for each value of the last parameter."""
    values = {name: _ordered(record.parameters[name] for record in records) for name in names}
    metrics = list(dict.fromkeys(record.metric for record in records))
    records = sorted(
        records, key=lambda r: [values[name].index(r.parameters[name]) for name in names]
    )
    varying = [name for name in names if len(values[name]) > 1]
    fixed = [f"{name} {_text(values[name][0])}" for name in names if name not in varying]
    if fixed:
        yield f"With {', '.join(fixed)}:\n"
    if len(varying) > 1 and len(values[varying[-1]]) <= WIDEST and _spread(records, varying):
        *down, across = varying
        for metric in metrics:
            chosen = [record for record in records if record.metric == metric]
            title = f"{_label(chosen)}, by {across}:"
            yield f"{title}\n"
            keyed = [(_key(r, down), _text(r.parameters[across]), r) for r in chosen]
            yield _markdown(down, [_text(value) for value in values[across]], keyed)
    else:
        labels = {m: _label([r for r in records if r.metric == m]) for m in metrics}
        keyed = [(_key(record, varying), labels[record.metric], record) for record in records]
        yield _markdown(varying, list(labels.values()), keyed)


def _spread(records: list[Record], varying: Sequence[str]) -> bool:
    """Whether a row has more than one cell when the last parameter's values are the columns."""
    *down, across = varying
    lines: dict[tuple[str, Key], set[Scalar]] = {}
    for r in records:
        lines.setdefault((r.metric, _key(r, down)), set()).add(r.parameters[across])
    return any(len(found) > 1 for found in lines.values())


def _ordered(values: Iterable[Scalar]) -> list[Scalar]:
    """The distinct values: numbers in ascending order, others in the order of recording."""
    distinct = list(dict.fromkeys(values))
    numbers = [value for value in distinct if isinstance(value, int | float)]
    return sorted(numbers) if len(numbers) == len(distinct) else distinct


def _label(records: list[Record]) -> str:
    """A metric with its unit. Raises ValueError if records of one metric have different units."""
    units = sorted({record.unit for record in records})
    if len(units) > 1:
        where = f"{records[0].benchmark}, {records[0].metric}"
        raise ValueError(f"{where}: recorded in several units: {', '.join(units)}")
    return records[0].metric if units == ["1"] else f"{records[0].metric} [{units[0]}]"


def _key(record: Record, names: Sequence[str]) -> Key:
    return tuple((name, record.parameters[name]) for name in names)


def _markdown(
    names: Sequence[str], columns: Sequence[str], keyed: list[tuple[Key, str, Record]]
) -> str:
    cells: dict[tuple[Key, str], list[float]] = {}
    for key, column, record in keyed:
        cells.setdefault((key, column), []).append(record.value)
    lines = [
        "| " + " | ".join([*names, *columns]) + " |",
        "|" + " --- |" * len(names) + " ---: |" * len(columns),
    ]
    for key in dict.fromkeys(key for key, _, _ in keyed):
        numbers = [_cell(cells.get((key, column), [])) for column in columns]
        lines.append("| " + " | ".join([*(_text(value) for _, value in key), *numbers]) + " |")
    return "\n".join(lines) + "\n"


def _cell(values: list[float]) -> str:
    if not values:
        return ""
    mean = _number(statistics.fmean(values))
    if len(values) == 1:
        return mean
    return f"{mean} [{_number(min(values))}, {_number(max(values))}]"


def _number(value: float) -> str:
    """Four significant digits; from a thousand on, a whole number with grouped digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _text(value: Scalar) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (value if isinstance(value, str) else f"{value:g}").replace("|", "\\|")


def _provenance(records: list[Record]) -> Iterator[str]:
    """The distinct machines, revisions and commands behind a benchmark's numbers."""
    seen: dict[tuple[str, str, str], set[int]] = {}
    for each in records:
        machine = f"{each.hardware.cpu}, {each.hardware.cores} cores, GPU {each.hardware.gpu}"
        commit, _, dirty = each.revision.partition("-")
        short = commit[:10] + (" with local changes" if dirty else "")
        seen.setdefault((each.command, short, machine), set()).add(each.seed)
    for (command, short, machine), seeds in seen.items():
        numbers = ", ".join(map(str, sorted(seeds)))
        plural = "s" if len(seeds) > 1 else ""
        yield f"- `{command}` at {short}; {machine}; seed{plural} {numbers}"
    yield ""


def main() -> int:
    """Write the page; returns 0."""
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(render(FOLDER), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

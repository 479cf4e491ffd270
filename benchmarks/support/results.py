"""The record of every measured number: one JSON line each, appended to benchmarks/results/."""

import datetime
import math
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from robot_bridge.system import host_info as machine

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "benchmarks" / "results"

Scalar = bool | int | float | str


class Hardware(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The machine a number was measured on; gpu is "none" where there is none."""

    cpu: str
    cores: int
    gpu: str


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One measured number.

    benchmark: which benchmark, and the name of the file it is in.
    value: full precision, in `unit` ("1" for a bare ratio or count).
    parameters: what was varied or chosen, so that two numbers can be told apart.
    revision: git commit, with "-dirty" where tracked files differed from it.
    command: what to type in the repository's root to measure it again.
    date: UTC, ISO 8601, to the second.
    """

    benchmark: str
    metric: str
    value: float
    unit: str
    parameters: dict[str, Scalar]
    seed: int
    revision: str
    hardware: Hardware
    command: str
    date: str


def record(
    benchmark: str,
    metric: str,
    value: float,
    unit: str,
    parameters: Mapping[str, Scalar],
    seed: int,
    *,
    folder: Path = FOLDER,
) -> Record:
    """Append one number to `folder`/`benchmark`.jsonl, print its line and return it.

    Raises ValueError for a number that is not finite, or a benchmark that is no file name.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", benchmark):
        raise ValueError(f"benchmark {benchmark!r}: expected lower case, digits, - and _ alone")
    if not math.isfinite(value):
        raise ValueError(f"{benchmark}, {metric}: expected a finite number, found {value}")
    entry = Record(
        benchmark=benchmark,
        metric=metric,
        value=float(value),
        unit=unit,
        parameters=dict(parameters),
        seed=int(seed),
        revision=revision(),
        hardware=Hardware(
            cpu=machine.cpu_model(),
            cores=machine.cores(),
            gpu=", ".join(machine.gpu_names()) or "none",
        ),
        command=command(sys.orig_argv),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    line = msgspec.json.encode(entry)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{benchmark}.jsonl").open("ab") as file:
        file.write(line + b"\n")
    print(line.decode(), flush=True)
    return entry


def read(path: Path) -> list[Record]:
    """All records of one file, oldest first. Raises ValueError naming a line that is no record."""
    records = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            entry = msgspec.json.decode(line, type=Record)
        except msgspec.DecodeError as error:
            raise ValueError(f"{path.name}, line {number}: {error}") from error
        if entry.benchmark != path.stem:
            raise ValueError(
                f"{path.name}, line {number}: expected benchmark {path.stem!r}, "
                f"found {entry.benchmark!r}"
            )
        records.append(entry)
    return records


def revision() -> str:
    """The repository's commit, with "-dirty" if tracked files differ; "unknown" outside git.

    The numbers themselves do not count as a difference: measuring must not spoil the next one.
    """
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return "unknown"
    results = [":(exclude)benchmarks/results", ":(exclude)docs/results.md"]
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *results)
    return f"{commit}-dirty" if changed else commit


def command(words: list[str]) -> str:
    """The command line `words` as one would type it in the repository's root.

    The interpreter's own path is left out, and paths inside the repository become relative.
    """
    shown = ["python", *words[1:]]
    return shlex.join(word.replace(f"{ROOT}/", "") for word in shown)


def _git(*arguments: str) -> str:
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()

"""Probing within a trial: asked for, turned into a prior, kept, shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from adapt.prior import MeasuredPrior
from adapt.strict_json import parse
from robot_bridge.client.operator_client import OperatorClient
from robot_bridge.errors import ProbeError, TrialError
from robot_bridge.probing.pose import measured_prior, seat_pose
from robot_bridge.protocol.messages import Begin, Outcome
from robot_bridge.protocol.probe_messages import Blocks, ProbeReport
from robot_bridge.trial.folder import EpisodeLine

PROBES = "probes.jsonl"


class ProbeLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One probing: what was touched, how it ended, and the prior that came of it. episode: the one
    that started from it. residuals: of each touch, in standard deviations. truth: as of an
    episode."""

    task: int
    episode: int
    report: ProbeReport
    outcome: Outcome
    truth: dict[str, float]
    prior: MeasuredPrior
    residuals: list[float]


class FoundRow(NamedTuple):
    """One task's probing as a page shows it. episode: the one that started from it. found: "name
    −1.20 ± 0.06 mm" of what it told. error: the largest one in its own standard deviations; None
    where the truth is not known. before, after: outcomes of the episodes on either side."""

    task: int
    episode: int
    seconds: float
    force: float
    touches: int
    found: list[str]
    error: float | None
    before: str
    after: str


def check_probing(operator: OperatorClient, robot: str) -> None:
    """Raises ProbeError where the robot cannot probe on this bridge, before anything moves."""
    for status in operator.status().robots:
        if status.name == robot and status.no_probing:
            raise ProbeError(status.no_probing)


def probe(
    operator: OperatorClient,
    robot: str,
    task: int,
    seed: int,
    patience: float,
    blocks: Blocks = ("socket",),
    episode: int = 0,
) -> tuple[ProbeReport, Outcome, dict[str, float]]:
    """Have a robot touch its cell before a task's n-th episode; what it felt, how it ended, and the
    truth where it is told.

    Raises ProbeError where the touches are of no use, BridgeError where the bridge refuses.
    """
    begin = Begin(robot, task, episode, seed, episode == 0, False, probe=blocks)
    record = operator.run(begin, patience)
    if record.probe is None:
        raise ProbeError(f"robot {robot!r}: the bridge sends no report of its probing")
    if record.probe.problem:
        raise ProbeError(f"robot {robot!r}, task {task}: {record.probe.problem}")
    return record.probe, record.outcome, record.truth


def probe_task(
    operator: OperatorClient, robot: str, task: int, episode: int, seed: int, patience: float
) -> ProbeLine:
    """The prior of one task by touches before its n-th episode. Raises as `probe`, and where
    touches contradict each other."""
    report, outcome, truth = probe(operator, robot, task, seed, patience, episode=episode)
    found = seat_pose(report)
    prior = measured_prior(found, {"method": "guarded touches", "robot": robot})
    return ProbeLine(task, episode, report, outcome, truth, prior, found.residuals.tolist())


def write_probe(folder: Path, line: ProbeLine) -> None:
    """Add a probing to a trial. Raises TrialError when the disk does not take it."""
    try:
        with (folder / PROBES).open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")
    except OSError as error:
        raise TrialError(f"{folder / PROBES}: {error.strerror or error}") from error


def read_probes(folder: Path) -> list[ProbeLine]:
    """Those of a trial; empty of one without. Raises TrialError naming what is wrong."""
    path = folder / PROBES
    if not path.exists():
        return []
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
        return [parse(line, ProbeLine) for line in lines]
    except (OSError, ValueError) as error:
        raise TrialError(f"{path}: {error}") from error


def found_rows(lines: Sequence[ProbeLine], episodes: Sequence[EpisodeLine]) -> list[FoundRow]:
    """For a page. episodes: of the trial."""

    def told(line: ProbeLine, before: bool) -> str:
        chosen = [
            each.outcome.success
            for each in sorted(episodes, key=lambda each: each.episode)
            if each.task == line.task and (each.episode < line.episode) == before
        ]
        return ", ".join("success" if success else "failure" for success in chosen)

    return [
        FoundRow(
            line.task,
            line.episode,
            line.report.seconds,
            max(line.report.peak_force, line.outcome.measures.get("peak_force", 0.0)),
            len(line.report.touches),
            _found(line.prior),
            _error(line),
            told(line, before=True),
            told(line, before=False),
        )
        for line in lines
    ]


def _found(prior: MeasuredPrior) -> list[str]:
    texts = []
    for i, q in enumerate(prior.parameters):
        if q.measured:
            std = prior.covariance[i][i] ** 0.5
            unit = "mm" if q.unit == "m" else "mrad"
            texts.append(f"{q.name.replace('_', ' ')} {1e3 * q.mean:+.2f} ± {1e3 * std:.2f} {unit}")
    return texts


def _error(line: ProbeLine) -> float | None:
    quantities = enumerate(line.prior.parameters)
    errors = [
        abs(q.mean - line.truth[q.name]) / line.prior.covariance[i][i] ** 0.5
        for i, q in quantities
        if q.measured and q.name in line.truth
    ]
    return max(errors, default=None)

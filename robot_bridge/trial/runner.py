"""`acclimate trial`: N tasks × k episodes on a connected robot, and how success grows with them."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Literal

from rich.console import Console
from rich.table import Table

from adapt.prior import MeasuredPrior, read_prior
from adapt.settings import Count, Positive, WholeNumber, compose, resolved
from robot_bridge.client.operator_client import OperatorClient
from robot_bridge.errors import ProbeError, RobotLost, TrialError
from robot_bridge.protocol.messages import Begin, Welcome
from robot_bridge.protocol.operator_messages import EpisodeRecord
from robot_bridge.system.progress import Progress
from robot_bridge.trial.folder import EpisodeLine, TrialHeader, TrialWriter, check_free
from robot_bridge.trial.probing import ProbeLine, check_probing, probe_task, write_probe
from robot_bridge.trial.statistics import Row, other_measures, table

HELP = """acclimate trial out=FOLDER [key=value ...]

Runs episodes on a robot that is connected to a bridge: so many tasks, and of each so many
consecutive episodes over which the belief is kept. Writes every episode into the folder and prints
how success grows with the episodes before.

Examples:
  acclimate trial out=runs/trial
  acclimate trial out=runs/trial robot=arm tasks=5 episodes=8
  acclimate trial out=runs/trial endpoint=tcp://bridge.lab:5555 keys=alice.key"""

Probing = Literal["never", "first", "after_failure"]


@dataclass(frozen=True, kw_only=True)
class TrialSettings:
    """endpoint: of the bridge: local (this user's own socket), ipc:///PATH or tcp://HOST:PORT.
    out: folder to write; must be empty, or hold an older trial with overwrite=true.
    keys: for tcp: folder of keys, or one certificate; null takes $ACCLIMATE_KEYS or
        ~/.config/acclimate/keys.
    robot: name of the robot; empty takes the only one connected.
    tasks: how many tasks.
    episodes: of each task, one after another; the belief is kept from one to the next.
    seed: draws the tasks and the latents.
    first_task: number of the first task.
    prior: file of a measured prior (prior.json of acclimate calibrate) that every task's beliefs
        start from, or a folder that holds N.json for task N. null takes the bridge's own.
    probe: when the robot touches a task's cell, and starts its beliefs anew from what that tells:
        never; first, before the first episode; after_failure, once, when an episode has failed.
        The bridge must allow it: its setting probe.reach.
    adapting: false keeps the belief at its prior, for comparison.
    overwrite: true replaces an older trial in the folder.
    release: true releases the robot if it is stopped: you have looked, and it may move.
    wait: time for the bridge and the robot to appear [s].
    patience: longest time that an episode may take, its reset included [s].
    """

    endpoint: str = "local"
    out: Path
    keys: Path | None = None
    robot: str = ""
    tasks: Count = 20
    episodes: Count = 4
    seed: WholeNumber = 0
    first_task: WholeNumber = 0
    prior: Path | None = None
    probe: Probing = "never"
    adapting: bool = True
    overwrite: bool = False
    release: bool = False
    wait: Positive = 10.0
    patience: Positive = 120.0


Priors = dict[int, MeasuredPrior]
"""Measured priors by task."""


def read_priors(settings: TrialSettings) -> Priors:
    """The prior of every task, before anything moves; none without the setting. Raises
    PriorError naming the file."""
    path = settings.prior
    if path is None:
        return {}
    tasks = range(settings.first_task, settings.first_task + settings.tasks)
    if path.is_dir():
        return {task: read_prior(path / f"{task}.json") for task in tasks}
    return dict.fromkeys(tasks, read_prior(path))


def play(
    settings: TrialSettings,
    robot: str,
    priors: Priors,
    attempt: Callable[[Begin], bool],
    touch: Callable[[int, int], MeasuredPrior],
) -> None:
    """All episodes in order. The seed of a task does not depend on the tasks before it.

    attempt: runs an episode; whether it succeeded. touch: measures a task's prior before its n-th
    episode.
    """
    for task in range(settings.first_task, settings.first_task + settings.tasks):
        due = settings.probe  # when the robot touches this task, "never" from then on
        prior = priors.get(task)
        if due == "first":
            prior, due = touch(task, 0), "never"
        for episode in range(settings.episodes):
            new = episode == 0
            won = attempt(Begin(robot, task, episode, settings.seed, new, settings.adapting, prior))
            prior = None
            if due == "after_failure" and not won and episode + 1 < settings.episodes:
                prior, due = touch(task, episode + 1), "never"


def run(
    settings: TrialSettings, progress: Callable[[EpisodeRecord], None] = lambda record: None
) -> list[Row]:
    """Run a trial and write its folder; progress is told of every episode.

    Raises TrialError for the folder, PriorError for a prior, ProbeError where touches tell nothing,
    BridgeLost and RobotLost when one of them is gone; the episodes until then are kept.
    """
    # Before anything moves: a trial that cannot be written need not run.
    check_free(settings.out, settings.overwrite)
    if settings.probe == "first" and settings.prior is not None:
        raise TrialError("both probe=first and prior= are given; expected one of them")
    priors = read_priors(settings)
    with OperatorClient(settings.endpoint, "trial", settings.keys) as operator:
        welcome = operator.connect(settings.wait)
        robot = operator.wait_robot(settings.robot, settings.wait)
        if settings.release:
            operator.release(robot)
        # Before anything is written: a robot that cannot probe leaves no trial.
        if settings.probe != "never":
            check_probing(operator, robot)
        lines: list[EpisodeLine] = []
        probes: list[ProbeLine] = []
        header = _header(settings, welcome, robot)
        # An older trial goes only now that there is a bridge and a robot to make another.
        with TrialWriter(settings.out, header, settings.overwrite) as writer:

            def attempt(begin: Begin) -> bool:
                record = operator.run(begin, settings.patience)
                lines.append(writer.add(record))
                progress(record)
                return record.outcome.success

            def touch(task: int, episode: int) -> MeasuredPrior:
                line = probe_task(operator, robot, task, episode, settings.seed, settings.patience)
                write_probe(settings.out, line)
                probes.append(line)
                return line.prior

            try:
                play(settings, robot, priors, attempt, touch)
            finally:
                episodes = ((line.episode, line.outcome) for line in lines)
                rows = table(episodes, [line.episode for line in probes])
                writer.summarise(rows)
        return rows


def summary_table(rows: list[Row], title: str = "") -> Table:
    """The summary for a terminal. title: of the tasks counted, "" for all of them."""
    if rows and all(row.judged_by for row in rows):
        return _score_table(rows, title)
    shown = Table(title=title or "success against adaptation")
    touched = ["touched before"] if any(row.touched for row in rows) else []
    for heading in (
        "episodes before",
        "success",
        "95 % interval",
        "mean time of success",
        *touched,
    ):
        shown.add_column(heading, justify="right")
    for row in rows:
        shown.add_row(
            str(row.episode),
            f"{row.successes}/{row.tasks} = {row.rate:.0%}",
            f"{row.low:.0%} to {row.high:.0%}",
            "–" if row.duration is None else f"{row.duration:.2f} s",
            *[f"{row.touched}/{row.tasks}" for _ in touched],
        )
    return shown


def _score_table(rows: list[Row], title: str) -> Table:
    """Of episodes that a measure judges: its mean, the other measures' and why episodes ended."""
    name = rows[0].judged_by
    others = other_measures(rows)
    shown = Table(title=title or f"{name.replace('_', ' ')} against adaptation")
    for heading in ("episodes before", name, "95 % interval", *others):
        shown.add_column(heading.replace("_", " "), justify="right")
    shown.add_column("ended")
    for row in rows:
        score = row.measures[name]
        shown.add_row(
            str(row.episode),
            f"{score.mean:.4g}",
            f"{score.low:.4g} to {score.high:.4g}",
            *(f"{row.measures[other].mean:.4g}" for other in others),
            ", ".join(f"{count} × {reason}" for reason, count in row.ends.items()),
        )
    return shown


def run_with_progress(settings: TrialSettings, console: Console) -> list[Row]:
    """`run`, with its progress."""
    with Progress("episodes", settings.tasks * settings.episodes, console=console) as progress:
        done, total = 0, 0.0

        def count(record: EpisodeRecord) -> None:
            nonlocal done, total
            outcome = record.outcome
            name = outcome.judged_by
            done, total = done + 1, total + outcome.measures.get(name, outcome.success)
            told = f"mean {name.replace('_', ' ')} {total / done:.4g}" if name else ""
            progress.update(done, told or f"{total:.0f} successes")

        return run(settings, count)


def _header(settings: TrialSettings, welcome: Welcome, robot: str) -> TrialHeader:
    return TrialHeader(
        started=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        robot=robot,
        bundle=welcome.bundle,
        digest=welcome.digest,
        algorithm=welcome.algorithm,
        observation=welcome.observation,
        action=welcome.action,
        control_period=welcome.control_period,
        latent=welcome.latent,
        settings=resolved(settings),
    )


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def main(argv: list[str]) -> int:
    """`acclimate trial`; returns 0."""
    settings = compose("trial", TrialSettings, argv, HELP)
    # As Ctrl-C does: the robot must not be left alone with its episode.
    signal.signal(signal.SIGTERM, _leave)
    console = Console()
    try:
        rows = run_with_progress(settings, console)
    except (RobotLost, ProbeError) as error:
        kept = f"; the episodes until then are in {settings.out}"
        raise type(error)(f"{error}{kept}") from error
    console.print(summary_table(rows))
    console.print(f"written to {settings.out}", soft_wrap=True, highlight=False)
    return 0

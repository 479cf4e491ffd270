"""`acclimate replay`: replays a recording and compares the commands bit by bit."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from adapt.bundle.policy_bundle import PolicyBundle
from adapt.inference.session import CPU
from adapt.settings import compose
from robot_bridge.errors import RecordingError
from robot_bridge.protocol.messages import FAILURES
from robot_bridge.recording.reader import RecordingReader, parts
from robot_bridge.recording.replay import RobotReplay
from robot_bridge.recording.replay_result import ReplayResult
from robot_bridge.recording.rows import AdaptationRow, EventRow, LossRow

EVENTS = 20  # events printed in full


HELP = """acclimate replay FILE bundle=PATH [key=value ...]

Reads a recording and the files that continue it. Gives each robot's adapter the same observations
and transitions from the recorded states, and compares the commands to the last bit. Exit code: 0
when all agree, 1 when one differs, 2 when nothing can be replayed.

Example:
  acclimate replay runs/recordings/20261121T064314Z-fd81d9375e78-000.mcap bundle=bundles/mine"""


@dataclass(frozen=True)
class ReplaySettings:
    """file: first file of the recording to read.
    bundle: folder or .zip of the bundle that was served.
    provider: onnxruntime's execution provider; another one than the bridge's gives other bits.
    alone: true leaves the files that continue this one unread.
    """

    file: Path
    bundle: Path
    provider: str = CPU
    alone: bool = False


@dataclass
class Report:
    """What a replay found. robots: by name. cut: where files end early. losses: what the recorder
    said that it lost."""

    files: list[Path] = field(default_factory=list)
    robots: dict[str, ReplayResult] = field(default_factory=dict)
    events: list[EventRow] = field(default_factory=list)
    losses: list[LossRow] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)

    @property
    def replayed(self) -> int:
        return sum(result.replayed for result in self.robots.values())

    @property
    def different(self) -> int:
        return sum(result.different for result in self.robots.values())


def replay(files: list[Path], bundle: PolicyBundle) -> Report:
    """Replay the files, one after another, as one recording.

    Raises RecordingError when one is damaged, or no step of this bundle's could be replayed.
    """
    report = Report()
    robots: dict[str, RobotReplay] = {}
    recorded = ""
    for path in files:
        reader = RecordingReader(path)
        recorded = f"{reader.about.get('bundle')} ({reader.about.get('digest', '')[:12]})"
        for entry in reader.entries():
            row = entry.row
            if isinstance(row, EventRow):
                report.events.append(row)
                if row.name in FAILURES and row.robot in robots:
                    robots[row.robot].fail()
                continue
            if isinstance(row, LossRow):
                report.losses.append(row)
                continue
            if entry.robot not in robots:
                robots[entry.robot] = RobotReplay(bundle)
            if isinstance(row, AdaptationRow):
                robots[entry.robot].learn(entry.number, row)
            else:
                robots[entry.robot].take(entry.number, row)
        report.files.append(path)
        if reader.cut:
            report.cut.append(f"{path.name}: {reader.cut}")
    for name, robot in robots.items():
        robot.finish()
        report.robots[name] = robot.result
    if not report.replayed and not report.different:
        _explain(report, bundle, recorded)
    return report


def _explain(report: Report, bundle: PolicyBundle, recorded: str) -> None:
    where = ", ".join(map(str, report.files))
    others = {d for result in report.robots.values() for d in result.bundles} - {bundle.digest}
    if others or (not report.robots and bundle.digest[:12] not in recorded):
        raise RecordingError(
            f"{where}: recorded with {recorded}; found the bundle {bundle.manifest.name} "
            f"({bundle.digest[:12]})"
        )
    reasons = Counter[str]()
    for result in report.robots.values():
        reasons += result.left_out
    told = "; ".join(f"{count} steps: {reason}" for reason, count in reasons.items())
    raise RecordingError(f"{where}: holds no step that can be replayed; {told or 'no step at all'}")


def describe(report: Report) -> str:
    """A page for a person."""
    lines = [str(path) for path in report.files]
    lines += [f"cut off: {text}" for text in report.cut]
    for loss in report.losses:
        lines.append(f"gap: {loss.lost} records were not written: {loss.reason}")
    for name, result in sorted(report.robots.items()):
        lines.append(
            f"robot {name!r}: {result.replayed} commands replayed in {result.episodes} episodes, "
            f"{result.learnt} transitions learnt, {result.idle} steps without the policy"
        )
        lines += [f"  left out: {n} steps; {why}" for why, n in result.left_out.items()]
        if (first := result.first) is not None:
            lines.append(
                f"  DIFFERENT in {result.different} steps, first at sequence {first.sequence}: "
                f"{first.field} was {first.recorded}, replayed {first.replayed}"
            )
        else:
            lines.append("  every command, latent and belief agrees to the last bit")
    if report.events:
        lines.append("events:")
    lines += [f"  {e.name} robot {e.robot!r}: {e.text}" for e in report.events[:EVENTS]]
    if len(report.events) > EVENTS:
        counts = Counter(event.name for event in report.events[EVENTS:])
        lines.append("  and " + ", ".join(f"{n} {name}" for name, n in sorted(counts.items())))
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """Run the command; returns its exit code. Raises RecordingError, BundleError."""
    settings = compose("replay", ReplaySettings, argv, HELP, ["file"])
    bundle = PolicyBundle.load(settings.bundle, (settings.provider,), apart=True)
    files = [settings.file] if settings.alone else parts(settings.file)
    report = replay(files, bundle)
    print(describe(report))
    return 1 if report.different else 0

"""`acclimate layout`: a Foxglove layout for one robot of a recording."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from mcap.records import Attachment, Channel

from adapt.atomic_file import write_atomically
from adapt.bundle.fields import Field
from adapt.bundle.manifest import Manifest, decode_manifest
from adapt.settings import compose
from robot_bridge.errors import RecordingError
from robot_bridge.recording.reader import RecordingReader
from robot_bridge.recording.rows import LOG, MANIFEST

Json = dict[str, Any]

HELP = """acclimate layout FILE [robot=NAME] [out=LAYOUT.json]

Writes a Foxglove layout that draws one robot of a recording: observations, commands, belief, times
and the log. In Foxglove: Layouts, Import from file.

Example:
  acclimate layout runs/recordings/20261121T064314Z-fd81d9375e78-000.mcap out=layout.json"""


@dataclass(frozen=True)
class LayoutSettings:
    """file: of the recording.
    robot: name of the robot; empty takes the only one.
    out: file to write; empty prints the layout.
    """

    file: Path
    robot: str = ""
    out: str = ""


def layout(manifest: Manifest, robot: str) -> Json:
    """The layout as Foxglove imports it."""
    step = f"/{robot}/step"
    panels: Json = {}

    def plot(title: str, paths: Sequence[str]) -> str:
        lines = [{"value": p, "enabled": True, "timestampMethod": "receiveTime"} for p in paths]
        panels[f"Plot!{len(panels)}"] = {
            "title": title,
            "paths": lines,
            "showXAxisLabels": True,
            "showYAxisLabels": True,
            "showLegend": True,
            "legendDisplay": "floating",
            "isSynced": True,
            "xAxisVal": "timestamp",
        }
        return list(panels)[-1]

    observed = [
        {"title": f.name, "layout": plot(_titled(f), _elements(f"{step}.observation", f))}
        for f in manifest.observation
    ]
    panels["Tab!observation"] = {"activeTabIdx": 0, "tabs": observed}
    left = ["Tab!observation"]
    left.append(
        plot(
            "command: wanted and sent",
            [
                path
                for kind in ("wanted", "command")
                for field in manifest.action
                for path in _elements(f"{step}.{kind}", field)
            ],
        )
    )
    for name in ("belief_mean", "belief_variance") if manifest.latent.size else ():
        left.append(plot(name, [f"{step}.{name}[{i}]" for i in range(manifest.latent.size)]))
    panels["StateTransitions!mode"] = {
        "isSynced": True,
        "paths": [
            {"value": f"{step}.{name}", "timestampMethod": "receiveTime"}
            for name in ("mode", "digest")
        ],
    }
    answer = plot("answer time [s]", [f"{step}.answer_time"])
    learnt = [f"/{robot}/adaptation.{name}" for name in ("took_ns", "waited_ns")]
    lessons = plot("adaptation [ns]", learnt)
    panels["RosOut!log"] = {"searchTerms": [], "minLogLevel": 1, "topicToRender": LOG}
    panels["RawMessages!step"] = {"diffEnabled": False, "topicPath": step}
    right = ["StateTransitions!mode", answer, lessons, "RosOut!log", "RawMessages!step"]
    return {
        "configById": panels,
        "globalVariables": {},
        "userNodes": {},
        "playbackConfig": {"speed": 1},
        "layout": {"direction": "row", "first": _column(left), "second": _column(right)},
    }


def _column(names: list[str]) -> str | Json:
    """Panels one above the other, equally high."""
    if len(names) == 1:
        return names[0]
    share = 100 / len(names)
    below = _column(names[1:])
    return {"direction": "column", "first": names[0], "second": below, "splitPercentage": share}


def _elements(path: str, field: Field) -> list[str]:
    return [f"{path}.{field.name}[{i}]" for i in range(field.size)]


def _titled(field: Field) -> str:
    return f"{field.name} [{field.unit}]" if field.unit else field.name


def outline(path: Path) -> tuple[Manifest, list[str]]:
    """The manifest of a recording's bundle, and the names of its robots.

    Raises RecordingError for anything but a recording of a bridge.
    """
    manifest, robots = None, dict[str, None]()
    for record in RecordingReader(path).records():
        if isinstance(record, Attachment) and record.name == MANIFEST:
            manifest = decode_manifest(record.data, str(path))
        elif isinstance(record, Channel) and record.topic.endswith("/step"):
            robots[record.topic[1:].removesuffix("/step")] = None
    if manifest is None:
        raise RecordingError(f"{path}: holds no {MANIFEST}; expected a recording of a bridge")
    return manifest, list(robots)


def main(argv: list[str]) -> int:
    """Run the command; returns 0. Raises RecordingError."""
    settings = compose("layout", LayoutSettings, argv, HELP, ["file"])
    manifest, robots = outline(settings.file)
    names = [name for name in robots if settings.robot in ("", name)]
    if len(names) != 1:
        asked = f"no robot {settings.robot!r}" if settings.robot else "say robot=NAME"
        raise RecordingError(f"{settings.file}: {asked}; it has {', '.join(robots) or 'no robot'}")
    text = msgspec.json.format(msgspec.json.encode(layout(manifest, names[0])), indent=2) + b"\n"
    if not settings.out:
        sys.stdout.write(text.decode())
        return 0
    try:
        write_atomically(Path(settings.out), text)
    except OSError as error:
        raise RecordingError(f"{settings.out}: {error.strerror or error}") from error
    print(f"written to {settings.out}")
    return 0

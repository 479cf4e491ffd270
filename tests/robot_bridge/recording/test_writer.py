"""What a recorder writes, as the official reader reads it, and what it does when it cannot."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader

from adapt.bundle.manifest import decode_manifest
from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.errors import RecordingError
from robot_bridge.recording import mcap_file as recording_file
from robot_bridge.recording.json_schema import schemas
from robot_bridge.recording.rotation import FLUSH, Rotation
from robot_bridge.recording.writer import McapRecorder
from robot_bridge.telemetry.records import AdaptationRecord, Recorder
from tests.support import tiny_bundle
from tests.support.bridge.recorded import Motion, rows, salvage, wait_for

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return PolicyBundle.load(tiny_bundle.write(tmp_path_factory.mktemp("b") / "tiny", hold=3))


@pytest.fixture
def recorder(bundle, tmp_path):
    made = McapRecorder(tmp_path / "rec", bundle)
    yield made
    made.close()


def float32(row):
    return np.array([value for values in row.values() for value in values], np.float32)


def names(recorder):
    return [name for name, _ in recorder.troubles()]


def test_it_is_what_the_bridge_takes_for_a_recorder(recorder):
    assert isinstance(recorder, Recorder)


def test_every_number_comes_back_to_the_last_bit(bundle, recorder):
    motion = Motion(bundle, recorder)
    motion.episode(12)
    motion.invalid()
    motion.event("observation_invalid", "a NaN")
    recorder.close()
    steps = rows(recorder.path, "/arm/step")
    for told, (_, row) in zip(motion.steps[:-1], steps[:-1], strict=True):
        assert float32(row["observation"]).tobytes() == told.observation.tobytes()
        assert float32(row["command"]).tobytes() == told.command.tobytes()
        assert np.array(row["latent"], np.float32).tobytes() == told.latent.tobytes()
        assert np.array(row["belief_mean"]).tobytes() == told.belief_mean.tobytes()
        assert np.array(row["belief_variance"]).tobytes() == told.belief_variance.tobytes()
        assert (row["reward"], row["sequence"]) == (told.reward, told.sequence)
        assert (row["belief_version"], row["mode"]) == (told.belief_version, told.mode.name)
        assert ("wanted" in row) == (told.wanted is not None)
    assert list(steps[0][1]["observation"]) == ["tip_position", "wrench"]
    # JSON has no word for what is not finite.
    assert steps[-1][1]["observation"]["tip_position"] == [None, None, 0.0]
    assert steps[-1][1]["reward"] is None
    (state,) = rows(recorder.path, "/arm/state")
    assert (state[1]["task"], state[1]["episode"], state[1]["seed"]) == (4, 1, 9)
    (end,) = rows(recorder.path, "/arm/end")
    assert (end[1]["steps"], end[1]["measures"]) == (12, {"depth": 0.01})
    # One series for all that the loop tells of a robot.
    told = sorted([state[0], end[0], *(number for number, _ in steps)])
    assert told == list(range(len(told)))
    lessons = rows(recorder.path, "/arm/adaptation")
    assert [number for number, _ in lessons] == list(range(12))
    assert [row["belief_version"] for _, row in lessons] == list(range(1, 13))
    (event,) = rows(recorder.path, "/events")
    assert (event[1]["name"], event[1]["robot"]) == ("observation_invalid", "arm")
    (log,) = rows(recorder.path, "/log")
    assert log[1]["message"] == "observation_invalid: a NaN"


def test_a_file_explains_itself(bundle, recorder):
    Motion(bundle, recorder).episode(3)
    recorder.close()
    with recorder.path.open("rb") as file:
        reader = make_reader(file)
        (metadata,) = reader.iter_metadata()
        (attachment,) = reader.iter_attachments()
        times = [message.log_time for _, _, message in reader.iter_messages()]
        summary = reader.get_summary()
    assert metadata.metadata["digest"] == bundle.digest
    assert decode_manifest(attachment.data, "x") == bundle.manifest
    offset = int(metadata.metadata["wall_minus_monotonic_ns"])
    (_, state), *_ = rows(recorder.path, "/arm/state")
    assert times[0] == state["time_ns"] + offset
    assert abs(times[0] / 1e9 - recorder.path.stat().st_mtime) < 3600
    assert summary is not None
    assert summary.statistics is not None
    assert summary.statistics.message_count == len(times)


def fits(schema, value):
    """Whether a value is what a plain JSON schema says, and has nothing that it does not name."""
    kind = schema["type"]
    if value is None:
        return kind == "number"
    if kind == "object":
        known = schema["properties"]
        free = not known
        return isinstance(value, dict) and all(
            free or (key in known and fits(known[key], item)) for key, item in value.items()
        )
    if kind == "array":
        return isinstance(value, list) and all(fits(schema["items"], item) for item in value)
    types = {"integer": int, "number": (int, float), "string": str, "boolean": bool}
    return isinstance(value, types[kind]) and value in schema.get("enum", [value])


def test_every_row_is_what_its_schema_says(bundle, recorder):
    motion = Motion(bundle, recorder)
    motion.episode(4)
    motion.invalid()
    motion.event("x", "y")
    recorder._parts.lost(3, "a test")
    recorder.close()
    seen = set()
    with recorder.path.open("rb") as file:
        for schema, channel, message in make_reader(file).iter_messages():
            assert schema is not None
            assert (schema.encoding, channel.message_encoding) == ("jsonschema", "json")
            written = json.loads(schema.data)
            assert written == schemas(bundle.manifest)[schema.name]
            assert fits(written, json.loads(message.data)), (schema.name, message.data)
            seen.add(schema.name)
    assert seen == set(schemas(bundle.manifest))
    step = schemas(bundle.manifest)["acclimate.Step"]["properties"]
    assert step["observation"]["properties"]["wrench"]["description"].startswith("N, shape (3,)")
    assert "$ref" not in json.dumps(schemas(bundle.manifest))


def test_two_bridges_in_one_folder_keep_apart(bundle, tmp_path):
    recorders = [McapRecorder(tmp_path, bundle) for _ in range(4)]
    assert len({recorder.path for recorder in recorders}) == 4
    for index, recorder in enumerate(recorders):
        Motion(bundle, recorder, f"arm{index}").episode(2)
    for recorder in recorders:
        recorder.close()
    for index, recorder in enumerate(recorders):
        assert len(rows(recorder.path, f"/arm{index}/step")) == 3


def test_what_is_there_is_never_written_over(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(recording_file.os, "fsync", lambda descriptor: None)
    first = McapRecorder(tmp_path, bundle)
    Motion(bundle, first).episode(2)
    first.close()
    taken = first.path.with_name(first.path.name.replace("-000", "-001"))
    taken.write_text("precious")
    second = McapRecorder(tmp_path, bundle, rotation=Rotation(size=1, retry=0.01))
    Motion(bundle, second).episode(2)
    wait_for(lambda: len(list(tmp_path.iterdir())) >= 4)
    second.close()
    assert taken.read_text() == "precious"


def test_without_a_row_no_file_is_left(bundle, tmp_path):
    McapRecorder(tmp_path, bundle).close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_no_file_is_refused_at_the_start(bundle, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RecordingError, match="file: cannot record here"):
        McapRecorder(tmp_path / "file", bundle)


def test_a_file_that_has_grown_is_left_for_a_new_one(bundle, tmp_path):
    recorder = McapRecorder(tmp_path, bundle, rotation=Rotation(size=20_000))
    motion = Motion(bundle, recorder)

    def grow():
        motion.episode(40)
        return len(list(tmp_path.glob("*.mcap"))) >= 3

    wait_for(grow)
    recorder.close()
    parts = sorted(tmp_path.glob("*.mcap"))
    assert parts[0] == recorder.path
    numbers = [row["sequence"] for part in parts for _, row in rows(part, "/arm/step")]
    assert numbers == [record.sequence for record in motion.steps]
    assert recorder.troubles() == []


class Disk:
    """Stands before os.write and os.fsync: full, or slow, when told so."""

    def __init__(self, monkeypatch):
        self.full, self.free = False, threading.Event()
        self.free.set()
        self.caught = threading.Event()
        self._write, self._sync = os.write, os.fsync
        monkeypatch.setattr(recording_file.os, "write", self.write)
        monkeypatch.setattr(recording_file.os, "fsync", self.sync)

    def write(self, descriptor, data):
        if not self.full:
            return self._write(descriptor, data)
        self.caught.set()
        if len(data) > 100:
            return self._write(descriptor, data[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self, descriptor):
        self.caught.set()
        self.free.wait()
        self._sync(descriptor)


def test_a_full_disk_costs_rows_and_nothing_else(bundle, tmp_path, monkeypatch):
    disk = Disk(monkeypatch)
    recorder = McapRecorder(tmp_path, bundle, rotation=Rotation(retry=0.01))
    motion = Motion(bundle, recorder)
    motion.episode(30)
    wait_for(lambda: salvage(recorder.path).get("/arm/end"))
    disk.full = True
    motion.episode(30)
    told = wait_for(recorder.troubles)
    assert told[0][0] == "recording_failed"
    assert "No space left on device" in told[0][1]
    assert str(recorder.path) in told[0][1]
    motion.episode(30)
    wait_for(lambda: not recorder._queue)
    # What was whole stays whole, and a file without anything does not stay.
    kept = salvage(recorder.path)
    assert len(kept["/arm/step"]) == 31
    assert "EndOfFile" in kept[""][0]["error"]
    wait_for(lambda: list(tmp_path.iterdir()) == [recorder.path])
    disk.full = False
    heard = []
    wait_for(lambda: heard.extend(names(recorder)) or "recording_gap" in heard)
    assert heard == ["recording_resumed", "recording_gap"]
    motion.episode(30)
    recorder.close()
    (second,) = set(tmp_path.iterdir()) - {recorder.path}
    ((_, loss),) = rows(second, "/recorder")
    assert "No space left" in loss["reason"]
    # Each episode has a state, 31 steps, an end, and a lesson for every command.
    topics = ("state", "step", "end", "adaptation")
    written = {topic: rows(second, f"/arm/{topic}") for topic in topics}
    assert loss["lost"] == 3 * 63 - sum(map(len, written.values()))
    assert loss["lost"] >= 63
    # The numbers show where.
    assert written["step"][-1][0] == 4 * 33 - 2


def test_a_slow_disk_delays_no_robot(bundle, tmp_path, monkeypatch):
    disk = Disk(monkeypatch)
    recorder = McapRecorder(tmp_path, bundle, capacity=50)
    motion = Motion(bundle, recorder)
    motion.event("x", "y")
    disk.free.clear()
    disk.caught.clear()
    motion.event("x", "y")
    assert disk.caught.wait(30)
    # The writer hangs in the disk now, and what it does not take is lost after 50 rows.
    motion.episode(60)
    disk.free.set()
    wait_for(lambda: "recording_gap" in names(recorder))
    motion.event("after", "all")
    recorder.close()
    ((_, loss),) = rows(recorder.path, "/recorder")
    written = [
        number
        for topic in ("step", "state", "end")
        for number, _ in rows(recorder.path, f"/arm/{topic}")
    ]
    lessons = rows(recorder.path, "/arm/adaptation")
    assert loss["lost"] + len(written) + len(lessons) == 63 + 60
    assert len(written) + len(lessons) == 50
    assert rows(recorder.path, "/events")[-1][1]["name"] == "after"


def test_a_fault_of_the_writer_ends_the_recording_alone(bundle, recorder, monkeypatch):
    monkeypatch.setattr(recorder._parts, "write", lambda *row: 1 / 0)
    motion = Motion(bundle, recorder)
    motion.episode(3)
    ((name, text),) = wait_for(recorder.troubles)
    assert name == "recording_failed"
    assert "ZeroDivisionError" in text
    motion.episode(3)
    assert not recorder._queue
    recorder.close()


def test_a_name_that_is_no_text_ends_no_recording(bundle, tmp_path):
    folder = tmp_path / os.fsdecode(b"\xff")
    recorder = McapRecorder(folder, bundle)
    motion = Motion(bundle, recorder)
    # What it says itself once the disk fails.
    motion.event("recording_failed", f"{recorder.path}: No space left on device")
    recorder.adapted(AdaptationRecord("arm", 0, 10, 20, 1, f"{folder}: cannot be read"))
    motion.event("after", "all")
    recorder.close()
    assert recorder.troubles() == []
    failed, after = rows(recorder.path, "/events")
    assert r"/\udcff/" in failed[1]["text"]
    assert after[1]["name"] == "after"
    assert r"/\udcff/" in rows(recorder.path, "/log")[0][1]["message"]
    ((_, lesson),) = rows(recorder.path, "/arm/adaptation")
    assert lesson["problem"].endswith(r"/\udcff: cannot be read")


CHILD = """
import sys, time
sys.path.insert(0, ".")
from pathlib import Path
from tests.support.bridge.recorded import Motion
from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.recording.writer import McapRecorder

bundle = PolicyBundle.load(sys.argv[1])
recorder = McapRecorder(Path(sys.argv[2]), bundle)
print(recorder.path, flush=True)
motion = Motion(bundle, recorder)
while True:
    motion.episode(20)
    time.sleep(0.02)
"""


def test_after_a_kill_everything_but_the_last_moment_reads_back(bundle, tmp_path):
    assert FLUSH <= 0.5
    source = tiny_bundle.write(tmp_path / "bundle", hold=3)
    words = [sys.executable, "-c", CHILD, source, tmp_path / "rec"]
    child = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        path = Path(child.stdout.readline().strip())
        seen = wait_for(lambda: len(salvage(path).get("/arm/step", [])))
        wait_for(lambda: len(salvage(path)["/arm/step"]) > seen)
        seen = len(salvage(path)["/arm/step"])
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    steps = salvage(path)["/arm/step"]
    assert len(steps) >= seen
    assert [row["sequence"] for row in steps] == [3 * (n + 1) for n in range(len(steps))]

"""Calibration recordings: what is written is read, and nothing else is."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from mcap.writer import Writer

from calibration.recording import CalibrationError, JointRecording, read_joints


def small(samples: int = 7) -> JointRecording:
    rng = np.random.default_rng(0)
    q, dq, torque, command = rng.normal(size=(4, samples, 6))
    return JointRecording("small", np.arange(samples) * 0.002, q, dq, torque, command)


def test_what_is_written_is_read_to_the_last_bit(tmp_path: Path):
    written = small()
    written.save(tmp_path / "small.mcap", "twin")
    read = read_joints(tmp_path / "small.mcap")
    for key in ("q", "dq", "torque", "command"):
        assert np.array_equal(getattr(read, key), getattr(written, key))
    np.testing.assert_allclose(read.time, written.time, atol=1e-9)
    assert len(read.digest) == 64


def test_the_same_samples_make_the_same_file(tmp_path: Path):
    for name in ("a.mcap", "b.mcap"):
        small().save(tmp_path / name, "twin")
    assert (tmp_path / "a.mcap").read_bytes() == (tmp_path / "b.mcap").read_bytes()


def test_a_file_is_never_overwritten(tmp_path: Path):
    small().save(tmp_path / "small.mcap", "twin")
    with pytest.raises(CalibrationError, match="exists"):
        small().save(tmp_path / "small.mcap", "twin")


def test_joints_that_are_too_few_are_named(tmp_path: Path):
    five = dataclasses.replace(small(), dq=small().dq[:, :5])
    five.save(tmp_path / "five.mcap", "twin")
    with pytest.raises(CalibrationError, match=r"row 0 has .*'dq': 5.*expected 6"):
        read_joints(tmp_path / "five.mcap")


@pytest.mark.parametrize("damage", ["absent", "text", "cut", "another"])
def test_what_is_no_calibration_recording_is_refused(damage: str, tmp_path: Path):
    path = tmp_path / "bad.mcap"
    if damage == "text":
        path.write_text("no recording")
    if damage == "cut":
        small(500).save(path, "twin")
        path.write_bytes(path.read_bytes()[:3000])
    if damage == "another":
        with path.open("wb") as file:
            writer = Writer(file)
            writer.start()
            writer.add_metadata("acclimate", {"format": "1"})
            writer.finish()
    with pytest.raises(CalibrationError, match=r"bad\.mcap"):
        read_joints(path)

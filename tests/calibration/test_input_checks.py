"""Every kind of bad recording is found before the fit, and named."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from calibration.arm.linear_fit import linear_fit
from calibration.arm.twin import ArmTwin, Mismatch
from calibration.input_checks import check_dynamics, check_recording
from calibration.recording import JointRecording


def kinds(recording: JointRecording, payload: bool = False) -> set[str]:
    found = check_recording(recording)
    found = found or check_dynamics(recording, linear_fit(recording), payload)
    assert all(f.text.startswith(f"{recording.name}: ") for f in found)
    return {f.kind for f in found}


def test_good_recordings_have_no_findings(arm, command: np.ndarray):
    for seed in range(6):
        assert kinds(ArmTwin(arm, seed).run(command)) == set()


def changed(recording: JointRecording, **how: Callable[[np.ndarray], np.ndarray]):
    return dataclasses.replace(
        recording, **{key: f(getattr(recording, key).copy()) for key, f in how.items()}
    )


def column(joint: int, factor: float) -> Callable[[np.ndarray], np.ndarray]:
    def scaled(values: np.ndarray) -> np.ndarray:
        values[:, joint] *= factor
        return values

    return scaled


def swapped(values: np.ndarray) -> np.ndarray:
    return values[:, [0, 2, 1, 3, 4, 5]]


def without(recording: JointRecording, samples: slice) -> JointRecording:
    keep = np.ones(len(recording.time), bool)
    keep[samples] = False
    return changed(recording, **{
        key: lambda a: a[keep] for key in ("time", "q", "dq", "torque", "command")
    })  # fmt: skip


def frozen(values: np.ndarray) -> np.ndarray:
    values[1200:1500, 3] = values[1200, 3]
    return values


def stale(recording: JointRecording) -> JointRecording:
    """Every tenth message shows the sample before."""

    def repeat(values: np.ndarray) -> np.ndarray:
        values[10::10] = values[9:-1:10]
        return values

    return changed(recording, q=repeat, dq=repeat, torque=repeat)


def saturated(values: np.ndarray) -> np.ndarray:
    values[1000:1100, 4] = 28.0
    return values


DEGREES = np.degrees(1.0)


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("gap", lambda r: without(r, slice(1000, 1010))),
        ("rate", lambda r: changed(r, time=lambda t: 2 * t)),
        ("time", lambda r: changed(r, time=lambda t: np.where(t > 3, t - 1, t))),
        ("short", lambda r: without(r, slice(300, None))),
        ("degrees", lambda r: changed(r, q=np.degrees, dq=np.degrees, command=np.degrees)),
        ("degrees", lambda r: changed(r, q=column(4, DEGREES))),
        ("degrees", lambda r: changed(r, dq=np.degrees)),
        ("mirrored", lambda r: changed(r, q=column(1, -1.0), dq=column(1, -1.0))),
        ("swapped", lambda r: changed(r, q=swapped, dq=swapped)),
        ("torque-unit", lambda r: changed(r, torque=lambda a: 1000 * a)),
        ("torque-unit", lambda r: changed(r, torque=lambda a: a / 12)),
        ("torque-unit", lambda r: changed(r, torque=column(1, -1.0))),
        ("dead-sensor", lambda r: changed(r, torque=column(2, 0.0))),
        ("frozen", lambda r: changed(r, q=frozen)),
        ("stale", stale),
        ("saturation", lambda r: changed(r, torque=saturated)),
        ("motion", lambda r: changed(r, q=column(5, 0.0), dq=column(5, 0.0))),
    ],
)
def test_a_bad_recording_is_named(kind: str, spoil, recording: JointRecording):
    assert kind in kinds(spoil(recording))


def test_a_load_is_found_unless_it_was_announced(
    loaded: Callable[[int, Mismatch], ArmTwin], command: np.ndarray
):
    twin = loaded(2, Mismatch())  # it carries about 1 kg
    recording = twin.run(command)
    assert kinds(recording) == {"load"}
    assert kinds(recording, payload=True) == set()

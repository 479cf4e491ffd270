"""Recordings made before the modules were moved into packages replay against the shipped bundles.

They come from `acclimate bridge record=…`, `twin body=wrist` and `trial` at revision 7d39c25:
insertion-pearl 2 tasks × 3 episodes, the same in real time 1 × 2, insertion-maesn 1 × 6, whose last
episode acts on a belief after one adaptation step.
"""

import hashlib
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from adapt.adapters.registry import make_adapter
from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.cli.replay import replay
from robot_bridge.recording.reader import RecordingReader
from robot_bridge.recording.rows import AdaptationRow, StateRow, unpacked

ROOT = Path(__file__).resolve().parents[3]
RECORDED = {
    "insertion-pearl": ("insertion-pearl", 157, 6, 157),
    "insertion-pearl-realtime": ("insertion-pearl", 49, 2, 47),
    "insertion-maesn": ("insertion-maesn", 190, 6, 0),
}
"""File → bundle, commands, episodes, lessons learnt."""
# Of the policies' outputs, bit by bit, on the processor that made the recordings.
KERNELS = {"insertion-pearl": "a5f96f6df352", "insertion-maesn": "2d5b7ef9b9f8"}


def kernels(folder: Path) -> str:
    """Tells processors apart on which onnxruntime gives other last bits: a checksum of the policy's
    means on the golden observations, one row at a time as on a robot."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(folder / "policy.onnx", options)
    names = [value.name for value in session.get_inputs()]
    with np.load(folder / "golden.npz") as golden:
        rows = {name: golden[f"policy/{name}"] for name in names}
    outputs = [
        session.run(["mean"], {name: rows[name][i : i + 1] for name in names})[0]
        for i in range(len(rows[names[0]]))
    ]
    return hashlib.sha256(np.concatenate(outputs).tobytes()).hexdigest()[:12]


@pytest.mark.parametrize("name", RECORDED)
def test_a_recording_of_the_flat_modules_replays(name):
    bundle, commands, episodes, learnt = RECORDED[name]
    folder = ROOT / "bundles" / bundle
    report = replay([ROOT / "tests" / "data" / f"{name}.mcap"], PolicyBundle.load(folder))
    tally = report.robots["twin"]
    assert (tally.replayed, tally.episodes, tally.learnt) == (commands, episodes, learnt)
    assert not tally.left_out
    if kernels(folder) == KERNELS[bundle]:
        assert (tally.different, tally.first) == (0, None)
    elif tally.first is not None:  # another processor: the last bits of a network may differ
        values = [float(text.split()[0]) for text in (tally.first.recorded, tally.first.replayed)]
        assert values[1] == pytest.approx(values[0], rel=1e-4, abs=1e-6), tally.first


def test_the_recorded_episodes_teach_maesn_the_recorded_belief():
    bundle = PolicyBundle.load(ROOT / "bundles" / "insertion-maesn")
    reader = RecordingReader(ROOT / "tests" / "data" / "insertion-maesn.mcap")
    rows = [entry.row for entry in reader.entries()]
    states = {row.episode: row for row in rows if isinstance(row, StateRow)}
    lessons = [
        row
        for row in rows
        if isinstance(row, AdaptationRow) and states[4].time_ns <= row.time_ns < states[5].time_ns
    ]
    adapter, expected = make_adapter(bundle, 0), make_adapter(bundle, 0)
    adapter.restore(states[4].snapshot)
    expected.restore(states[5].snapshot)
    adapter.begin_episode()
    sizes = bundle.manifest.observation_size, bundle.manifest.action_size
    for row in lessons:
        if row.transition:
            adapter.observe(unpacked(row, *sizes))
        else:
            adapter.conclude(row.complete)
    found, recorded = adapter.belief, expected.belief
    assert found.count == recorded.count == 140
    if kernels(ROOT / "bundles" / "insertion-maesn") == KERNELS["insertion-maesn"]:
        assert found.mean.tobytes() == recorded.mean.tobytes()
        assert found.variance.tobytes() == recorded.variance.tobytes()
    np.testing.assert_allclose(found.mean, recorded.mean, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.variance, recorded.variance, rtol=1e-3, atol=1e-5)

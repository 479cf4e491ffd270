"""The fault matrix, last part: numbers that are none, clocks, disks, workers, models.

The bridge's own clock cannot jump: it reads CLOCK_MONOTONIC alone wherever a command depends on
time. A robot brings its own clock, which a driver may get wrong.
"""

import os
import resource
import time
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from adapt.bundle.algorithms import TransitionRow
from adapt.bundle.policy_bundle import PolicyBundle, write_bundle
from robot_bridge.cli.replay import replay
from robot_bridge.client.operator_client import OperatorClient
from robot_bridge.errors import BridgeError
from robot_bridge.protocol.messages import Kind, Mode
from robot_bridge.recording.rows import LossRow
from tests.support import tiny_bundle
from tests.support.bridge.bridge_process import PATIENCE
from tests.support.bridge.faults import belief, entries, lossless, moving, served, steps, told
from tests.support.bridge.faulty_wires import Wire, only, resealed, whole
from tests.support.bridge.recorded import wait_for

HOUR_NS = 3_600_000_000_000


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    tiny_bundle.write(folder / "tiny")
    tiny_bundle.write(folder / "other", seed=1)
    return folder


@pytest.fixture(scope="module")
def bundle(bundles):
    return bundles / "tiny"


@pytest.fixture
def endpoint(house):
    return f"ipc://{house}/b"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["observation", "reward"])
def test_the_robot_measures_no_number(bundle, house, endpoint, matrix, where, value):
    name = f"{where} {value}"
    with moving(bundle, endpoint, name) as made:
        known = belief(endpoint, name)
        seen = made.measure()
        reward = 0.0
        if where == "reward":
            reward = value
        else:
            seen[4] = value
        assert made.step(seen, reward) >= Mode.HOLD
        event = told(house, "observation_invalid", name)
        matrix(f"{value} as {where} to the bridge", "HOLD", 1, 1, event.name)
        made.steady()
        lossless(house, bundle, name, made.client._sequence)
        held = [one for one in steps(house, name) if one.mode == "HOLD"]
        assert held and all(not any(one.command["translation"]) for one in held)
        assert belief(endpoint, name) >= known
        policy = steps(house, name)[-1]
        assert None not in policy.belief_mean


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_robot_is_told_no_number(bundle, house, endpoint, matrix, value):
    name = f"told {value}"
    wire = Wire(house, f"told{value}", endpoint)
    with closing(wire), moving(bundle, wire.endpoint, name, endpoint) as made:
        bad = np.array([value], "<f4").tobytes()

        def poison(data):
            return [(0.0, resealed(data, lambda frame: frame.__setitem__(slice(-4, None), bad)))]

        wire.down = only(Kind.COMMAND, poison)
        assert made.step() >= Mode.HOLD
        assert "yaw" in made.client.state.reason
        matrix(f"{value} as command to the robot", "HOLD", 1, 1, made.client.state.reason)
        wire.down = whole
        made.steady()
        lossless(house, bundle, name, made.client._sequence)


def logarithmic(path):
    """A bundle whose policy's mean is the logarithm of the first numbers observed."""
    manifest, graphs, golden = tiny_bundle.build()
    nodes = [
        helper.make_node("MatMul", ["observation", "first"], ["x"]),
        helper.make_node("Log", ["x"], ["mean"]),
        helper.make_node("MatMul", ["latent", "none"], ["log_std"]),
    ]
    constants = {"first": np.eye(6, 3, dtype=np.float32), "none": np.zeros((2, 3), np.float32)}
    inputs, outputs = {"observation": 6, "latent": 2}, {"mean": 3, "log_std": 3}
    graphs["policy"] = tiny_bundle.model("policy", nodes, inputs, outputs, constants)
    seen = (np.abs(golden["policy/observation"]) + 0.1).astype(np.float32)
    golden["policy/observation"] = seen
    golden["policy/mean"] = np.log(seen[:, :3], dtype=np.float32)
    golden["policy/log_std"] = np.zeros((len(seen), 3), np.float32)
    return write_bundle(path, manifest, graphs, golden)


def test_the_policy_answers_no_number(tmp_path, matrix):
    path = tmp_path / "log"
    logarithmic(path)
    with (
        served(tmp_path, path) as bridge,
        moving(path, bridge.endpoint, "arm", spread=(0.1, 1.0)) as made,
    ):
        # The logarithm of what is below 0.
        assert made.step(np.full(6, -0.5, np.float32)) >= Mode.HOLD
        event = told(tmp_path, "policy_failed", "arm")
        matrix("NaN from the policy", "HOLD", 1, 1, event.name)
        made.steady()
        recorded = wait_for(
            lambda: [one for one in steps(tmp_path, "arm") if one.sequence == made.client._sequence]
        )
        assert recorded[0].mode == "TRACK"


@pytest.mark.parametrize("jump_ns", [HOUR_NS, -HOUR_NS])
def test_the_robots_clock_jumps(bundle, house, endpoint, matrix, jump_ns):
    name = "ahead" if jump_ns > 0 else "back"
    wire = Wire(house, name, endpoint)
    shift = [0]

    def now_ns():
        return time.monotonic_ns() + shift[0]

    with (
        closing(wire),
        moving(bundle, wire.endpoint, name, endpoint, now_ns=now_ns) as made,
    ):
        # In the midst of a period, whose answer is lost, too.
        def jump(data):
            shift[0] = jump_ns
            return []

        wire.down = only(Kind.COMMAND, jump)
        periods = made.until(Mode.STOP, 2)
        event = told(house, "robot_stopped", name)
        wire.down = whole
        matrix(f"robot's clock jumps {name} by an hour", "STOP", periods, 2, event.name)
        made.release()
        made.steady()
        lossless(house, bundle, name, made.client._sequence)


def test_the_disk_is_full_and_has_room_again(bundle, tmp_path, matrix):
    with served(tmp_path, bundle) as bridge, moving(bundle, bridge.endpoint, "arm") as made:
        wait_for(lambda: steps(tmp_path, "arm"))
        (path,) = (tmp_path / "recording").glob("*.mcap")
        pid = bridge.process.pid
        _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        # No file may grow any further.
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (os.stat(path).st_size, most))

        def moves_until_told(name):
            deadline = time.monotonic() + PATIENCE
            while not any(event.name == name for event in status(bridge.endpoint)):
                assert made.step() is not Mode.STOP
                assert time.monotonic() < deadline

        moves_until_told("recording_failed")
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))
        moves_until_told("recording_resumed")
        event = told(tmp_path, "recording_resumed")
        made.steady()
        matrix("full disk while recording", "TRACK", 0, 0, "recording_failed")
        assert event.text
        # What could not be written is counted, and everything around it reads.
        assert sum(one.row.lost for one in entries(tmp_path) if isinstance(one.row, LossRow))
        last = made.client._sequence
        wait_for(lambda: any(one.sequence == last for one in steps(tmp_path, "arm")))
        report = replay(sorted((tmp_path / "recording").glob("*.mcap")), PolicyBundle.load(bundle))
        assert (report.different, report.replayed > 0) == (0, True)


def status(endpoint):
    """The bridge's latest events."""
    with closing(OperatorClient(endpoint)) as operator:
        operator.connect(PATIENCE)
        return operator.status(PATIENCE).events


def greedy(path):
    """A bundle whose encoder asks for four bytes × a million × the reward beyond 1000."""
    manifest, graphs, golden = tiny_bundle.build()
    width = TransitionRow(True, True).size(manifest)
    index = width - 7  # the reward, before the next observation's six numbers
    pick = np.zeros((width, 1), np.float32)
    pick[index] = 1e6
    nodes = [
        helper.make_node("MatMul", ["transition", "weight"], ["mean"]),
        helper.make_node("MatMul", ["transition", "pick"], ["rewards"]),
        helper.make_node("Sub", ["rewards", "enough"], ["beyond"]),
        helper.make_node("Relu", ["beyond"], ["wanted"]),
        helper.make_node("Cast", ["wanted"], ["count"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["count", "flat"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["memory"]),
        helper.make_node("ReduceSum", ["memory"], ["zero"], keepdims=0),
        helper.make_node("MatMul", ["transition", "spread"], ["s"]),
        helper.make_node("Softplus", ["s"], ["p"]),
        helper.make_node("Add", ["p", "floor"], ["q"]),
        helper.make_node("Add", ["q", "zero"], ["variance"]),
    ]
    rng = np.random.default_rng(0)
    weight, spread = (rng.normal(0, 0.5, (width, 2)).astype(np.float32) for _ in range(2))
    constants: dict[str, Any] = {
        "weight": weight,
        "spread": spread,
        "pick": pick,
        "enough": np.array([[1e9]], np.float32),
        "flat": np.array([-1], np.int64),
        "floor": np.array([0.05], np.float32),
    }
    rows = golden["encoder/transition"][:1]
    golden["encoder/transition"] = rows
    golden["encoder/mean"] = rows @ weight
    golden["encoder/variance"] = (np.log1p(np.exp(rows @ spread)) + 0.05).astype(np.float32)
    graphs["encoder"] = tiny_bundle.model(
        "encoder", nodes, {"transition": len(pick)}, {"mean": 2, "variance": 2}, constants
    )
    return write_bundle(path, manifest, graphs, golden)


def test_the_worker_runs_out_of_memory(tmp_path, matrix):
    path = tmp_path / "greedy"
    greedy(path)
    with served(tmp_path, path) as bridge, moving(path, bridge.endpoint, "arm") as made:
        wait_for(lambda: belief(bridge.endpoint, "arm"))
        # 4 × 10^18 bytes, more than any address space has.
        assert made.step(reward=1e12) is not Mode.STOP
        event = told(tmp_path, "adaptation_problem", "arm")
        assert "alloc" in event.text.lower() or "memory" in event.text.lower()
        known = belief(bridge.endpoint, "arm")
        made.steady()
        matrix("adaptation worker out of memory", "TRACK", 0, 0, event.name)
        # It goes on learning, from what can be learnt from.
        wait_for(lambda: belief(bridge.endpoint, "arm") > known)
        lossless(tmp_path, path, "arm", made.client._sequence)


def test_a_model_is_swapped_in_motion(bundles, tmp_path, matrix):
    one, two = bundles / "tiny", bundles / "other"
    with (
        served(tmp_path, one) as bridge,
        moving(one, bridge.endpoint, "arm") as made,
        closing(OperatorClient(bridge.endpoint)) as operator,
    ):
        operator.connect(PATIENCE)
        operator.load_model(str(two))
        known = belief(bridge.endpoint, "arm")
        operator.swap_model("now")
        modes = [made.step() for _ in range(5)]
        event = told(tmp_path, "model_swapped", "arm")
        operator.rollback_model()
        modes += [made.step() for _ in range(5)]
        assert Mode.STOP not in modes
        matrix("model swapped in motion", "TRACK", 0, 0, event.name)
        assert belief(bridge.endpoint, "arm") >= known
        made.steady()
        last = made.client._sequence
        wait_for(lambda: any(row.sequence >= last for row in steps(tmp_path, "arm")))
    # Each model's part gives the same again; the other's is left out by name.
    files = sorted((tmp_path / "recording").glob("*.mcap"))
    reports = [replay(files, PolicyBundle.load(path)) for path in (one, two)]
    assert [report.different for report in reports] == [0, 0]
    assert all(report.replayed for report in reports)


def test_a_bundle_is_changed_on_the_disk(tmp_path, matrix):
    path = tiny_bundle.write(tmp_path / "served")
    pristine = tiny_bundle.write(tmp_path / "pristine")
    with (
        served(tmp_path, path) as bridge,
        moving(path, bridge.endpoint, "arm") as made,
        closing(OperatorClient(bridge.endpoint)) as operator,
    ):
        operator.connect(PATIENCE)
        # In place, as a mapped file would notice, and well formed.
        other = tiny_bundle.write(tmp_path / "other", seed=1)
        with (path / "policy.onnx").open("r+b") as file:
            file.write((other / "policy.onnx").read_bytes())
            file.truncate()
        made.steady()
        with pytest.raises(BridgeError, match=r"policy\.onnx"):
            operator.load_model(str(path))
        event = told(tmp_path, "model_refused")
        made.steady()
        matrix("bundle changed on the disk", "TRACK", 0, 0, event.name)
        # What answered is what was verified, to the last bit.
        lossless(tmp_path, pristine, "arm", made.client._sequence)


def test_nothing_else_went_wrong(house):
    for entry in entries(house):
        assert getattr(entry.row, "name", "") not in ("bridge_fault", "answer_failed")

"""The C++ driver as a process, with a bridge over ipc and over tcp with CURVE."""

import re
import threading
import time

import numpy as np
import pytest

from robot_bridge.client.operator_client import OperatorClient
from robot_bridge.errors import BridgeError, RobotLost
from robot_bridge.protocol.messages import (
    Begin,
)
from tests.support.bridge import bridge_keys, bridge_process
from tests.support.client import cpp_client
from tests.support.client.cpp_client import SIMULATED

PATIENCE = cpp_client.PATIENCE


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    # One for each test: the bridge remembers who was stopped, and notices late who was killed.
    names = ("toy", "other", "blind", "pushed", "halted")
    return bridge_keys.make(tmp_path_factory.mktemp("made") / "keys", robots=names)


@pytest.fixture(scope="module")
def bridge(tiny_folder, keys):
    with bridge_process.bridge(tiny_folder, keys) as made:
        yield made


@pytest.fixture
def operator(bridge, keys):
    with OperatorClient(bridge.endpoint, keys=keys) as made:
        made.connect(PATIENCE)
        yield made


def begin(robot="toy", episode=0, new_task=True):
    return Begin(robot, 1, episode, 3, new_task)


def test_an_episode_over_curve_is_learnt_from_and_recorded(program, bridge, keys, operator):
    key = keys / "certificates/toy.key"
    with cpp_client.driver(program, bridge.endpoint, "--keys", key, *SIMULATED) as driver:
        operator.wait_robot("toy", PATIENCE)
        record = operator.run(begin(), PATIENCE)
        driver.wait_line("end time is up")
        # A second one: the belief goes on from where it was.
        again = operator.run(begin(episode=1, new_task=False), PATIENCE)
        status = {robot.name: robot for robot in operator.status().robots}["toy"]
    arrays = record.arrays()
    assert (record.outcome.success, record.outcome.steps, record.events) == (True, 20, ())
    assert record.truth == {"socket_x": 0.5}
    assert arrays["steps"].tolist() == list(range(20))
    # What it measured is what it was commanded, step by step.
    moved = np.diff(arrays["observations"][:, :2], axis=0)
    np.testing.assert_allclose(moved, arrays["commands"][:-1, :2], atol=1e-6)
    assert again.belief_before.version == record.belief_after.version > 0
    # Both clocks are this machine's.
    assert status.clock_offset_ns is None or abs(status.clock_offset_ns) < PATIENCE * 1e9


def test_a_sensor_that_fails_is_held_and_told_of(program, bridge, keys, operator):
    words = (
        "--keys",
        keys,
        "--name",
        "blind",
        "--blind-at",
        7,
        "--steps",
        12,
        *SIMULATED,
    )
    with cpp_client.driver(program, bridge.endpoint, *words) as driver:
        operator.wait_robot("blind", PATIENCE)
        record = operator.run(begin("blind"), PATIENCE)
        for step in range(7, 12):
            assert driver.wait_line(f"step {step} ").startswith(f"step {step} HOLD")
    assert len(record.arrays()["steps"]) == 7
    assert any("nan" in event for event in record.events)


def test_a_fault_latches_until_the_operator_who_knows_of_it_releases(
    program, bridge, keys, operator
):
    words = (
        "--keys",
        keys,
        "--name",
        "pushed",
        "--push-at",
        5,
        "--steps",
        6,
        *SIMULATED,
    )
    with cpp_client.driver(program, bridge.endpoint, *words) as driver:
        operator.wait_robot("pushed", PATIENCE)
        with pytest.raises(RobotLost, match="the robot reports fault 0x2"):
            operator.run(begin("pushed"), PATIENCE)
        assert driver.wait_line("step 5 ").startswith("step 5 STOP")
        # Its last words may still be on their way, and then to be learnt from.
        deadline = time.monotonic() + PATIENCE
        while {robot.name: robot for robot in operator.status().robots}["pushed"].episode != "none":
            assert time.monotonic() < deadline
        with pytest.raises(RobotLost, match="robot_stopped"):
            operator.run(begin("pushed", 1), PATIENCE)
        operator.release("pushed")
        assert "it was stopped" in operator.wait_released("pushed", PATIENCE)
        driver.wait_line("free released")


def test_the_operators_stop_is_latched_between_episodes(program, bridge, keys, operator):
    with cpp_client.driver(
        program, bridge.endpoint, "--keys", keys, "--name", "halted", *SIMULATED
    ) as driver:
        operator.wait_robot("halted", PATIENCE)
        operator.stop("a person walks in", "halted")
        assert driver.wait_line("a person walks in").startswith("stopped operator")
        assert "a person walks in" in operator.wait_stopped(PATIENCE)
        operator.release("halted")
        operator.wait_released("halted", PATIENCE)
        driver.wait_line("free released")
        assert operator.run(begin("halted"), PATIENCE).outcome.success


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--period", "0.02"), "control period: expected 0.05 s, found 0.02 s"),
        (("--name", "unknown"), "unknown.key: No such file"),
        (("--patience", "nan"), "patience; expected seconds"),
        (("--patience", "-1"), "patience; expected seconds"),
        (("--patience", "1e300"), "patience; expected seconds"),
    ],
)
def test_who_does_not_belong_is_told_why(program, bridge, keys, words, message):
    with cpp_client.driver(program, bridge.endpoint, "--keys", keys, *words) as driver:
        driver.wait_line(message)
        assert driver.exit_code() == 2


def test_a_certificate_must_be_ours_whole_and_of_this_bridge(program, bridge, keys, tmp_path):
    good = (keys / "certificates/toy.key").read_text()
    other = (keys / "certificates/other.key").read_text()
    stranger = bridge_keys.make(tmp_path / "strangers", robots=("toy",))

    def trial(text, message, mode=0o600):
        path = tmp_path / "toy.key"
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(mode)
        with cpp_client.driver(program, bridge.endpoint, "--keys", path) as driver:
            driver.wait_line(message)
            assert driver.exit_code() == 2

    trial(good, "its mode lets others in; chmod 600 it", 0o644)
    trial(other, "made for robot 'other'; this is robot 'toy'")
    trial(good + 'more = "x"\n', "alone")
    trial(good.replace(' = "', " = "), "a line that is not")
    trial("\x00" * 100_000, "too large for a key")
    secret, public = (other.split(f'{word} = "')[1][:40] for word in ("secret", "public"))
    mine = good.split('secret = "')[1][:40]
    trial(good.replace(mine, secret), "public and secret do not belong together")
    trial(good.replace(mine, "~" * 40), "40 characters of Z85")
    assert public not in good
    # The right bridge, but a key that it was never told of.
    trusted = good.split('server = "')[1][:40]
    unknown = (stranger / "certificates/toy.key").read_text()
    server = unknown.split('server = "')[1][:40]
    trial(unknown.replace(server, trusted), "is unknown there or revoked")


@pytest.mark.parametrize("endpoint", ["nowhere", "ipc://b", "tcp://*:5555", "tcp://h:", "tcp://:1"])
def test_an_endpoint_of_no_known_form_is_refused(program, endpoint):
    with cpp_client.driver(program, endpoint) as driver:
        driver.wait_line("expected local, ipc:///ABSOLUTE/PATH or tcp://HOST:PORT")
        assert driver.exit_code() == 2


def test_a_folder_that_others_may_enter_holds_no_socket(program, tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o755)
    with cpp_client.driver(program, f"ipc://{tmp_path}/open/b") as driver:
        driver.wait_line("its mode lets others in; chmod 700 it")
        assert driver.exit_code() == 2


def test_a_bridge_that_is_killed_leaves_a_latched_stop(program, tiny_folder, tmp_path):
    made = bridge_process.Bridge(tiny_folder, f"ipc://{tmp_path}/b")

    def wait_in_vain():
        with pytest.raises(BridgeError), OperatorClient(made.endpoint) as operator:
            operator.connect(PATIENCE)
            operator.wait_robot("toy", PATIENCE)
            operator.run(begin(), PATIENCE)

    waiting = threading.Thread(target=wait_in_vain)
    try:
        made.wait_line("serving")
        words = ("--patience", 0.3, "--steps", 100_000)
        with cpp_client.driver(program, made.endpoint, *words) as driver:
            waiting.start()
            driver.wait_line("TRACK")
            made.process.kill()
            line = driver.wait_line("STOP")
            assert re.fullmatch(r"step \d+ STOP no answer for 1\d\.\d control periods", line)
            driver.wait_line("nothing from the bridge for")
            assert driver.exit_code() == 2
    finally:
        made.end()
        waiting.join(PATIENCE)


def test_a_bridge_that_closes_stops_its_robot(program, tiny_folder, tmp_path):
    made = bridge_process.Bridge(tiny_folder, f"ipc://{tmp_path}/b")
    try:
        made.wait_line("serving")
        with cpp_client.driver(program, made.endpoint) as driver:
            driver.wait_line("connected tiny")
            assert made.end() == 0
            driver.wait_line("the bridge closed: ")
            assert driver.exit_code() == 2
    finally:
        made.end()

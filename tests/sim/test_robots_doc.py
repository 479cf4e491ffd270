"""The page on a robot of one's own: its driver works as the page says, in shadow mode and live."""

import ast
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from robot_bridge.trial.folder import EpisodeLine, read_arrays, read_lines
from robot_bridge.trial.runner import TrialSettings, run
from sim.insertion import spec
from sim.insertion.worlds import SEATED_FRACTION, SEATED_PERIODS, SEATED_WITHIN
from tests.support.bridge.bridge_process import Bridge

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/robots.md").read_text()
ARM, DRIVER = re.findall(r"```python\n(.*?)```", PAGE, re.S)
CODE = {"my_arm.py": ARM, "insertion_driver.py": DRIVER}
COMMANDS = [shlex.split(line) for line in re.findall(r"^(?:acclimate|python) .*", PAGE, re.M)]
BUNDLE = ROOT / "bundles/insertion-pearl"
WAIT = 60.0


class Driver:
    """The page's driver as a process of its own, and what it prints."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        for name, text in CODE.items():
            (folder / name).write_text(text)
        self.endpoint = endpoint
        self.log = folder / "driver.log"
        self.process = subprocess.Popen(
            [sys.executable, "insertion_driver.py", endpoint],
            cwd=folder,
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
        )

    def wait_for(self, words: str, times: int = 1) -> None:
        deadline = time.monotonic() + WAIT
        while self.log.read_text().count(words) < times:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def end(self) -> str:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(WAIT)
        return self.log.read_text()


@pytest.fixture
def driver(tmp_path: Path):
    made = Driver(tmp_path, f"ipc://{tmp_path}/b")
    yield made
    made.process.kill()
    made.process.wait()


def trial(folder: Path, name: str) -> list[EpisodeLine]:
    endpoint, out = f"ipc://{folder}/b", folder / name
    settings = TrialSettings(endpoint=endpoint, out=out, tasks=1, episodes=1, wait=WAIT)
    run(settings, lambda record: None)
    return read_lines(out)


def test_the_driver_imports_nothing_of_ours_but_the_client() -> None:
    imported = set()
    for text in CODE.values():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            if isinstance(node, ast.ImportFrom):
                imported.add(node.module)
    assert imported == {"numpy", "sys", "time", "my_arm", "robot_bridge.client"}


def test_the_pages_numbers_are_the_familys(monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict = {"__name__": "driver"}
    text = DRIVER.rsplit("\nmain(", 1)[0]
    arm = ModuleType("my_arm")
    exec(ARM, vars(arm))
    monkeypatch.setitem(sys.modules, "my_arm", arm)
    exec(text, names)
    shapes = [(f.name, f.shape, f.unit) for f in (*spec.SPEC.observation, *spec.SPEC.action)]
    told = [(f.name, f.shape, f.unit) for f in (*names["OBSERVATION"], *names["ACTION"])]
    assert told == shapes
    assert (names["PERIOD"], names["HORIZON"]) == (spec.CONTROL_PERIOD, spec.HORIZON)
    np.testing.assert_array_equal(names["LEAD"], spec.REFERENCE_CLIP)
    np.testing.assert_array_equal(names["LOW"], spec.WORKSPACE_LOW)
    np.testing.assert_array_equal(names["HIGH"], spec.WORKSPACE_HIGH)
    assert names["FORCE_LIMIT"] == spec.FORCE_LIMIT
    pin = vars(arm)["PIN"]
    assert names["SEATED"] == min(pin - SEATED_WITHIN, SEATED_FRACTION * pin)
    assert SEATED_PERIODS == 2


def test_a_shadow_episode_moves_nothing_and_a_new_bridge_is_found(
    driver: Driver, tmp_path: Path
) -> None:
    assert [words[:2] for words in COMMANDS[1:4]] == [
        ["acclimate", "bridge"],
        ["python", "insertion_driver.py"],
        ["acclimate", "trial"],
    ]
    assert "mode=shadow" in COMMANDS[1]
    driver.wait_for("no bridge answers")
    for number in (1, 2):
        bridge = Bridge(BUNDLE, driver.endpoint, "mode=shadow")
        driver.wait_for("connected to insertion-pearl", number)
        (line,) = trial(tmp_path, f"shadow{number}")
        assert (line.outcome.steps, line.outcome.reason) == (50, "time is up")
        bridge.end()
    said = driver.end()
    assert said.count("HOLD; the policy would add [") == 100
    assert "TRACK" not in said
    arrays = read_arrays(tmp_path / "shadow1", line)
    assert np.ptp(arrays["observations"][:, :6], axis=0).max() == 0


def test_live_the_arm_goes_down_until_the_face_stops_it(driver: Driver, tmp_path: Path) -> None:
    bridge = Bridge(BUNDLE, driver.endpoint)
    driver.wait_for("connected to insertion-pearl")
    (line,) = trial(tmp_path, "live")
    bridge.end()
    assert (line.outcome.steps, line.outcome.reason) == (50, "time is up")
    observation = read_arrays(tmp_path / "live", line)["observations"]
    assert observation[0, 2] == pytest.approx(0.006)
    assert observation[-1, 2] == 0.0
    wrench = observation[:, spec.SPEC.columns("wrench")]
    assert -26 < wrench[:, 2].min() < -1
    assert "the policy would" not in driver.end()

"""What the fault tests share: a bridge that records, robots, and checks of a recording.

    python -m tests.support.bridge.faults ENDPOINT BUNDLE NAME    # runs a robot's driver

Times are counted in the client's control periods, one exchange each. On a busy machine a period
takes longer, and the counts stay the same.
"""

from __future__ import annotations

import itertools
import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from adapt.bundle.policy_bundle import PolicyBundle, read_manifest
from robot_bridge.cli.replay import replay
from robot_bridge.client.operator_client import OperatorClient
from robot_bridge.client.robot_client import RobotClient
from robot_bridge.errors import BridgeError, RecordingError
from robot_bridge.protocol.messages import Kind, Mode
from robot_bridge.recording.reader import Entry, RecordingReader
from robot_bridge.recording.rows import EventRow, StepRow
from robot_bridge.safety.state_machine import Staleness
from tests.support.bridge.bridge_process import PATIENCE, ROOT, Bridge
from tests.support.bridge.recorded import wait_for
from tests.support.bridge.unpaced import CALM, LOOSE

WAIT = 0.1  # that a client gives each answer: its period [s]
STALE = Staleness()
# One more than the rules say: what was on its way when the fault came may still be answered.
HOLDS, STOPS = STALE.hold + 1, STALE.stop + 1


@contextmanager
def served(folder: Path, bundle: Path, *settings: str, endpoint: str = "") -> Iterator[Bridge]:
    """A bridge that records to folder/recording, at ipc://folder/b unless told otherwise."""
    made = Bridge(
        bundle,
        endpoint or f"ipc://{folder}/b",
        f"record={folder / 'recording'}",
        *CALM,
        *settings,
    )
    try:
        made.wait_line("recording")
        yield made
    finally:
        # A stopped process cannot end in order.
        made.process.send_signal(signal.SIGCONT)
        made.end()


def robot(bundle: Path, endpoint: str, name: str, **changes: Any) -> RobotClient:
    """A robot that keeps real time."""
    manifest, _ = read_manifest(bundle)
    settings: dict[str, Any] = {"patience": WAIT, "spacing": LOOSE}
    return RobotClient(
        endpoint,
        name,
        manifest.observation,
        manifest.action,
        manifest.control_period,
        **(settings | changes),
    )


@contextmanager
def moving(
    bundle: Path,
    endpoint: str,
    name: str,
    bridge: str = "",
    spread: tuple[float, float] = (-1.0, 1.0),
    **changes: Any,
) -> Iterator[Moving]:
    """A robot that follows commands within an episode. bridge: the operators' endpoint, where that
    is another one. spread: range of its measurements."""
    client = robot(bundle, endpoint, name, **changes)
    with closing(client):
        client.connect(PATIENCE)
        made = Moving(client, bridge or endpoint, spread, changes.get("keys"))
        made.steady()
        yield made


class Moving:
    """A robot in motion, and what it was told to do. modes: by period."""

    def __init__(
        self,
        client: RobotClient,
        endpoint: str,
        spread: tuple[float, float],
        keys: Path | None = None,
    ) -> None:
        self.client = client
        self._spread = spread
        self.modes: list[Mode] = []
        self._first = True
        self._rng = np.random.default_rng(0)
        self._operator = lambda: OperatorClient(endpoint, keys=keys)

    @property
    def name(self) -> str:
        return self.client._hello.name

    def measure(self) -> np.ndarray:
        return self._rng.uniform(*self._spread, 6).astype(np.float32)

    def step(self, observation: np.ndarray | None = None, reward: float = 0.0) -> Mode:
        """One period."""
        seen = self.measure() if observation is None else observation
        mode = self.client.exchange(seen, reward, first=self._first).mode
        self._first = False
        self.modes.append(mode)
        return mode

    def steady(self, count: int = 5) -> None:
        """Follow so many commands in a row. If the robot stops because the machine is busy, an
        operator releases it."""
        deadline = time.monotonic() + PATIENCE
        self.modes = []
        while len(self.modes) < count or any(self.modes[-count:]):
            assert time.monotonic() < deadline, (self.modes[-20:], self.client.state)
            if self.step() is Mode.STOP:
                self.release()
        self.modes = []

    def until(self, mode: Mode, bound: int) -> int:
        """Step until the mode is this or a stricter one; returns the periods, at most `bound`."""
        for _ in range(bound):
            if self.step() >= mode:
                break
        assert self.modes[-1] >= mode, (self.modes, self.client.state)
        return next(number for number, told in enumerate(self.modes, 1) if told >= mode)

    def goes_silent(self) -> int:
        """Step without answers: the robot must hold, damp and stop in time; returns the periods
        until the hold."""
        self.modes = []
        self.until(Mode.STOP, STOPS)
        assert self.modes == sorted(self.modes), "nothing but an answer is ever milder"
        assert Mode.HOLD in self.modes or Mode.DAMP in self.modes or self.modes[0] is Mode.STOP
        return next(number for number, told in enumerate(self.modes, 1) if told)

    def release(self) -> None:
        """Release the robot, as an operator does; repeated until the robot receives it."""
        deadline = time.monotonic() + PATIENCE
        with closing(self._operator()) as operator:
            operator.connect(PATIENCE)
            while self.client.stopped:
                assert time.monotonic() < deadline, self.client.state
                # Its own latch has to reach the operator first.
                for frame in iter(lambda: operator._link.receive(0.05), None):
                    if frame.kind is Kind.EVENT:
                        operator._learn(frame)
                operator.release(self.name)
                self.step()
        self.modes = []


@contextmanager
def driver(bundle: Path, endpoint: str, name: str) -> Iterator[Driver]:
    """A robot in a process of its own, once it follows commands."""
    made = Driver(bundle, endpoint, name)
    try:
        while made.next()["mode"] != "TRACK":
            continue
        yield made
    finally:
        made.process.kill()
        made.process.wait()
        assert made.process.stdout is not None
        made.process.stdout.close()


class Driver:
    """The process, and what it says of each of its periods."""

    def __init__(self, bundle: Path, endpoint: str, name: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, endpoint, str(bundle), name],
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def next(self) -> dict[str, Any]:
        return json.loads(self._lines.get(timeout=PATIENCE))

    def drain(self) -> None:
        """Forget what it has said so far."""
        while not self._lines.empty():
            self._lines.get()


def entries(folder: Path) -> list[Entry]:
    """All rows on the disk by now, of every part."""
    found: list[Entry] = []
    for path in sorted((folder / "recording").glob("*.mcap")):
        try:
            found += RecordingReader(path).entries()
        except RecordingError as error:
            # A part whose head is being written.
            assert "is not whole" in str(error)
    return found


def told(folder: Path, name: str, robot: str = "") -> EventRow:
    """The first recorded event of that name, about that robot; waits until it is on the disk."""

    def look() -> EventRow | None:
        for entry in entries(folder):
            row = entry.row
            if isinstance(row, EventRow) and (row.name, row.robot) == (name, robot):
                return row
        return None

    return wait_for(look)


def steps(folder: Path, robot: str) -> list[StepRow]:
    """Recorded steps of one robot."""
    return [
        entry.row
        for entry in entries(folder)
        if entry.robot == robot and isinstance(entry.row, StepRow)
    ]


def lossless(folder: Path, bundle: Path, robot: str, last: int = 0) -> None:
    """Check that the recording holds all of a robot's steps up to observation `last`, without a
    gap, and that its replay gives the same commands and beliefs, bit for bit. The robot must be at
    rest, because its newest steps are not on the disk yet."""
    pristine = PolicyBundle.load(bundle)

    def whole() -> bool:
        if not any(row.sequence >= last for row in steps(folder, robot)):
            return False
        report = replay(sorted((folder / "recording").glob("*.mcap")), pristine)
        tally = report.robots[robot]
        assert tally.different == 0, tally.first
        assert not report.losses
        # The last lesson's row may come after the step that stands on it.
        return tally.replayed > 0 and not tally.left_out

    wait_for(whole)


def belief(endpoint, name):
    """How many transitions the bridge has used for a robot's belief."""
    with closing(OperatorClient(endpoint)) as operator:
        operator.connect(PATIENCE)
        return next(one.count for one in operator.status(PATIENCE).robots if one.name == name)


def row(note: Callable[[str, object], None]) -> Callable[..., None]:
    """A function by which a test reports its result: the robot reached its safe state after
    `periods`, of at most `bound`. note: pytest's record_property; bench_faults.py reads it."""

    def tell(fault: str, safe: str, periods: int, bound: int, event: str) -> None:
        assert 0 <= periods <= bound
        row = {"fault": fault, "safe": safe, "periods": periods, "bound": bound, "event": event}
        for key, value in row.items():
            note(key, value)

    return tell


def main(endpoint: str, bundle: Path, name: str) -> int:
    """Drive a robot without end; print one line per period."""
    with moving(bundle, endpoint, name) as made:
        for period in itertools.count():
            mode = made.step()
            state = made.client.state
            line = {"period": period, "mode": mode.name, "reason": state.reason}
            print(json.dumps(line), flush=True)
            time.sleep(0.01)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
    except BridgeError as error:
        print(f"robot: {error}", file=sys.stderr)
        sys.exit(2)

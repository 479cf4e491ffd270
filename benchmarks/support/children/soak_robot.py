"""The robot of the soak: a driver at a fixed rate that finds the cause of each missed period.

    python -m benchmarks.support.children.soak_robot ENDPOINT FLOOR BUNDLE PID SECONDS

PID is the bridge's. Prints `moving` once it follows commands, then one line of JSON at the end.
Between two episodes it drives the floor at FLOOR for a second, at the same rate. This shows what a
program without other work misses on this machine.

A period is missed if it ended without its command, or if a whole period was skipped. The cause is
found from times that the kernel counts: how long the threads between an observation and its command
were ready to run but waited (/proc/PID/task/*/schedstat), less the time that other threads of the
bridge ran, and how long the hypervisor ran other machines. If the period would have been kept
without these waits, the system missed it. Otherwise we missed it, unless another thread of the
bridge waited for a processor as long: that thread may have held the interpreter, so the cause is
unclear.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from adapt.bundle.manifest import Manifest
from adapt.bundle.policy_bundle import PolicyBundle, read_manifest
from benchmarks.support.clients import Floor, middle
from benchmarks.support.servers import Policy
from robot_bridge.client.robot_client import RobotClient
from robot_bridge.protocol.messages import Mode, Outcome
from robot_bridge.system.clock import Rate

T = TypeVar("T")

CONNECT = 30.0  # [s]
# Long enough to wait for a late answer and to measure its lateness [s].
PATIENCE = 0.1
LAST = 20  # misses that are described, of those that are not the system's
EPISODE = 10.0  # [s]
FLOOR = 1.0  # after each episode [s]
FLOOR_WARM = 0.3  # of the floor before it counts: it has slept for an episode [s]
STEAL_EVERY = 25  # periods between looks at it: what was stolen longer ago explains no miss


@dataclass(frozen=True)
class Miss:
    """at: since the first period [s]. took: from the observation to its command [s]. woken: how
    late the period began [s]. waited: for a processor that others used, or that was stolen [s].
    beside: how long other threads of the bridge waited for one, and may have held the interpreter.
    """

    at: float
    took: float
    woken: float
    waited: float
    beside: float

    def whose(self, period: float) -> str:
        """The cause: `system`, if the period would have been kept on an idle machine; `unclear`, if
        this depends on whether another thread held the interpreter; `ours` otherwise."""
        if self.took - self.waited <= period:
            return "system"
        return "unclear" if self.took - self.waited - self.beside <= period else "ours"


@dataclass
class Account:
    """What the soak counts; times in [s]."""

    periods: int = 0
    missed_first_second: int = 0
    missed_system: int = 0
    missed_unclear: int = 0
    missed_ours: int = 0
    stops: int = 0
    worst: float = 0.0
    floor_periods: int = 0
    floor_missed: int = 0
    floor_worst: float = 0.0
    misses: list[Miss] = field(default_factory=list)

    def note(self, miss: Miss, period: float) -> None:
        """One missed period."""
        whose = miss.whose(period)
        if miss.at < 1.0:
            self.missed_first_second += 1
            return
        if whose == "system":
            self.missed_system += 1
            return
        if whose == "ours":
            self.missed_ours += 1
        else:
            self.missed_unclear += 1
        self.misses = [*self.misses, miss][-LAST:]


class Waiting:
    """Time in which the threads between an observation and its command were ready to run and others
    used the processor [ns]. `refresh` looks for new threads.

    processes: the first thread of each and libzmq's threads are those between an observation and
    its command. The other threads learn and record; the time they run counts as ours.
    """

    def __init__(self, processes: list[int]) -> None:
        self._processes = processes
        self._files: dict[str, tuple[int, bool]] = {}
        self._last = 0, 0
        self.refresh()

    def refresh(self) -> None:
        """Find the threads; `since` then counts from now."""
        for process in self._processes:
            for thread in os.listdir(f"/proc/{process}/task"):
                path = f"/proc/{process}/task/{thread}"
                if path not in self._files:
                    between = int(thread) == process or "ZMQ" in Path(path, "comm").read_text()
                    self._files[path] = os.open(f"{path}/schedstat", os.O_RDONLY), between
        self._last = self._read()

    def since(self) -> tuple[int, int]:
        """Since the last call: the waits of the threads in between, less the others' running time;
        and the waits of the others."""
        before, self._last = self._last, self._read()
        return max(0, self._last[0] - before[0]), max(0, self._last[1] - before[1])

    def _read(self) -> tuple[int, int]:
        """A thread that has ended no longer counts."""
        total = beside = 0
        for path, (descriptor, between) in list(self._files.items()):
            try:
                ran, waited = os.pread(descriptor, 64, 0).split()[:2]
            except ProcessLookupError:
                os.close(self._files.pop(path)[0])
                continue
            total += int(waited) if between else -int(ran)
            beside += 0 if between else int(waited)
        return total, beside


class Steal:
    """Time that the hypervisor gave to other machines [ns]; it counts hundredths of a second."""

    def __init__(self) -> None:
        self._file = os.open("/proc/stat", os.O_RDONLY)
        self._tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
        self._last = self._read()

    def since(self) -> int:
        """Since the last call."""
        before, self._last = self._last, self._read()
        return (self._last - before) * self._tick_ns

    def _read(self) -> int:
        return int(os.pread(self._file, 256, 0).split(b"\n", 1)[0].split()[8])


class Pace:
    """Calls one exchange per period, and notes missed periods."""

    def __init__(self, period: float) -> None:
        self._rate = Rate(period)
        self._period = period
        self._skipped = 0

    def step(self, exchange: Callable[[], T]) -> tuple[T, float, float, bool]:
        """The next exchange: its answer, how late it began [s], how long it took [s], and whether
        the period was missed."""
        woken = self._rate.wait()
        start = time.perf_counter()
        answer = exchange()
        took = time.perf_counter() - start
        skipped, self._skipped = self._rate.missed - self._skipped, self._rate.missed
        return answer, woken, took, took > self._period or skipped > 0

    def restart(self) -> None:
        """Begin again after a pause."""
        self._rate.restart()


def drive(
    client: RobotClient, floor: Floor, manifest: Manifest, bridge: int, seconds: float
) -> Account:
    """Run one episode after another, and the floor after each."""
    period = manifest.control_period
    rng = np.random.default_rng(0)
    rest = middle(manifest)
    noise = 1e-4 * rng.normal(size=(1024, rest.size)).astype(np.float32)
    account, waiting, steal = Account(), Waiting([os.getpid(), bridge]), Steal()
    count = round(seconds / period)
    episode = round(EPISODE / period)
    print("moving", flush=True)
    gc.collect()
    gc.freeze()
    gc.disable()
    pace = Pace(period)
    began = time.monotonic()
    waiting.refresh()
    for step in range(count):
        last = step % episode == episode - 1
        at = time.monotonic() - began
        seen = rest + noise[step % 1024]
        command, woken, took, missed = pace.step(
            partial(client.exchange, seen, 0.1, first=step % episode == 0, last=last)
        )
        waited, beside = waiting.since()
        account.worst = max(account.worst, took)
        if missed:
            waited += steal.since()
            account.note(Miss(at, took, woken, waited / 1e9, beside / 1e9), period)
        elif step % STEAL_EVERY == 0:
            steal.since()
        if command.mode is Mode.STOP:
            account.stops += 1
            break
        if last:
            client.end_episode(Outcome(True, episode, EPISODE, "done"))
            # Between two episodes, as a driver would.
            gc.collect()
            drive_floor(floor, account, period)
            waiting.refresh()
            steal.since()
            pace.restart()
        account.periods += 1
    return account


def drive_floor(floor: Floor, account: Account, period: float) -> None:
    """Run the floor for a second, with the same definition of a missed period."""
    pace = Pace(period)
    for _ in range(round(FLOOR_WARM / period)):
        pace.step(floor.exchange)
    for _ in range(round(FLOOR / period)):
        _, _, took, missed = pace.step(floor.exchange)
        account.floor_periods += 1
        account.floor_missed += missed
        account.floor_worst = max(account.floor_worst, took)


def main(argv: list[str]) -> int:
    endpoint, address, bundle, bridge, seconds = argv
    manifest, digest = read_manifest(Path(bundle))
    client = RobotClient(
        endpoint,
        "soak",
        manifest.observation,
        manifest.action,
        manifest.control_period,
        digest=digest,
        patience=PATIENCE,
    )
    try:
        client.connect(CONNECT)
        with Floor(address, Policy(PolicyBundle.load(Path(bundle))), "") as floor:
            account = drive(client, floor, manifest, int(bridge), float(seconds))
    finally:
        client.close()
    print(json.dumps(asdict(account) | {"reason": client.state.reason}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

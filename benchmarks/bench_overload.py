"""A bridge with too much work: which robots it serves, which it stops, and whether it survives.

    python -m benchmarks.bench_overload [--rounds 50] [--seconds 8] [--only WORDS] [--quick]

Overload: many robots at their control rate, while the bridge gets a share of one core. Descriptors:
peers that connect and never close, under a low limit of open files, beside robots that are served.
Noise: one robot floods a bridge that records with events, beside robots that are served.
Each round starts a new bridge. It must not end by itself, it must serve a new robot after the load
has ended, and it must end in order on a signal.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import zmq

from adapt.bundle.policy_bundle import read_manifest
from benchmarks.bench_bridge import BUNDLE, at_rate
from benchmarks.support.load import Robot, drive
from benchmarks.support.processes import free_port, started
from benchmarks.support.results import FOLDER, ROOT, record
from robot_bridge.protocol.codec import encode_message
from robot_bridge.protocol.messages import Hello
from robot_bridge.transport.curve_keys import Certificate, Role, read_certificate
from robot_bridge.transport.key_store import KeyFolder

NAME = "overload"
RECOVERY = 60.0  # that a bridge gets to serve a new robot after the load [s]
CONNECTING = 5.0  # that the robots get to be welcomed before the load counts [s]
TRY = 5.0  # after which the new robot connects again and begins a new episode [s]


@dataclass(frozen=True)
class Attack:
    """One kind of overload.

    robots, rate [1/s]: the load. share: of one core that the bridge gets. idle: peers that connect
    and never close, beside the robots. files: the bridge's limit of open files, soft and hard; 0 as
    it is. transport: ipc or tcp. noise: EVENT frames per second of one further robot.
    """

    robots: int
    rate: int
    share: float = 1.0
    idle: int = 0
    files: int = 0
    transport: str = "ipc"
    noise: int = 0

    @property
    def name(self) -> str:
        load = f"{self.robots} robots at {self.rate} Hz, {self.share:.0%} of a core"
        if self.noise:
            return f"{load}, {self.noise} events a second of another"
        if not self.idle:
            return load
        return f"{load}, {self.idle} idle peers, {self.files} files, {self.transport}"


ATTACKS = (
    Attack(32, 20, 0.08),
    Attack(64, 20, 0.08),
    Attack(16, 100, 0.08),
    Attack(64, 20),
    Attack(16, 100),
    Attack(2, 20),
    Attack(2, 20, noise=7600),
    Attack(2, 20, idle=1100, files=1024),
    Attack(2, 20, idle=1100, files=300),
    Attack(2, 20, idle=400, files=1024, transport="tcp"),
    Attack(2, 20, idle=400, files=300, transport="tcp"),
)


@dataclass(frozen=True)
class Plan:
    rounds: int = 50
    seconds: float = 20.0
    attacks: tuple[Attack, ...] = ATTACKS
    folder: Path = FOLDER


@dataclass
class Round:
    """What one round gave. sent: observations. ages: of answers [s]; worst: the largest of the
    robots' 99th percentiles. idle: peers that were let in. recorded [bytes].
    fault: why the bridge failed, or ""."""

    served: int = 0
    refused: int = 0
    idle: int = 0
    recorded: int = 0
    sent: int = 0
    ages: list[float] = field(default_factory=list)
    worst: float = -1.0
    fault: str = ""


class Site:
    """Where one round happens: the bundle, keys, and sockets to the bridge."""

    def __init__(self, attack: Attack, folder: Path) -> None:
        self.attack = attack
        self.bundle = folder / "bundle"
        self.keys = folder / "keys"
        self.recording = folder / "recording"
        at_rate(BUNDLE, self.bundle, 1 / attack.rate)
        self.manifest, _ = read_manifest(self.bundle)
        tcp = attack.transport == "tcp"
        self.endpoint = f"tcp://127.0.0.1:{free_port()}" if tcp else f"ipc://{folder}/b"
        self.context = zmq.Context()
        self.context.set(zmq.MAX_SOCKETS, attack.idle + attack.robots + 100)
        self._names = [f"arm{k}" for k in range(attack.robots)]
        self._held: dict[str, Certificate] = {}
        if tcp:
            folder_of_keys = KeyFolder(self.keys)
            folder_of_keys.make_server()
            for name in [*self._names, "late", "idle"]:
                role: Role = "operator" if name == "idle" else "robot"
                path = folder_of_keys.make_client(role, name)
                self._held[name] = read_certificate(path, role, name)

    def dealer(self, name: str) -> zmq.Socket:
        made = self.context.socket(zmq.DEALER)
        made.set(zmq.LINGER, 0)
        held = self._held.get(name)
        if held is not None:
            made.set(zmq.CURVE_SERVERKEY, held.server.encode())
            made.set(zmq.CURVE_PUBLICKEY, held.public.encode())
            made.set(zmq.CURVE_SECRETKEY, held.secret.encode())
        made.connect(self.endpoint)
        return made

    def robot(self, name: str) -> Robot:
        return Robot(lambda: self.dealer(name), name, self.manifest)

    def robots(self) -> list[Robot]:
        return [self.robot(name) for name in self._names]

    def words(self) -> list[str]:
        """Of the bridge's command."""
        settings = [f"bundle={self.bundle}", f"endpoint={self.endpoint}", f"keys={self.keys}"]
        settings.append(f"record={self.recording}")
        command = ["-m", "acclimate", "bridge", *settings]
        files = self.attack.files
        if not files:
            return command
        limit = (
            "import os, resource, sys; "
            f"resource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files})); "
            "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
        )
        return ["-c", limit, *command]


@contextmanager
def starved(process: subprocess.Popen[bytes], share: float) -> Iterator[None]:
    """Within the block the bridge's loop gets about this share of one core; a busy process has the
    rest. The bridge's other threads keep their priority, as libzmq's own must on a robot."""
    if share == 1:
        yield
        return
    core = min(os.sched_getaffinity(0))
    own = os.getpriority(os.PRIO_PROCESS, process.pid)
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        os.sched_setaffinity(burner.pid, {core})
        for thread in os.listdir(f"/proc/{process.pid}/task"):
            os.sched_setaffinity(int(thread), {core})
        # Of the loop's thread alone. Each step of niceness divides its share by 1.25.
        steps = round(math.log((1 - share) / share, 1.25))
        os.setpriority(os.PRIO_PROCESS, process.pid, own + steps)
        yield
    finally:
        burner.kill()
        burner.wait()
        if process.poll() is None:
            os.setpriority(os.PRIO_PROCESS, process.pid, own)


@contextmanager
def flooded(site: Site) -> Iterator[None]:
    """Within the block one further robot sends its noise, if any."""
    if not site.attack.noise:
        yield
        return
    words = ["-m", "benchmarks.support.load", site.endpoint, site.bundle, site.attack.noise]
    noisy = subprocess.Popen([sys.executable, *map(str, words)], cwd=ROOT)
    try:
        yield
    finally:
        noisy.kill()
        noisy.wait()


def recovered(site: Site) -> bool:
    """Whether a new robot is served.

    A robot that was stopped because its first answers were late stays stopped for its episode, so
    it tries again in a new one.
    """
    deadline = time.monotonic() + RECOVERY
    while time.monotonic() < deadline:
        late = site.robot("late")
        again = time.monotonic() + TRY
        while time.monotonic() < again:
            drive([late], site.manifest.control_period, 0.2, lambda: True)
            if late.timely:
                return True
        late.socket.close(0)
    return False


def connect(robots: list[Robot], attack: Attack, alive: Callable[[], bool]) -> None:
    """Have the robots welcomed. What they are answered meanwhile does not count: while many shake
    hands at once, those that came first are answered late."""
    deadline = time.monotonic() + CONNECTING
    drive(robots, 1 / attack.rate, 1.0, alive)
    while alive() and time.monotonic() < deadline and not all(robot.session for robot in robots):
        drive(robots, 1 / attack.rate, 0.2, alive)
    for robot in robots:
        robot.count_anew()


def run(attack: Attack, seconds: float) -> Round:
    """One round."""
    found = Round()
    with tempfile.TemporaryDirectory() as scratch:
        site = Site(attack, Path(scratch))
        try:
            with started(site.words()) as process:
                robots = site.robots()
                connect(robots, attack, lambda: process.poll() is None)
                idle = [site.dealer("idle") for _ in range(attack.idle)]
                for number, peer in enumerate(idle):
                    peer.send(encode_message(Hello("operator", f"idle{number}")))
                with starved(process, attack.share), flooded(site):
                    drive(robots, 1 / attack.rate, seconds, lambda: process.poll() is None)
                    # The robots leave while the bridge is still behind.
                    found.idle = sum(bool(peer.poll(0)) for peer in idle)
                    for socket in [*idle, *(robot.socket for robot in robots)]:
                        socket.close(0)
                found.served = sum(robot.served for robot in robots)
                found.refused = sum(robot.refused for robot in robots)
                found.sent = sum(len(robot.sent) for robot in robots)
                found.ages = [age for robot in robots for age in robot.ages]
                each = [float(np.percentile(robot.ages, 99)) for robot in robots if robot.ages]
                found.worst = max(each, default=-1.0)
                if process.poll() is None and not recovered(site):
                    found.fault = f"no new robot was served within {RECOVERY:g} s of the load's end"
                if process.poll() is None:
                    process.terminate()
                    process.wait(RECOVERY)
                found.recorded = sum(path.stat().st_size for path in site.recording.glob("*"))
                if process.returncode:
                    found.fault = f"it ended with {process.returncode}"
        finally:
            site.context.destroy(0)
    return found


def report(attack: Attack, rounds: list[Round], plan: Plan) -> None:
    parameters = {"attack": attack.name, "rounds": len(rounds), "seconds": plan.seconds}
    ages = np.array([age for each in rounds for age in each.ages])
    p50, p99 = np.percentile(ages, [50, 99]) * 1e3 if len(ages) else (-1.0, -1.0)
    for metric, value, unit in (
        ("robots", attack.robots, "1"),
        ("served", float(np.mean([each.served for each in rounds])), "1"),
        ("told to stop", float(np.mean([each.refused for each in rounds])), "1"),
        ("idle peers let in", float(np.mean([each.idle for each in rounds])), "1"),
        ("answer p50", p50, "ms"),
        ("answer p99", p99, "ms"),
        ("recording", float(np.mean([each.recorded for each in rounds])) / 1e6, "MB"),
        ("failed rounds", sum(bool(each.fault) for each in rounds), "1"),
    ):
        record(NAME, metric, value, unit, parameters, 0, folder=plan.folder)


def measure(plan: Plan) -> int:
    """Number of rounds in which a bridge failed."""
    failed = 0
    for attack in plan.attacks:
        rounds = []
        for number in range(plan.rounds):
            rounds.append(run(attack, plan.seconds))
            fault = rounds[-1].fault
            print(f"{attack.name}: round {number + 1}: {fault or 'lived'}", flush=True)
            failed += bool(fault)
        report(attack, rounds, plan)
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=Plan.rounds)
    parser.add_argument("--seconds", type=float, default=Plan.seconds)
    parser.add_argument("--only", default="", help="attacks with these words in their name")
    parser.add_argument("--quick", action="store_true", help="one short round; records nothing")
    options = parser.parse_args()
    # The load's own sockets.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    chosen = tuple(attack for attack in ATTACKS if options.only in attack.name)
    plan = Plan(options.rounds, options.seconds, chosen)
    if not options.quick:
        return min(1, measure(plan))
    with tempfile.TemporaryDirectory() as scratch:
        return min(1, measure(replace(plan, rounds=1, seconds=2.0, folder=Path(scratch))))


if __name__ == "__main__":
    raise SystemExit(main())

"""The C++ client for tests: its programs, built once, and a bridge of frames made by hand."""

from __future__ import annotations

import itertools
import os
import queue
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.protocol import codec, handshake
from robot_bridge.protocol.messages import Command, Heartbeat, Kind, Mode

CPP = Path(__file__).resolve().parents[3] / "robot_bridge/client/cpp"
PATIENCE = 60.0  # long enough for any machine [s]
# Arguments for a driver with a simulated clock: a busy machine cannot make it stop.
SIMULATED = ("--simulated", "--patience", PATIENCE)
MISSING = "no g++ or no zmq.h; `apt-get install g++ libzmq3-dev` installs them"
FLAGS = ["-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{CPP / 'include'}"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def _compiles(text: str, *flags: str) -> bool:
    words = ["g++", "-x", "c++", "-", *flags]
    return subprocess.run(words, input=text, capture_output=True, text=True).returncode == 0


def _sanitizes(program: Path) -> bool:
    """Whether the compiler's sanitizers are here, and run reliably."""
    bits = Path("/proc/sys/vm/mmap_rnd_bits")
    # With more randomness in addresses than this, GCC's runtime sometimes finds its place taken.
    if bits.exists() and os.access(bits, os.R_OK) and int(bits.read_text()) > 28:
        return False
    made = _compiles("int main() {}\n", *SANITIZE, "-o", str(program))
    return made and subprocess.run([program], capture_output=True).returncode == 0


def build(source: str, folder: Path, *, sanitized: bool = False) -> Path:
    """Compile one program as its README says, warnings as errors. Skips where that cannot be."""
    if shutil.which("g++") is None or not _compiles("#include <zmq.h>\n", "-fsyntax-only"):
        pytest.skip(MISSING)
    program = folder / Path(source).stem
    flags = ["-O1", *FLAGS]
    if sanitized and _sanitizes(program):
        flags = [*SANITIZE, *FLAGS]
    words = ["g++", *flags, str(CPP / source), "-lzmq", "-o", str(program)]
    made = subprocess.run(words, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return program


def ask(program: Path, lines: list[str]) -> list[str]:
    """Send these lines to the probe; returns its answers, one a line."""
    # Nothing here frees what it shares with libzmq's threads, and tracing may be forbidden.
    environment = os.environ | {"ASAN_OPTIONS": "detect_leaks=0"}
    text = "".join(f"{line}\n" for line in lines)
    made = subprocess.run([program], input=text, capture_output=True, text=True, env=environment)
    assert made.returncode == 0, made.stderr[-3000:]
    answers = made.stdout.split("\n")[:-1]
    assert len(answers) == len(lines)
    return answers


def agree(program: Path, lines: list[str], expected: list[str]) -> None:
    """Check the probe's answer to each line; a failure shows the three lines before it."""
    for k, (found, answer) in enumerate(zip(ask(program, lines), expected, strict=True)):
        assert found == answer, lines[max(0, k - 3) : k + 1]


class Driver:
    """The toy robot as a process, and its output."""

    def __init__(self, program: Path, endpoint: str, *words: object) -> None:
        self.process = subprocess.Popen(
            [program, endpoint, *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="surrogateescape",
        )
        self.said: list[str] = []
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))

    def tell(self, line: str) -> None:
        """A line for its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def wait_line(self, words: str) -> str:
        """Wait for the next line of its output that contains these words."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                self.said.append(self._lines.get(timeout=0.2))
            except queue.Empty:
                if not self._reader.is_alive() and self._lines.empty():
                    break
                continue
            if words in self.said[-1]:
                return self.said[-1]
        raise AssertionError(f"{words!r} not in {self.said}")

    def exit_code(self) -> int:
        return self.process.wait(PATIENCE)

    def end(self) -> None:
        # It may be waiting for an answer, with all the patience that it was given.
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()


@contextmanager
def driver(program, endpoint, *words):
    made = Driver(program, endpoint, *words)
    try:
        yield made
    finally:
        made.end()


class HandBridge:
    """A ROUTER that sends the frames a test gives it, and heartbeats."""

    SESSION = 77

    def __init__(self, path: Path) -> None:
        self.endpoint = f"ipc://{path}"
        self.stop = 0  # as heartbeats tell it
        self._out: queue.SimpleQueue[list[bytes]] = queue.SimpleQueue()
        self._in: queue.SimpleQueue[codec.Frame] = queue.SimpleQueue()
        self._address: bytes | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        context = zmq.Context()
        server = context.socket(zmq.ROUTER)
        server.set(zmq.LINGER, 0)
        server.bind(self.endpoint)
        for turn in itertools.count():
            if self._done.is_set():
                break
            while server.poll(20):
                self._address, data = server.recv_multipart()
                self._in.put(codec.decode(data))
            if self._address is None:
                continue
            if turn % 10 == 0:
                beat = codec.encode_message(Heartbeat(self.stop), session=self.SESSION)
                server.send_multipart([self._address, beat])
            while not self._out.empty():
                server.send_multipart([self._address, *self._out.get()])
        server.close()
        context.term()

    def say(self, *frames: bytes) -> None:
        """Send frames as one message, so that all have arrived when the first one is read."""
        self._out.put(list(frames))

    def expect(self, kind: Kind) -> codec.Frame:
        """The next frame of one kind, others passed over."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            frame = self._in.get(timeout=PATIENCE)
            if frame.kind is kind:
                return frame
        raise AssertionError(f"no {kind.name}")

    def welcome(self, bundle: PolicyBundle, **standing) -> None:
        self.expect(Kind.HELLO)
        self.say(codec.encode_message(handshake.welcome(bundle, self.SESSION, [], **standing)))

    def command(self, frame: codec.Frame, values, mode=Mode.TRACK, **changes) -> bytes:
        """The answer to an observation."""
        answer = Command(frame.sequence, 10**12, mode, values, **changes)
        return codec.encode_command(answer, self.SESSION)

    def close(self) -> None:
        self._done.set()
        self._thread.join()

"""Servers that are measured, as processes that end with the measurement."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks.support.results import ROOT

READY = 60.0  # [s]; a busy machine takes its time to import onnxruntime
END = 10.0  # [s]


@contextmanager
def started(words: Sequence[str], ready: str = "serving") -> Iterator[subprocess.Popen[bytes]]:
    """Run `python WORDS` in the block, which begins when the process prints that it is ready.

    Raises RuntimeError with the process's output if it ends or prints nothing before that.
    """
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, *words], cwd=ROOT, stdout=said, stderr=subprocess.STDOUT
        )
        try:
            _await(process, said.fileno(), ready.encode())
            yield process
        finally:
            process.terminate()
            try:
                process.wait(END)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await(process: subprocess.Popen[bytes], said: int, ready: bytes) -> None:
    deadline = time.monotonic() + READY
    while True:
        # A file position of our own, because the process still writes at its position.
        with open(f"/proc/self/fd/{said}", "rb") as stream:
            text = stream.read()
        if ready in text:
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args}: not ready: {text.decode(errors='replace')}")
        time.sleep(0.02)


def free_port() -> int:
    """A free tcp port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

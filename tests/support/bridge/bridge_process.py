"""A bridge as a process of its own, over tcp, and clients of it."""

import queue
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from adapt.bundle.policy_bundle import read_manifest
from robot_bridge.client.robot_client import RobotClient
from tests.support.bridge import bridge_keys

ROOT = Path(__file__).resolve().parents[3]
# Long enough for any machine; nothing here waits so long unless something is wrong [s].
PATIENCE = 30.0


class Bridge:
    """A bridge's process, its endpoint and its output. files: how many it may open; 0: no limit."""

    def __init__(self, bundle, endpoint, *settings, files=0):
        self.endpoint = endpoint
        words = ["bridge", f"bundle={bundle}", f"endpoint={endpoint}", *settings]
        self.process = subprocess.Popen(
            [sys.executable, ROOT / "acclimate.py", *words],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)))
            if files
            else None,
        )
        self.said = []
        self._lines = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.put(line)
        self._lines.put("")

    def wait_line(self, words):
        """Wait for the first line of its output that contains these words."""
        for line in self.said:
            if words in line:
                return line
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                line = self._lines.get(timeout=1.0)
            except queue.Empty:
                continue
            self.said.append(line)
            if words in line:
                return line
            assert line, f"{words!r} not in {self.said}"
        raise AssertionError(f"{words!r} not in {self.said}")

    def exit_code(self):
        """Wait until the bridge ends by itself; returns its exit code."""
        return self.process.wait(PATIENCE)

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join()
            assert self.process.stderr is not None
            self.process.stderr.close()


@contextmanager
def bridge(bundle, keys, *settings):
    port = bridge_keys.free_port()
    made = Bridge(bundle, f"tcp://127.0.0.1:{port}", f"keys={keys}", *settings)
    try:
        made.wait_line("serving")
        yield made
    finally:
        made.end()


def robot(bundle, endpoint, keys, name="arm", **changes):
    manifest, digest = read_manifest(bundle)
    settings = {"digest": digest, "simulated_time": True, "patience": PATIENCE}
    return RobotClient(
        endpoint,
        name,
        manifest.observation,
        manifest.action,
        manifest.control_period,
        keys=keys,
        **(settings | changes),
    )

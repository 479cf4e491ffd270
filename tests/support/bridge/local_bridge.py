"""A bridge as a process of its own, over ipc, and clients of it."""

import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from adapt.bundle.policy_bundle import read_manifest
from robot_bridge.client.robot_client import RobotClient
from tests.support.bridge.unpaced import CALM, LOOSE

ROOT = Path(__file__).resolve().parents[3]
PERIOD = 0.05
GOOD = np.zeros(6, np.float32)


def start(bundle, endpoint, *settings):
    """Start a bridge and return the process at once."""
    words = ["bridge", f"bundle={bundle}", f"endpoint={endpoint}", *settings]
    return subprocess.Popen(
        [sys.executable, ROOT / "acclimate.py", *words],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, number=signal.SIGTERM):
    """End a bridge by a signal; its exit code and what it said."""
    if process.poll() is None:
        process.send_signal(number)
    try:
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, said


def first_line(process):
    """Blocks until the process says something: it serves, or why not."""
    return process.stderr.readline()


@contextmanager
def bridge(bundle, endpoint):
    """A bridge that serves, and accepts any delay of a busy machine."""
    process = start(bundle, endpoint, *CALM)
    try:
        line = first_line(process)
        assert "serving" in line, line
        yield process
    finally:
        if process.poll() is None:
            finish(process)
        if process.stderr is not None:
            process.stderr.close()


def client(bundle, endpoint, name="arm", **changes):
    manifest, digest = read_manifest(bundle)
    settings = {
        "observation": manifest.observation,
        "action": manifest.action,
        "control_period": PERIOD,
        "digest": digest,
        "simulated_time": True,
        "spacing": LOOSE,
    }
    return RobotClient(endpoint, name, **(settings | changes))


def finish_by_itself(process):
    """Wait until a bridge ends by itself; its exit code and what it said."""
    try:
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, said

"""A process that loads and runs a bundle looks up no host name and writes into no home folder."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import tiny_bundle

ROOT = Path(__file__).resolve().parents[3]
PLAY = """
import sys
import numpy as np
from adapt.adapters.base import Transition
from adapt.adapters.registry import make_adapter
from adapt.bundle.policy_bundle import PolicyBundle
adapter = make_adapter(PolicyBundle.load(sys.argv[1]), 0)
adapter.begin_episode()
action = adapter.act(np.zeros(6, np.float32))
zeros = np.zeros(6, np.float32)
adapter.observe(Transition(zeros, action.normalised, 0.0, zeros))
"""
DRAW = """
import os
import robot_bridge.trial.svg, sim.render.sketch, policies.evaluation.comparison_plots
import matplotlib.font_manager
assert not os.environ["MESA_SHADER_CACHE_DIR"].startswith(os.environ["HOME"])
"""
COMMANDS = {
    "draw": ["-c", DRAW],
    "adapter": ["-c", PLAY, "{bundle}"],
    "verify": ["-m", "acclimate", "bundle", "verify", "{bundle}"],
    "doctor": ["-m", "acclimate", "doctor"],
    "bridge": ["-m", "acclimate", "bridge", "--help"],
}


def run(words: list[str], home: Path) -> str:
    """Run Python with an empty home; returns the system calls that open sockets and files."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    trace = home.parent / "trace"
    strace = shutil.which("strace")
    before = [strace, "-f", "-qq", "-e", "trace=connect,openat", "-o", str(trace)] if strace else []
    done = subprocess.run(
        [*before, sys.executable, *words],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    # doctor answers 1 where the machine lacks something.
    assert done.returncode in (0, 1), done.stderr
    return trace.read_text(errors="replace") if strace else ""


@pytest.mark.parametrize("name", COMMANDS)
def test_a_process_writes_nothing_into_its_home_and_asks_no_name_server(name, tmp_path):
    bundle, home = tiny_bundle.write(tmp_path / "bundle"), tmp_path / "home"
    home.mkdir()
    trace = run([word.format(bundle=bundle) for word in COMMANDS[name]], home)
    assert sorted(home.rglob("*")) == []
    asked = re.findall(r"connect\(.*AF_INET.*|openat\(.*/etc/resolv\.conf.*", trace)
    assert asked == []


def test_only_adapt_imports_onnxruntime_before_adapt_has_turned_its_telemetry_off():
    early: list[str] = []
    for folder in ("robot_bridge", "sim", "policies", "calibration", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.parse(path.read_text()).body:
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                early += [str(path) for name in names if name.partition(".")[0] == "onnxruntime"]
    assert early == []

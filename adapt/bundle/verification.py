"""Opens and runs a bundle's graphs in a process of its own first, bounded in time and memory.

A graph may loop for ever, ask for all memory, or crash onnxruntime. In the process that serves
robots each of these would stop them, and a thread that runs a graph cannot be ended; a process can.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from adapt.bundle.archive import read_zip, zipped
from adapt.errors import AcclimateError, BundleError

# What a bundle may take beyond what its runtime takes when it is imported. Exported bundles need
# some 10 ms and 50 MB.
CPU_TIME = 10.0  # [s]
MEMORY = 2 * 1024**3  # [bytes] of address space
# Of the whole process, on a machine whose cores are busy [s].
PATIENCE = 120.0
ROOT = Path(__file__).resolve().parents[2]


class _Verdict(msgspec.Struct, frozen=True):
    """problem: empty where there is none."""

    problem: str = ""


def verify_apart(files: Mapping[str, bytes], where: str) -> None:
    """Verify a bundle's files, by name, on the CPU in a process of its own. where: for messages.

    Raises BundleError for what `PolicyBundle` refuses, and when the process takes more than
    CPU_TIME, MEMORY or PATIENCE, or crashes.
    """
    command = [
        sys.executable,
        "-P",
        "-c",
        f"from {__name__} import main; main({CPU_TIME}, {MEMORY})",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(
            command,
            input=zipped(files),
            env=environment,
            capture_output=True,
            timeout=PATIENCE,
            start_new_session=True,
        )
        verdict = msgspec.json.decode(done.stdout, type=_Verdict)
    except subprocess.TimeoutExpired:
        raise BundleError(f"{where}: its graphs do not end within {PATIENCE:g} s") from None
    except OSError as error:
        raise BundleError(f"{where}: no process to verify it in: {error.strerror}") from error
    except msgspec.DecodeError:
        raise BundleError(
            f"{where}: its graphs take more than {CPU_TIME:g} s or {MEMORY / 1024**3:g} GiB, or "
            f"crash onnxruntime: the process that ran them ended with {done.returncode}"
        ) from None
    if verdict.problem:
        raise BundleError(f"{where}: {verdict.problem}")


def main(cpu_time: float, memory: int) -> None:
    """The process: a zip from standard input, a verdict to standard output."""
    from adapt.bundle.policy_bundle import open_bundle

    data = sys.stdin.buffer.read()
    _bound(cpu_time, memory)
    try:
        open_bundle(read_zip(data, "bundle"), "bundle")
        verdict = _Verdict()
    except AcclimateError as error:
        verdict = _Verdict(str(error).removeprefix("bundle: "))
    except MemoryError:
        verdict = _Verdict(f"its graphs take more than {memory / 1024**3:g} GiB")
    sys.stdout.buffer.write(msgspec.json.encode(verdict))
    sys.stdout.flush()
    # Without the runtime's own clean-up, which may crash after a failed allocation.
    os._exit(0)


def _bound(cpu_time: float, memory: int) -> None:
    """Bound what this process may take from here on."""
    # What serves robots comes first.
    os.nice(10)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    space = pages * resource.getpagesize() + memory
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = round(used.ru_utime + used.ru_stime + cpu_time)
    for what, most in (
        (resource.RLIMIT_AS, space),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        resource.setrlimit(what, (most if hard < 0 else min(most, hard), hard))

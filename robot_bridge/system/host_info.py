"""This machine: processor, GPUs, limits, and the rights that a control loop needs. Linux."""

import os
import platform
import resource
import subprocess
import threading
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_CPU = Path("/sys/devices/system/cpu")
FILES = 65536  # open files that are asked for: the more, the longer a burst of connections takes


def cpu_model() -> str:
    """The processor's name as the kernel gives it, or its architecture where it gives none."""
    return _cpuinfo("model name") or platform.machine()


def cores() -> int:
    """Processor cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def bfloat16_features() -> tuple[str, ...]:
    """Instruction sets that make bfloat16 faster than float32; empty where there is none."""
    flags = set((_cpuinfo("flags") or _cpuinfo("Features")).split())
    return tuple(name for name in ("amx_bf16", "avx512_bf16", "bf16") if name in flags)


def gpu_names() -> tuple[str, ...]:
    """NVIDIA GPUs in the driver's order; empty without a driver or without a GPU."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(answer.stdout.splitlines()) if answer.returncode == 0 else ()


def realtime_priority() -> bool:
    """Whether a thread of this process may run under SCHED_FIFO; tried on a thread that ends."""
    allowed: list[bool] = []

    def attempt() -> None:
        try:
            # On Linux, 0 is the calling thread and not the whole process.
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        except OSError:
            allowed.append(False)
        else:
            allowed.append(True)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return allowed == [True]


def raise_open_files() -> tuple[int, int]:
    """Open files of this process, and how many it may have: the soft limit, which is raised to the
    hard one where that is higher, but to no more than FILES."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    # One of them is the folder that is read here.
    used = len(os.listdir("/proc/self/fd")) - 1
    return used, FILES if soft == resource.RLIM_INFINITY else soft


def lockable_memory() -> int | None:
    """Bytes that this process may lock into memory (soft limit); None without a limit."""
    if _capabilities() & _CAP_IPC_LOCK:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return None if soft == resource.RLIM_INFINITY else soft


def realtime_kernel() -> bool:
    """Whether the kernel is built with PREEMPT_RT."""
    return _read(Path("/sys/kernel/realtime")) == "1" or "PREEMPT_RT" in platform.version()


def realtime_share() -> float:
    """Share of each second that threads under SCHED_FIFO may take of a core while ordinary threads
    wait for it (sched(7)); 1 for no limit."""
    runtime, period = (_read(_KERNEL / f"sched_rt_{name}_us") for name in ("runtime", "period"))
    if not runtime or not period or int(runtime) < 0:
        return 1.0
    return int(runtime) / int(period)


def frequency_governor() -> str:
    """The first core's frequency governor; empty where the kernel controls no frequency."""
    return _read(_CPU / "cpu0/cpufreq/scaling_governor")


_KERNEL = Path("/proc/sys/kernel")
_CAP_IPC_LOCK = 1 << 14  # linux/capability.h


def _capabilities() -> int:
    for line in _read(Path("/proc/self/status")).splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def _cpuinfo(key: str) -> str:
    for line in _read(_CPUINFO).splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""

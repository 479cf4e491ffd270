"""`acclimate doctor`: what this machine has, what the runtime lacks, what a robot would miss."""

import ctypes.util
import dataclasses
import importlib.metadata
import json
import platform
import sys
from collections.abc import Iterator
from typing import Literal

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from adapt.settings import compose
from robot_bridge.system import host_info as machine

State = Literal["ok", "absent", "advice", "problem"]

# The graph y = x for one float32, as ONNX writes it (IR 8, opset 17): the smallest thing that
# shows whether onnxruntime, and one provider of it, really runs.
IDENTITY_GRAPH = bytes.fromhex(
    "08083a370a100a017812017922084964656e746974791201675a0f0a0178120a0a08080112040a02080162"
    "0f0a0179120a0a08080112040a02080142040a001011"
)
STANDS_IN = {"onnxruntime-gpu": "onnxruntime"}
"""The CPU build has the same modules as the GPU build, and serves where no GPU does."""
# What a policy with its buffers keeps resident, with room to spare [bytes].
LOCKED_MEMORY = 256 * 2**20


HELP = """acclimate doctor [json=true]

Reports versions, GPU, inference providers and real-time rights of this machine, and what would be
missing on a robot. Exit code: 0 when the runtime is usable, 1 when not."""


@dataclasses.dataclass(frozen=True)
class DoctorSettings:
    """json: print the findings as JSON."""

    json: bool = False


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report.

    state: "problem" makes the runtime unusable; "advice" costs latency or a feature on a robot;
        "absent" is an extra that was not installed, which is a choice.
    remedy: what to do about it; empty where there is nothing to do.
    """

    area: str
    name: str
    found: str
    state: State = "ok"
    remedy: str = ""


def examine() -> list[Finding]:
    """Everything the report says, in its order."""
    return [*_packages(), *_inference(), *_transport(), *_hardware(), *_realtime(), *_rendering()]


def _packages() -> Iterator[Finding]:
    python = platform.python_version()
    yield Finding("machine", "python", f"{python}, {platform.system()} {platform.machine()}")
    try:
        version = importlib.metadata.version("acclimate")
        texts = importlib.metadata.requires("acclimate") or []
    except importlib.metadata.PackageNotFoundError:
        remedy = "install it: pip install . in Acclimate's repository"
        yield Finding("runtime", "acclimate", "not installed", "problem", remedy)
        return
    yield Finding("runtime", "acclimate", version)
    told: set[str] = set()
    requirements = [Requirement(text) for text in texts]
    for extra in ("", "report", "train"):
        for requirement in requirements:
            name = canonicalize_name(requirement.name)
            marker = requirement.marker
            if name not in told and (marker is None or marker.evaluate({"extra": extra})):
                told.add(name)
                yield _package(requirement, extra)


def _package(requirement: Requirement, extra: str) -> Finding:
    """Compare what is installed with the range that the project asks for."""
    area = extra or "runtime"
    wish = "pip install " + (f"'.[{extra}]'" if extra else ".") + " in Acclimate's repository"
    names = [requirement.name, STANDS_IN.get(requirement.name, requirement.name)]
    name = next(filter(_installed, names), "")
    if not name:
        state: State = "absent" if extra else "problem"
        return Finding(area, requirement.name, "not installed", state, wish)
    version = importlib.metadata.version(name)
    if requirement.specifier.contains(version, prereleases=True):
        return Finding(area, name, version)
    found = f"{version}, outside {requirement.specifier}"
    return Finding(area, name, found, "advice" if extra else "problem", wish)


def _inference() -> Iterator[Finding]:
    names = [name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name)]
    if len(names) == 2:
        yield Finding(
            "inference",
            "onnxruntime",
            "onnxruntime and onnxruntime-gpu are both installed, and overwrite each other",
            "problem",
            "pip uninstall both, then install one of them (README.md, Installing)",
        )
    try:
        import onnxruntime
    except ImportError as error:
        yield Finding("inference", "CPU provider", f"does not import: {error}", "problem")
        return
    yield Finding("inference", "providers built in", ", ".join(_built_in()))
    for provider in ("CPUExecutionProvider", "CUDAExecutionProvider"):
        if provider not in onnxruntime.get_available_providers():
            continue
        name = provider.replace("ExecutionProvider", " provider")
        if provider.startswith("CUDA") and not machine.gpu_names():
            yield Finding("inference", name, "no GPU to run on", "absent")
            continue
        failure = _try_provider(provider)
        state: State = "ok" if not failure else "problem" if name.startswith("CPU") else "advice"
        remedy = "install CUDA 13 and cuDNN 9" if state == "advice" else ""
        yield Finding("inference", name, failure or "runs", state, remedy)


def _built_in() -> list[str]:
    import onnxruntime

    return [name.replace("ExecutionProvider", "") for name in onnxruntime.get_available_providers()]


def _try_provider(provider: str) -> str:
    """Run one graph on `provider` and on nothing else; returns what went wrong, or nothing."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its complaint becomes a finding, not noise on the terminal
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(IDENTITY_GRAPH, options, providers=[provider])
        # Where a provider's libraries are missing, onnxruntime carries on without it and says
        # so here alone.
        if provider not in session.get_providers():
            return f"does not load; onnxruntime falls back to {session.get_providers()[0]}"
        sent = np.array([0.5], dtype=np.float32)
        answer = np.asarray(session.run(None, {"x": sent})[0])
    # onnxruntime derives its exceptions from RuntimeError and from Exception alike.
    except Exception as error:
        return f"fails: {error}"
    return "" if np.array_equal(answer, sent) else f"computes {answer} from {sent}"


def _transport() -> Iterator[Finding]:
    try:
        import zmq
    except ImportError as error:
        yield Finding("transport", "ZeroMQ", f"does not import: {error}", "problem")
        return
    yield Finding("transport", "ZeroMQ", zmq.zmq_version())
    if zmq.has("ipc"):
        yield Finding("transport", "ipc sockets", "yes")
    else:
        yield Finding("transport", "ipc sockets", "no", "advice", "use a tcp:// endpoint")

    from robot_bridge.transport.connection_limiter import CONNECTIONS, LEAST, connection_limit

    limit = connection_limit()
    _, files = machine.raise_open_files()
    found = f"{files}; a bridge takes {limit} connections"
    if limit >= CONNECTIONS:
        yield Finding("transport", "open files", found)
        return
    state: State = "advice" if limit >= LEAST else "problem"
    remedy = f"{CONNECTIONS} need a hard limit of 1024: `ulimit -n 1024` or LimitNOFILE=1024"
    yield Finding("transport", "open files", found, state, remedy)


def _hardware() -> Iterator[Finding]:
    yield Finding("machine", "processor", f"{machine.cpu_model()}, {machine.cores()} cores")
    features = ", ".join(machine.bfloat16_features())
    yield Finding("machine", "bfloat16", features or "no; training stays in float32")
    gpus = machine.gpu_names()
    yield Finding("machine", "GPU", ", ".join(gpus) or "none", "ok" if gpus else "absent")


def _realtime() -> Iterator[Finding]:
    area = "real time"
    if machine.realtime_priority():
        yield Finding(area, "SCHED_FIFO", "allowed")
    else:
        remedy = "in /etc/security/limits.conf: USER - rtprio 80; log in again"
        yield Finding(area, "SCHED_FIFO", "refused", "advice", remedy)
    limit = machine.lockable_memory()
    if limit is None or limit >= LOCKED_MEMORY:
        yield Finding(area, "locked memory", "no limit" if limit is None else f"{limit >> 20} MiB")
    else:
        remedy = f"in /etc/security/limits.conf: USER - memlock {LOCKED_MEMORY >> 10}; log in again"
        yield Finding(area, "locked memory", f"{limit >> 10} KiB", "advice", remedy)
    if machine.realtime_kernel():
        yield Finding(area, "kernel", f"{platform.release()}, PREEMPT_RT")
    else:
        remedy = "a PREEMPT_RT kernel shortens the worst case, which counts from some 200 Hz up"
        yield Finding(area, "kernel", f"{platform.release()}, not PREEMPT_RT", "advice", remedy)
    share = machine.realtime_share()
    if share >= 1.0:
        yield Finding(area, "SCHED_FIFO's share", "whole cores")
    else:
        remedy = (
            "for loop=polling with a priority, whose core other programs would else get for "
            f"{1e3 * (1.0 - share):.0f} ms of every second: isolcpus=CORE, and sysctl -w "
            "kernel.sched_rt_runtime_us=-1"
        )
        yield Finding(area, "SCHED_FIFO's share", f"{share:.0%} of a core", "advice", remedy)
    governor = machine.frequency_governor()
    if governor in ("", "performance"):
        yield Finding(area, "frequency governor", governor or "none")
    else:
        remedy = "cpupower frequency-set --governor performance"
        yield Finding(area, "frequency governor", governor, "advice", remedy)
    if machine.cores() < 2:
        remedy = "adaptation and control share a core; give the bridge two"
        yield Finding(area, "cores", str(machine.cores()), "advice", remedy)


def _rendering() -> Iterator[Finding]:
    found = [name for name in ("EGL", "OSMesa") if ctypes.util.find_library(name)]
    state: State = "ok" if found else "absent"
    remedy = "" if found else "films need libEGL or libOSMesa; a robot does not"
    yield Finding("machine", "rendering without a display", ", ".join(found) or "no", state, remedy)


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def main(argv: list[str]) -> int:
    """Print the report; returns 0 if the runtime is usable here, else 1."""
    settings = compose("doctor", DoctorSettings, argv, HELP)
    findings = examine()
    usable = all(finding.state != "problem" for finding in findings)
    if settings.json:
        report = {"usable": usable, "findings": [dataclasses.asdict(each) for each in findings]}
        json.dump(report, sys.stdout, indent=1)
        print()
    else:
        _print(findings, usable)
    return 0 if usable else 1


def _print(findings: list[Finding], usable: bool) -> None:
    # Plain text: the doctor must still speak where a package that draws tables is missing.
    marks = {"ok": " ", "absent": "-", "advice": "!", "problem": "X"}
    width = max(len(finding.name) for finding in findings) + 2
    for area in dict.fromkeys(finding.area for finding in findings):
        print(area)
        for each in findings:
            if each.area == area:
                print(f"  {marks[each.state]} {each.name:<{width}}{each.found}")
    for state, title in (("problem", "In the way"), ("advice", "Missing on a robot")):
        lines = [each for each in findings if each.state == state]
        if lines:
            print(f"\n{title} ({marks[state]}):")
        for each in lines:
            print(f"  {each.name}: {each.found}" + (f"; {each.remedy}" if each.remedy else ""))
    print("\nThe runtime is usable here." if usable else "\nThe runtime is not usable here.")

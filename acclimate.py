"""The command line: a table of commands, each imported only when it is called."""

import difflib
import importlib
import importlib.metadata
import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# name → (module:function, what it does in one line). Each function takes the words after
# the command's name and returns an exit code.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("sim.demo:main", "watch a policy adapt to unknown plugs on a simulated robot"),
    "train": ("policies.training.cli:main", "meta-train a policy in simulation"),
    "evaluate": ("policies.evaluation.cli:main", "measure a policy on held-out tasks"),
    "calibrate": (
        "calibration.cli:main",
        "measure a robot by its recordings, for a narrower task space",
    ),
    "export": ("policies.export.cli:main", "write a checkpoint as a bundle for the robot"),
    "bundle": ("adapt.bundle.cli:main", "show, verify, pack or sign a bundle"),
    "keys": (
        "robot_bridge.cli.keys:main",
        "make, list and revoke keys of bridge, robots and operators",
    ),
    "bridge": ("robot_bridge.server.server:main", "serve a bundle to robots"),
    "model": (
        "robot_bridge.cli.operator:model",
        "load, swap and roll back a bridge's model",
    ),
    "belief": (
        "robot_bridge.cli.operator:belief",
        "keep, restore and forget a robot's belief",
    ),
    "stop": ("robot_bridge.cli.stop:stop", "stop the robots of a bridge, now"),
    "release": ("robot_bridge.cli.stop:release", "let a stopped robot move again"),
    "status": ("robot_bridge.cli.status:main", "show the state of a bridge"),
    "twin": ("sim.twin.cli:main", "connect a simulated robot to a bridge"),
    "trial": ("robot_bridge.trial.runner:main", "run adaptation trials on a connected robot"),
    "replay": ("robot_bridge.cli.replay:main", "replay a recording and compare it bit by bit"),
    "layout": ("robot_bridge.recording.foxglove:main", "write a Foxglove layout for a recording"),
    "report": ("robot_bridge.trial.report:main", "draw a trial as one HTML page"),
    "doctor": ("robot_bridge.cli.doctor:main", "report what this machine has and lacks"),
}
USAGE = """usage: acclimate COMMAND [key=value ...]
       acclimate COMMAND --help
       acclimate --version
"""
HOME = Path(__file__).resolve().parent
OURS = ("adapt", "robot_bridge", "sim", "policies", "calibration", "configs")


def hidden_packages() -> str:
    """Which file or folder hides one of our packages, and what to do; empty where none does."""
    for name in OURS:
        spec = importlib.util.find_spec(name)
        places = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
        found = next((Path(place).resolve() for place in places if place), None)
        place = found.parent if found and found.name == "__init__.py" else found
        if place and place.parent != HOME:
            return (
                f"{place} hides Acclimate's own package {name!r}: {place.parent} comes before "
                f"{HOME} in Python's path. Rename it, or take {place.parent} out of PYTHONPATH; a "
                "task family is also found by its file, family=FOLDER/FILE.py:NAME, and needs no "
                "PYTHONPATH"
            )
    return ""


@contextmanager
def ended_by_ctrl_c() -> Iterator[None]:
    """Within it Ctrl-C ends the process without a KeyboardInterrupt. While modules load there is
    nothing to tidy up, and some extensions crash when KeyboardInterrupt is raised as they start."""
    mine = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not mine or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def load(name: str) -> Callable[[list[str]], int]:
    """Import the function behind the command `name`."""
    module, function = COMMANDS[name][0].split(":")
    try:
        return getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in OURS or not missing:
            raise
        from adapt.errors import AcclimateError

        raise AcclimateError(
            f"needs {missing}, which is not installed; in Acclimate's repository pip install "
            "'.[train]' installs everything, pip install . only what a robot needs"
        ) from error


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code: 2 after an error that the user can mend."""
    words = sys.argv[1:] if argv is None else argv
    if problem := hidden_packages():
        print(f"acclimate: {problem}", file=sys.stderr)
        return 2
    if not words or words[0] in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS)) + 2
        lines = [f"  {name:<{width}}{text}" for name, (_, text) in COMMANDS.items()]
        print(USAGE, *lines, sep="\n")
        return 0 if words else 2
    if words[0] == "--version":
        print(f"acclimate {importlib.metadata.version('acclimate')}")
        return 0
    name, *rest = words
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS)
        other = (
            f"did you mean {' or '.join(close)}?" if close else f"expected {', '.join(COMMANDS)}"
        )
        print(f"acclimate: no command {name!r}; {other}", file=sys.stderr)
        return 2
    return run(name, rest)


def run(name: str, words: list[str]) -> int:
    """Run the command `name` with the words after it; returns its exit code."""
    from adapt.errors import AcclimateError  # once it is known to be ours

    try:
        with ended_by_ctrl_c():
            command = load(name)
        return command(words)
    except AcclimateError as error:
        print(f"acclimate {name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of the output, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


if __name__ == "__main__":
    sys.exit(main())

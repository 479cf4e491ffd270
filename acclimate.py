"""The command line: a table of commands, each imported only when it is called."""

import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from adapt.errors import AcclimateError

# name → (module:function, what it does in one line). Each function takes the words after
# the command's name and returns an exit code.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("sim.demo:main", "watch a policy meet unknown plugs on a simulated robot"),
    "train": ("policies.training.cli:main", "meta-train a policy in simulation"),
    "evaluate": ("policies.evaluation.cli:main", "measure a policy on held-out tasks"),
    "export": ("policies.export.cli:main", "write a checkpoint as a bundle for the robot"),
    "bundle": ("adapt.bundle.cli:main", "show, verify, pack or sign a bundle"),
    "keys": (
        "robot_bridge.cli.keys:main",
        "make, list and revoke the keys of bridge and peers",
    ),
    "bridge": ("robot_bridge.server.server:main", "serve a bundle to robots"),
    "model": (
        "robot_bridge.cli.operator:model",
        "load, swap and roll back a bridge's model, or say how it fares",
    ),
    "belief": (
        "robot_bridge.cli.operator:belief",
        "keep, restore and forget a robot's belief",
    ),
    "stop": ("robot_bridge.cli.stop:stop", "stop the robots of a bridge, now"),
    "release": ("robot_bridge.cli.stop:release", "let a stopped robot move again"),
    "status": ("robot_bridge.cli.status:main", "say how a bridge fares"),
    "twin": ("sim.twin.cli:main", "connect a simulated robot to a bridge"),
    "trial": ("robot_bridge.trial.runner:main", "run adaptation trials on a connected robot"),
    "replay": ("robot_bridge.cli.replay:main", "play a recording again, bit by bit"),
    "report": ("robot_bridge.trial.report:main", "draw a trial as one HTML page"),
    "doctor": ("robot_bridge.cli.doctor:main", "report what this machine has and lacks"),
}
USAGE = "usage: acclimate COMMAND [...]\n       acclimate COMMAND --help\n"
OURS = {"adapt", "robot_bridge", "sim", "policies", "calibration", "configs"}


@contextmanager
def ended_by_ctrl_c() -> Iterator[None]:
    """Within it Ctrl-C ends the process, as it does a program without a handler. While modules
    load there is nothing to tidy up, and some extensions' own start crashes when Python raises
    KeyboardInterrupt in its middle."""
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
        raise AcclimateError(
            f"{missing} is not installed; in Acclimate's repository pip install . brings what a "
            "robot needs, pip install '.[train]' everything"
        ) from error


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns 0, or 2 after an error that the user can mend."""
    words = sys.argv[1:] if argv is None else argv
    if not words or words[0] in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS)) + 2
        lines = [f"  {name:<{width}}{text}" for name, (_, text) in COMMANDS.items()]
        print(USAGE, *lines, sep="\n")
        return 0 if words else 2
    name, *rest = words
    if name not in COMMANDS:
        print(f"acclimate: no command {name!r}; there are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    try:
        with ended_by_ctrl_c():
            command = load(name)
        return command(rest)
    except AcclimateError as error:
        print(f"acclimate {name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read the output, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


if __name__ == "__main__":
    sys.exit(main())

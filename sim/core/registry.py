"""Finds a task family by its name.

A family of ours stands in `FAMILIES`; another package's is found by its entry point in the group
"acclimate.families"; any object by `package.module:NAME` or `FOLDER/FILE.py:NAME`
(docs/families.md); a plug by its file, `FOLDER/FILE.yaml` (docs/tasks.md). A family is imported
when it is asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
import zlib
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from adapt.errors import AcclimateError
from adapt.settings.words import suggestion
from sim.core.family import Family

GROUP = "acclimate.families"
FAMILIES = {
    "insertion": "sim.insertion.family:FAMILY",
    "insertion-broad": "sim.insertion.family:BROAD_FAMILY",
    "locomotion": "sim.locomotion.family:FAMILY",
    "point-sparse": "sim.benchmarks.point:FAMILY",
    "cheetah-vel": "sim.benchmarks.cheetah:VEL_FAMILY",
    "cheetah-dir": "sim.benchmarks.cheetah:DIR_FAMILY",
    "ant-goal": "sim.benchmarks.ant:GOAL_FAMILY",
    "ant-dir": "sim.benchmarks.ant:DIR_FAMILY",
    "walker-params": "sim.benchmarks.walker:FAMILY",
}
"""Name → package.module:NAME."""
FILES = {".yaml": "sim.insertion.family:plug_family"}
"""Suffix → package.module:NAME of what makes a family from the path of such a file."""


def family_names() -> dict[str, str]:
    """Name → package.module:NAME of every installed family; a name of ours cannot be replaced."""
    found = {point.name: point.value for point in entry_points(group=GROUP)}
    return found | FAMILIES


def on_robot(name: str, robot: Path | None) -> str:
    """The name of a family on a robot of the user's own; the family's own name without one."""
    return name if robot is None else f"{name}@{robot}"


def family(name: str) -> Family:
    """The family of that name, at `package.module:NAME` or `FOLDER/FILE.py:NAME`, or of a plug's
    file; behind it, after "@", the file of a robot of the user's own.

    Raises AcclimateError if there is none, if it is not a `Family`, or if the robot does not fit.
    """
    name, _, robot = name.partition("@")
    found = _family(name)
    if not robot:
        return found
    if found.on_robot is None:
        raise AcclimateError(
            f"robot={robot}: family {name!r} takes no robot of your own; locomotion does"
        )
    return found.on_robot(found, Path(robot))


def _family(name: str) -> Family:
    if (maker := FILES.get(Path(name).suffix)) is not None:
        module, _, function = maker.partition(":")
        return getattr(importlib.import_module(module), function)(name)
    path = name if ":" in name else family_names().get(name)
    if path is None:
        raise AcclimateError(
            f"no task family {name!r}{suggestion(name, family_names())}; expected one of "
            f"{', '.join(sorted(family_names()))}, or FOLDER/FILE.py:NAME or package.module:NAME "
            "for one of your own"
        )
    module, _, attribute = path.rpartition(":")
    try:
        imported = _from_file(module) if module.endswith(".py") else importlib.import_module(module)
    # An empty or a relative name has errors of its own.
    except (FileNotFoundError, ModuleNotFoundError, TypeError, ValueError) as error:
        raise AcclimateError(
            f"task family {name!r}: {error}; install its package, or name its file: "
            "FOLDER/FILE.py:NAME"
        ) from error
    found = getattr(imported, attribute, None)
    if not isinstance(found, Family):
        what = "nothing" if found is None else f"a {type(found).__name__}"
        raise AcclimateError(
            f"task family {name!r}: {module} holds {what} under {attribute!r}; expected a Family"
        )
    return found


def _from_file(path: str) -> ModuleType:
    """The module in a file, imported once. Modules beside it are found, too, unless one of the same
    name is installed: the file's folder comes last in Python's path."""
    file = Path(path).resolve()
    name = f"{file.stem}_{zlib.crc32(bytes(file)):08x}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise FileNotFoundError(f"no file {file}")
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    # All that a user's file raises, an exception or an exit, is named with the file's line.
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise AcclimateError(f"{_place(error, file)}: {type(error).__name__}: {error}") from error
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _place(error: BaseException, file: Path) -> str:
    """Where a file, or what it calls, raised: FILE:LINE of the file itself, if it ran so far."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(file)]
    return f"{file}:{lines[-1]}" if lines else str(file)

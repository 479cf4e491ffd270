"""The page that `--help` prints: what a command does, its settings and its experiments."""

from __future__ import annotations

import inspect
import re
import shutil
import textwrap
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

import msgspec

from adapt.settings.schema import MISSING, Setting, either

INDENT = " " * 6


def page(
    text: str,
    settings: Iterable[Setting],
    values: Any,
    choices: Mapping[str, Mapping[str, str]],
) -> str:
    """The page. text: what the command does, with examples. values: composed, by key.
    choices: by key, what each of the values that it can have means."""
    lines = [text.strip(), "", "Settings, each given as key=value; shown with what is used now:"]
    for setting in settings:
        value = find(values, setting.key)
        accepted = choices.get(setting.key)
        expected = either(list(accepted)) if accepted else setting.expected.removeprefix("a ")
        given = "..., required" if value == MISSING else shown(value)
        lines += [
            f"  {setting.key}={given}",
            *_wrapped(f"({expected}) {setting.text}"),
        ]
    for key, options in choices.items():
        lines += ["", f"{key}=NAME, one of:"]
        for name, about in options.items():
            lines += [f"  {name}", *_wrapped(about)]
    return "\n".join(lines)


def find(tree: Any, key: str) -> Any:
    """The value under a dotted key of nested dicts; None where there is none."""
    for name in key.split("."):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def shown(value: object) -> str:
    """A value as it would be given on the command line."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(shown, value))}]"
    # JSON has no nan.
    plain = isinstance(value, str | float)
    return str(value) if plain else msgspec.json.encode(value).decode()


def _wrapped(text: str) -> list[str]:
    width = min(100, shutil.get_terminal_size((100, 24)).columns)
    return textwrap.wrap(text, width, initial_indent=INDENT, subsequent_indent=INDENT)


def yaml_files(group: str) -> dict[str, str]:
    """The first comment of each YAML file of a config group, by the file's name."""
    found = {}
    for file in (resources.files("configs") / group).iterdir():
        name, dot, ending = file.name.rpartition(".")
        if dot and ending == "yaml":
            body = file.read_text(encoding="utf-8").removeprefix("# @package _global_\n")
            comment = re.match(r"(?:# .*\n)*", body)
            found[name] = " ".join(re.findall("# (.*)", comment[0] if comment else ""))
    return dict(sorted(found.items()))


def summary(schema: type) -> str:
    """The first paragraph of a dataclass's docstring."""
    return " ".join(inspect.cleandoc(schema.__doc__ or "").partition("\n\n")[0].split())

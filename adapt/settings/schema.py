"""What a settings dataclass says of each setting: key, type, bounds, default and meaning."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

MISSING = "???"
"""OmegaConf's mark for a value that the user must give."""


@dataclass(frozen=True)
class Choice:
    """Settings whose dataclass depends on one of them, such as `algorithm`.

    key: of that setting, which is Hydra's config group, too. options: dataclass by its value.
    """

    key: str
    options: Mapping[str, type]


@dataclass(frozen=True)
class Setting:
    """One setting. key: dotted. type: as annotated, bounds included. default: plain, or MISSING.
    text: its meaning."""

    key: str
    type: Any
    default: Any
    text: str

    @property
    def expected(self) -> str:
        """What is accepted, in words."""
        return expected(self.type)


def settings_of(schema: type, prefix: str = "") -> Iterator[Setting]:
    """The settings of a dataclass, those of dataclasses within it under dotted keys."""
    hints, texts = get_type_hints(schema, include_extras=True), documented(schema)
    for field in dataclasses.fields(schema):
        key, annotated = f"{prefix}{field.name}", hints[field.name]
        if isinstance(annotated, type) and dataclasses.is_dataclass(annotated):
            yield from settings_of(annotated, f"{key}.")
        else:
            yield Setting(key, annotated, _default(field), texts.get(field.name, ""))


def defaults(schema: type) -> dict[str, Any]:
    """The defaults of a dataclass as a tree of plain values."""
    tree: dict[str, Any] = {}
    for setting in settings_of(schema):
        *parents, name = setting.key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = setting.default
    return tree


def documented(schema: type) -> dict[str, str]:
    """What the docstring's entries say, by field; those of base classes, too.

    An entry is a line `key: text` or `key, key: text`; indented lines continue it.
    """
    found: dict[str, str] = {}
    keys: list[str] = []
    texts = [vars(each).get("__doc__") or "" for each in reversed(schema.__mro__)]
    for line in "\n".join(map(inspect.cleandoc, texts)).splitlines():
        entry = re.match(r"(\w+(?:, \w+)*): (.+)", line)
        if entry:
            keys = entry[1].split(", ")
            found |= dict.fromkeys(keys, entry[2])
        elif line.startswith(" "):
            found |= {key: f"{found[key]} {line.strip()}" for key in keys}
        else:
            keys = []
    return found


def parts(annotated: Any) -> tuple[Any, list[Meta]]:
    """A type without its bounds, and the bounds."""
    if get_origin(annotated) is Annotated:
        inner, *extras = get_args(annotated)
        return inner, [extra for extra in extras if isinstance(extra, Meta)]
    return annotated, []


def members(annotated: Any) -> list[Any]:
    """The alternatives of a union; of any other type itself."""
    inner, _ = parts(annotated)
    return list(get_args(inner)) if get_origin(inner) in (Union, UnionType) else [annotated]


def kind(annotated: Any) -> Any:
    """A type without bounds and parameters: int, str, tuple, NoneType."""
    inner, _ = parts(annotated)
    return get_origin(inner) or inner


def is_text_list(annotated: Any) -> bool:
    """Whether a list of texts is accepted, and nothing else."""
    return kind(annotated) is tuple and kind(get_args(parts(annotated)[0])[0]) in (str, Path)


def expected(annotated: Any) -> str:
    """What a type accepts, in words."""
    inner, bounds = parts(annotated)
    if get_origin(inner) in (Union, UnionType):
        return " or ".join(expected(member) for member in get_args(inner))
    if get_origin(inner) is Literal:
        return either(list(map(str, get_args(inner))))
    if get_origin(inner) is tuple:
        some = "a non-empty list" if any(meta.min_length for meta in bounds) else "a list"
        return f"{some}, each element {expected(get_args(inner)[0])}"
    if get_origin(inner) is dict:
        key, value = get_args(inner)
        return f"{expected(value)} under each key, a key being {expected(key)}"
    names = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        Path: "a path",
        NoneType: "null",
    }
    return names.get(inner, getattr(inner, "__name__", str(inner))) + _bounds(bounds)


def _bounds(bounds: list[Meta]) -> str:
    found = {name: value for meta in bounds for name, value in _limits(meta)}
    if {"ge", "le"} <= found.keys():
        return f" from {found['ge']:g} to {found['le']:g}"
    patterns = [f" that matches {meta.pattern}" for meta in bounds if meta.pattern]
    if patterns:
        return patterns[0]
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    words = [f"{sign} {found[name]:g}" for name, sign in signs.items() if name in found]
    return f" {' and '.join(words)}" if words else ""


def _limits(meta: Meta) -> Iterator[tuple[str, float]]:
    for name in ("gt", "ge", "lt", "le"):
        if (value := getattr(meta, name)) is not None:
            yield name, value


def either(words: list[str]) -> str:
    """Alternatives in words: "a, b or c"."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _default(field: dataclasses.Field) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return msgspec.to_builtins(field.default_factory(), enc_hook=str)
    if field.default is dataclasses.MISSING:
        return MISSING
    return msgspec.to_builtins(field.default, enc_hook=str)

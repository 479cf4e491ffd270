"""The words of a command line as Hydra's overrides.

The grammar: `key=value`, and for some commands values that may stand alone (operands), such as a
path. Text needs no quotes beyond the shell's: it is quoted here for Hydra.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType

from adapt.errors import AcclimateError
from adapt.settings.schema import Setting, is_text_list, kind, members

HELP = ("-h", "--help")
KEY_VALUE = re.compile(r"(\+{0,2}[A-Za-z_][\w./@-]*)=(.*)", re.DOTALL)


class SettingsError(AcclimateError):
    """A setting that is unknown, missing or outside its bounds; the message names its key."""


def overrides(
    command: str,
    argv: Sequence[str],
    known: Mapping[str, Setting],
    groups: Collection[str] = (),
    operands: Sequence[str] = (),
) -> list[str]:
    """Hydra's overrides for the words after a command's name, those that ask for help left out.

    command: its name, for messages. groups: keys that name one of several YAML files. operands:
    keys whose values may stand alone, in this order.

    Raises SettingsError for a word that is neither a setting nor an operand.
    """
    words = _without_options(command, [word for word in argv if word not in HELP], known)
    found, waiting = [], list(operands)
    for word in words:
        match = KEY_VALUE.fullmatch(word)
        if match and not (waiting and "/" in match[1]):
            key, value = match.groups()
        elif waiting:
            key, value = waiting.pop(0), word
        else:
            raise SettingsError(f"{word!r} is no setting; settings are written key=value")
        if key in groups and value in ("", "null"):
            value = _quotes(value)  # Hydra's own error for null is no help
        of_hydra = "/" in key or key.startswith("hydra.")
        # "++": whether or not the key has a value yet. An unknown one is found once all is known.
        forced = "" if key in groups or of_hydra else "++"
        found.append(f"{forced}{key}={quoted(value, known.get(key))}")
    return found


def quoted(value: str, setting: Setting | None) -> str:
    """A value as Hydra's grammar wants it: text in quotes, everything else as it is."""
    if setting is None or re.fullmatch(r"(['\"]).*\1", value):
        return value
    kinds = [kind(member) for member in members(setting.type)]
    if value == "null" and NoneType in kinds:
        return value
    if value.startswith("[") and tuple in kinds:
        return _list_quoted(value) if any(map(is_text_list, members(setting.type))) else value
    if {str, Path} & set(kinds):
        return _quotes(value)
    return f"[{_quotes(value)}]" if is_text_list(setting.type) else value


def suggestion(name: str, known: Iterable[str]) -> str:
    """ "; did you mean ...?" where a known name is close to `name`, else an empty text."""
    known = list(known)
    same = [key for key in known if key.rpartition(".")[2] == name.rpartition(".")[2]]
    close = same or difflib.get_close_matches(name, known, 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _list_quoted(value: str) -> str:
    """A list of texts with each element in quotes; as it is where it has quotes or brackets."""
    plain = re.fullmatch(r"\[([^][(){}'\"\\$]+)\]", value)
    if plain is None:
        return value
    return f"[{','.join(_quotes(each.strip()) for each in plain[1].split(','))}]"


def _quotes(text: str) -> str:
    # Here and not above: it is slow to import.
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text, Quote.single).with_quotes()


def _without_options(command: str, argv: list[str], known: Mapping[str, Setting]) -> list[str]:
    """`argv` with options such as `--endpoint X`, which are accepted in this release alone,
    written as settings. A line on stderr names the new form."""
    words: list[str] = []
    given: dict[str, list[str]] = {}
    rest = iter(argv)
    for word in rest:
        if not word.startswith("-"):
            words.append(word)
            continue
        name, equals, value = word.partition("=")
        key = name.removeprefix("--").replace("-", "_")
        if not word.startswith("--") or key not in known:
            raise SettingsError(
                f"{word!r} is no setting; settings are written key=value{suggestion(key, known)}"
            )
        if not equals:
            flag = kind(known[key].type) is bool
            value = "true" if flag else next(rest, None)
            if value is None:
                raise SettingsError(f"{word} needs a value; write {key}=value")
        given.setdefault(key, []).append(value)
    new = [
        f"{key}={values[0]}" if len(values) == 1 else f"{key}=[{','.join(map(_quotes, values))}]"
        for key, values in given.items()
    ]
    if new:
        print(
            f"acclimate {command}: write {' '.join(new)}; options with -- end with this release",
            file=sys.stderr,
        )
    return words + new

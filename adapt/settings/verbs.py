"""Commands with verbs, such as `acclimate model load`: each verb has settings of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapt.settings.composition import compose
from adapt.settings.words import HELP, SettingsError, suggestion


@dataclass(frozen=True)
class Verb:
    """What a verb does.

    about: in one line. schema: dataclass of its settings. run: does it; returns the exit code.
    operands: keys whose values may stand alone, in this order.
    """

    about: str
    schema: type
    run: Callable[[Any], int]
    operands: tuple[str, ...] = ()

    def usage(self, command: str) -> str:
        """How it is called."""
        return " ".join(["acclimate", command, *map(str.upper, self.operands), "[key=value ...]"])


def run_verb(command: str, about: str, verbs: Mapping[str, Verb], argv: Sequence[str]) -> int:
    """Run the verb that `argv` begins with; returns its exit code.

    Raises SettingsError for a verb that there is not, and what `compose` raises. Help is printed
    with SystemExit(0).
    """
    place = 0
    # Options were accepted before the verb, too.
    while place < len(argv) and argv[place].startswith("--") and argv[place] not in HELP:
        place += 1 if "=" in argv[place] else 2
    name = argv[place] if place < len(argv) else ""
    if name in HELP:
        print(_page(command, about, verbs))
        raise SystemExit(0)
    if name not in verbs:
        wrong = f"no verb {name!r}{suggestion(name, verbs)}" if name else "a verb is missing"
        raise SettingsError(f"{wrong}; expected one of {', '.join(verbs)}")
    verb, full = verbs[name], f"{command} {name}"
    text = f"{verb.usage(full)}\n\n{verb.about[0].upper()}{verb.about[1:]}."
    rest = [*argv[:place], *argv[place + 1 :]]
    try:
        settings: Any = compose(full, verb.schema, rest, text, verb.operands)
    except SettingsError as error:
        raise SettingsError(f"{name}: {error}") from error
    return verb.run(settings)


def _page(command: str, about: str, verbs: Mapping[str, Verb]) -> str:
    width = max(map(len, verbs)) + 2
    return "\n".join(
        [
            f"acclimate {command} VERB [key=value ...]",
            f"acclimate {command} VERB --help",
            "",
            about,
            "",
            *(f"  {name:<{width}}{verb.about}" for name, verb in verbs.items()),
        ]
    )

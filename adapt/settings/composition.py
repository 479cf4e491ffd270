"""Settings composed by Hydra, once, from dataclasses, YAML and command line."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from adapt.settings.help_page import find, page, shown, summary, yaml_files
from adapt.settings.schema import Choice, Setting, defaults, settings_of
from adapt.settings.words import HELP, SettingsError, overrides, suggestion

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from hydra.core.override_parser.types import Override

T = TypeVar("T", bound="DataclassInstance")


def compose(
    command: str,
    schema: type[T] | Choice,
    argv: Sequence[str],
    help: str,
    operands: Sequence[str] = (),
) -> T:
    """Compose the settings of one command.

    command: its name, such as "model load". With a Choice, configs/COMMAND.yaml names what is
        composed: one of the choice's options, an experiment.
    schema: frozen dataclass that the settings must fill, holding further dataclasses freely. Bounds
        go into its types: `Annotated[int, msgspec.Meta(ge=1)]`, `Literal["cpu", "cuda"]`.
    argv: words such as `seed=1`. With `-h` or `--help` among them, prints `help` and every setting,
        and raises SystemExit(0).
    operands: keys whose values may stand alone, in this order.

    Raises SettingsError naming the key and what would have been right.
    """
    groups = config_groups(schema)
    words = overrides(command, argv, known(schema), groups, operands)
    values, missing = _composed(command, schema, words)
    if not set(HELP).isdisjoint(argv):
        print(page(help, settings_of(_chosen(schema, values)), values, _choices(schema)))
        raise SystemExit(0)
    if missing:
        # A misspelt key may be the one that is missing.
        problems = _unknown(values, known(schema))
        needed = f"needs {', '.join(f'{key}=...' for key in sorted(missing))}"
        raise SettingsError(f"{'; '.join([*problems, needed])}; --help says more")
    return checked(values, schema)


def checked(values: object, schema: type[T] | Choice) -> T:
    """Plain values as the dataclass `schema`.

    Raises SettingsError naming the key and what would have been right.
    """
    chosen = cast("type[T]", _chosen(schema, values))
    known = {setting.key: setting for setting in settings_of(chosen)}
    try:
        settings = msgspec.convert(values, chosen, dec_hook=_from_text)
    except msgspec.ValidationError as error:
        raise SettingsError(_explained(error, values, known)) from error
    problems = list(_unknown(values, known))
    for key in known:
        if not _finite(value := find(values, key)):
            problems.append(f"{key}={value}: expected a finite number")
    if problems:
        raise SettingsError(f"{'; '.join(problems)}; --help lists the settings")
    return settings


def resolved(settings: DataclassInstance) -> dict[str, Any]:
    """`settings` as plain values, paths as text, for a manifest or a run folder."""
    return msgspec.to_builtins(dataclasses.asdict(settings), enc_hook=str)


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested settings by dotted key."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        leaves |= flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return leaves


def known(schema: type | Choice) -> dict[str, Setting]:
    """The settings by key; of a choice those of all its options."""
    schemas = schema.options.values() if isinstance(schema, Choice) else [schema]
    return {setting.key: setting for each in schemas for setting in settings_of(each)}


def config_groups(schema: type | Choice) -> list[str]:
    """Keys that name one of several dataclasses or YAML files; none without a choice."""
    if not isinstance(schema, Choice):
        return []
    folders = [each.name for each in resources.files("configs").iterdir() if each.is_dir()]
    return [schema.key, *sorted(name for name in folders if name.isalpha() and name != "hydra")]


def _choices(schema: type | Choice) -> dict[str, dict[str, str]]:
    """For each config group, what its options are about."""
    if not isinstance(schema, Choice):
        return {}
    found = {schema.key: {name: summary(each) for name, each in schema.options.items()}}
    for group in config_groups(schema):
        if group not in found:
            found[group] = yaml_files(group)
    return found


def register(choice: Choice) -> None:
    """Tell Hydra the defaults of a choice's dataclasses, as options of its config group."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    for name, option in choice.options.items():
        store.store(name, {**defaults(option), choice.key: name}, choice.key, "_global_")


@contextmanager
def composing() -> Iterator[None]:
    """Within it, what Hydra and OmegaConf find wrong is raised as a SettingsError."""
    from hydra.errors import HydraException, MissingConfigException, OverrideParseException
    from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        # Left out: the advice to append a misspelt key, which would fail next, and Hydra's paths.
        message = re.split(r"\n(?:To append to|Config search|See http)", str(error).strip())[0]
        if isinstance(error, OverrideParseException):
            # The first line names a class of the parser.
            message = (
                f"{error.override.lstrip('+')!r} cannot be read as key=value; where text holds any "
                r"of (){}[]=,:\ or quotes, write it in quotes of its own: \"key='text'\", "
                "or in a list \"key=['text','text']\""
            )
        elif isinstance(error, MissingConfigException) and error.options:
            group, _, name = (error.missing_cfg_file or "").rpartition("/")
            message = f"{group}={name}: expected one of {', '.join(error.options)}"
            raise SettingsError(message + suggestion(name, error.options)) from error
        elif isinstance(error, InterpolationKeyError):
            message = f"{message.splitlines()[0]}; for the characters themselves write \\${{"
        message = message.rstrip(". \n")
        raise SettingsError(f"{message}; --help lists the settings") from error


def _composed(
    command: str, schema: type | Choice, words: list[str]
) -> tuple[dict[str, Any], set[str]]:
    """The settings as plain values with interpolations resolved, and what is missing."""
    # Here and not above: a robot that loads a bundle needs no Hydra, and it is slow to import.
    from omegaconf import OmegaConf

    with composing():
        if isinstance(schema, Choice):
            import hydra

            register(schema)
            with hydra.initialize_config_module("configs", version_base="1.3"):
                tree = hydra.compose(command, words)
        else:
            # What Hydra would do without YAML, in a third of the time: `stop` is in a hurry.
            tree = OmegaConf.create(defaults(schema))
            for override in parsed(words):
                if override.is_sweep_override():
                    raise SettingsError(f"{override.input_line}: expected one value")
                key = override.key_or_group
                OmegaConf.update(tree, key, override.value(), force_add=True)
        values = cast("dict[str, Any]", OmegaConf.to_container(tree, resolve=True))
        return values, OmegaConf.missing_keys(tree)


def parsed(words: Sequence[str]) -> list[Override]:
    """Hydra's reading of override words. Raises SettingsError for one that it cannot read."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    with composing():
        return OverridesParser.create().parse_overrides(list(words))


def _chosen(schema: type | Choice, values: object) -> type:
    if not isinstance(schema, Choice):
        return schema
    name = str(values.get(schema.key)) if isinstance(values, Mapping) else ""
    if name not in schema.options:
        raise SettingsError(f"{schema.key}={name}: expected one of {', '.join(schema.options)}")
    return schema.options[name]


def _from_text(wanted: type, value: object) -> object:
    """Types that msgspec leaves to us: a path is written as text. Not every shell expands "~" after
    "=", so it is done here."""
    if wanted is Path and isinstance(value, str):
        return Path(value).expanduser() if value.startswith("~/") else Path(value)
    raise ValueError(f"expected {wanted.__name__}, found {value!r}")


def _explained(error: Exception, values: object, known: Mapping[str, Setting]) -> str:
    """msgspec's error with the key, its value and what is accepted."""
    place = re.search(r"`\$\.?(.*)`$", str(error))
    # Of an element of a list or a table, the list.
    key = re.sub(r"\[.*", "", place[1]) if place else ""
    if key not in known:
        return str(error)
    return f"{key}={shown(find(values, key))}: expected {known[key].expected}"


def _unknown(given: object, known: Mapping[str, Setting], prefix: str = "") -> Iterator[str]:
    """What is wrong with each key in `given` that is no setting: msgspec drops them."""
    for key, value in given.items() if isinstance(given, Mapping) else ():
        name = f"{prefix}{key}"
        if any(setting.startswith(f"{name}.") for setting in known):
            yield from _unknown(value, known, f"{name}.")
        elif name not in known:
            yield f"no setting {name!r}{suggestion(name, known)}"


def _finite(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)

"""A command's settings: YAML and command line composed by Hydra, once, into a frozen dataclass."""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

import msgspec

from adapt.errors import AcclimateError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


class SettingsError(AcclimateError):
    """A setting that is unknown, missing or of the wrong type; the message names its key."""


def compose(
    config_name: str, schema: type[T] | Callable[[object], type[T]], argv: list[str], help: str
) -> T:
    """Compose the settings of one command.

    config_name: the YAML under configs/ without its ending, such as "train". One in a folder,
        such as "policies/train", starts with the line `# @package _global_`.
    schema: frozen dataclass that the settings must fill, holding further dataclasses freely, or a
        function that chooses it by the composed values, a dict. Bounds go into its types:
        `Annotated[int, msgspec.Meta(ge=1)]`, `Literal["cpu", "cuda"]`.
    argv: Hydra overrides such as `seed=1`. With `-h` or `--help` among them, prints `help` and
        the composed YAML, and raises SystemExit(0).

    Raises SettingsError naming the key and what would have been right.
    """
    overrides = [word for word in argv if word not in ("-h", "--help")]
    for word in overrides:
        if word.startswith("-") or not ("=" in word or word.startswith("~")):
            raise SettingsError(f"{word!r} is no setting; settings are written key=value")
    text, values, missing = _composed(config_name, overrides)
    if len(overrides) < len(argv):
        print(f"{help.strip()}\n\nSettings, each changed by a word key=value:\n\n{text}", end="")
        raise SystemExit(0)
    if missing:
        raise SettingsError(f"needs {', '.join(f'{key}=...' for key in sorted(missing))}")
    return checked(values, schema, config_name)


def checked(values: object, schema: type[T] | Callable[[object], type[T]], config_name: str) -> T:
    """Plain values as the dataclass `schema`, which as in `compose` may be chosen by them.

    Raises SettingsError naming `config_name`, the key and what would have been right.
    """
    chosen = cast("type[T]", schema if isinstance(schema, type) else schema(values))
    try:
        settings = msgspec.convert(values, chosen, dec_hook=_from_text)
    except msgspec.ValidationError as error:
        choices = _choices(chosen, str(error))
        raise SettingsError(f"settings {config_name!r}: {error}{choices}") from error
    unknown = list(_unknown(values, resolved(settings), ""))
    if unknown:
        raise SettingsError(f"settings {config_name!r}: unknown key {'; '.join(unknown)}")
    return settings


def resolved(settings: "DataclassInstance") -> dict[str, Any]:
    """`settings` as plain values, paths as text, for a manifest or a run folder."""
    return msgspec.to_builtins(dataclasses.asdict(settings), enc_hook=str)


def _composed(config_name: str, overrides: list[str]) -> tuple[str, object, set[str]]:
    """The settings as YAML text, as plain values with interpolations resolved, and what lacks."""
    # Here and not above: a robot that loads a bundle needs no Hydra, and it is slow to import.
    import hydra
    from omegaconf import OmegaConf

    with composing(), hydra.initialize_config_module("configs", version_base="1.3"):
        composed = hydra.compose(config_name, overrides)
        values = OmegaConf.to_container(composed, resolve=True)
        return OmegaConf.to_yaml(composed), values, OmegaConf.missing_keys(composed)


@contextmanager
def composing() -> Iterator[None]:
    """Within it, what Hydra and OmegaConf find wrong is raised as a SettingsError."""
    from hydra.errors import HydraException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        # Left out: the advice to append a misspelt key, which would fail next, and Hydra's paths.
        message = re.split(r"\n(?:To append to|Config search|See http)", str(error).strip())[0]
        if isinstance(error, OverrideParseException):
            message = f"{error.override!r}: {message}"
        message = message.rstrip(". \n")
        raise SettingsError(f"{message}; --help lists the settings") from error


def _from_text(wanted: type, value: object) -> object:
    """Types that msgspec leaves to us: a path is written as text."""
    if wanted is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"expected {wanted.__name__}, found {value!r}")


def _choices(schema: type, message: str) -> str:
    """What a key could have been, where msgspec's message says that it is none of a Literal's."""
    found = re.fullmatch(r"Invalid enum value .* - at `\$\.([\w.]+)`", message)
    wanted: Any = schema
    for name in found[1].split(".") if found else ():
        wanted = get_type_hints(wanted)[name] if dataclasses.is_dataclass(wanted) else None
    if get_origin(wanted) is not Literal:
        return ""
    return f"; expected {', '.join(map(repr, get_args(wanted)))}"


def _unknown(given: object, taken: object, where: str) -> Iterator[str]:
    """The keys in `given` that did not arrive in `taken`, each with those known beside it.

    msgspec refuses unknown keys for its own structs, and drops them silently for dataclasses.
    """
    if isinstance(given, Mapping) and isinstance(taken, Mapping):
        for key, value in given.items():
            name = f"{where}.{key}" if where else str(key)
            if key not in taken:
                yield f"{name!r} (known here: {', '.join(map(str, taken))})"
            else:
                yield from _unknown(value, taken[key], name)
    elif isinstance(given, Sequence) and isinstance(taken, Sequence) and not isinstance(given, str):
        for index, (value, kept) in enumerate(zip(given, taken, strict=True)):
            yield from _unknown(value, kept, f"{where}[{index}]")

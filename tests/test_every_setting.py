"""Every setting of every command has bounds, a meaning, and a default that keeps its own bounds."""

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any, get_args

import pytest

import acclimate
from adapt.settings.composition import checked
from adapt.settings.schema import MISSING, Setting, defaults, kind, parts, settings_of

PACKAGES = ("adapt", "robot_bridge", "sim", "policies", "calibration")
NAMES = ("Settings", "Config")


def schemas() -> list[type]:
    """Every dataclass that is named as settings are."""
    found: dict[type, None] = {}
    for name in PACKAGES:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            for each in vars(importlib.import_module(module.name)).values():
                if (
                    isinstance(each, type)
                    and dataclasses.is_dataclass(each)
                    and each.__name__.endswith(NAMES)
                    and each.__module__ == module.name
                ):
                    found[each] = None
    return list(found)


SCHEMAS = schemas()


def numbers(annotated: Any) -> Iterator[tuple[Any, bool]]:
    """The numeric types within a type, and whether each is bounded."""
    inner, bounds = parts(annotated)
    if inner in (int, float):
        limits = [getattr(meta, name) for meta in bounds for name in ("gt", "ge", "lt", "le")]
        yield inner, any(limit is not None for limit in limits)
    elif kind(annotated) is not bool:
        for member in get_args(inner):
            yield from numbers(member)


def unbounded(schema: type) -> list[Setting]:
    return [
        setting
        for setting in settings_of(schema)
        if not all(bounded for _, bounded in numbers(setting.type))
    ]


def test_the_walk_finds_the_commands_settings():
    names = {schema.__name__ for schema in SCHEMAS}
    assert {"BridgeSettings", "TwinSettings", "PearlConfig", "GuardSettings"} <= names


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.__name__)
def test_every_number_has_a_bound(schema: type):
    assert [setting.key for setting in unbounded(schema)] == []


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.__name__)
def test_every_setting_is_explained_once_in_the_docstring(schema: type):
    silent = [setting.key for setting in settings_of(schema) if not setting.text.strip()]
    assert silent == []


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.__name__)
def test_defaults_keep_their_own_bounds(schema: type):
    values = defaults(schema)
    for setting in settings_of(schema):
        if setting.default == MISSING:
            return  # nothing to check it with
    assert checked(values, schema) == schema()


def test_a_number_without_a_bound_is_found():
    @dataclasses.dataclass
    class Loose:
        sizes: tuple[int, ...] = ()
        width: float | None = None
        flag: bool = False

    assert [setting.key for setting in unbounded(Loose)] == ["sizes", "width"]


def test_every_command_names_a_function():
    for place, _ in acclimate.COMMANDS.values():
        module, function = place.split(":")
        assert callable(getattr(importlib.import_module(module), function))

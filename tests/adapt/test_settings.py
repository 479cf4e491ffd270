"""Settings: composed once, checked whole, and every mistake named by its key."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
from msgspec import Meta

from adapt.errors import AcclimateError
from adapt.settings import SettingsError, compose, resolved


@dataclass(frozen=True)
class Layer:
    width: Annotated[int, Meta(ge=1)]
    kind: Literal["linear", "conv"] = "linear"


@dataclass(frozen=True)
class Settings:
    seed: int
    rate: float
    task: Layer
    bundle: Path
    device: Literal["auto", "cpu"] = "auto"
    layers: tuple[Layer, ...] = ()
    budget: float | None = None


@pytest.fixture(autouse=True)
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A configs/ of the test's own in place of the installed one."""
    folder = tmp_path / "configs"
    (folder / "task").mkdir(parents=True)
    (folder / "nested").mkdir()
    (folder / "__init__.py").touch()
    body = "defaults:\n  - /task: flat\n  - _self_\nseed: 0\nrate: 2\nbundle: ???\n"
    (folder / "probe.yaml").write_text(body)
    (folder / "nested" / "probe.yaml").write_text("# @package _global_\n" + body)
    (folder / "task" / "flat.yaml").write_text("width: 3\n")
    (folder / "task" / "steep.yaml").write_text("width: 4\nkind: conv\n")
    for name in [name for name in sys.modules if name.split(".")[0] == "configs"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "configs"]:
        del sys.modules[name]


def composed(*words: str, name: str = "probe") -> Settings:
    return compose(name, Settings, ["bundle=a/b.zip", *words], "Probes.")


@pytest.mark.parametrize("name", ["probe", "nested/probe"])
def test_yaml_and_overrides_become_the_dataclass(name: str):
    words = ["seed=7", "task=steep", "task.width=5", "+device=cpu", "+budget=1e-3"]
    expected = Settings(7, 2.0, Layer(5, "conv"), Path("a/b.zip"), "cpu", (), 1e-3)
    assert composed(*words, name=name) == expected


def test_lists_become_tuples_of_dataclasses():
    settings = composed("+layers=[{width: 1}, {width: 2, kind: conv}]")
    assert settings.layers == (Layer(1), Layer(2, "conv"))


def test_composing_twice_gives_the_same():
    assert composed("seed=1") == composed("seed=1")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["sed=1"], "'sed'"),
        (["task.widht=1"], "task.widht"),
        (["+sed=1"], r"unknown key 'sed' \(known here: seed, rate, task"),
        (["+task.widht=1"], r"'task.widht' \(known here: width, kind\)"),
        (["+layers=[{width: 1}, {width: 2, kidn: conv}]"], r"'layers\[1\].kidn'"),
        (["seed=one"], r"Expected `int`, got `str` - at `\$.seed`"),
        (["seed=1.5"], r"Expected `int`, got `float` - at `\$.seed`"),
        (["rate=[1]"], r"\$.rate"),
        (["task.width=0"], r"Expected `int` >= 1 - at `\$.task.width`"),
        (["+device=gpu"], r"'gpu' - at `\$.device`; expected 'auto', 'cpu'$"),
        (["+task.kind=cubic"], r"'cubic' - at `\$.task.kind`; expected 'linear', 'conv'$"),
        (["task=hilly"], "task/hilly"),
        (["seed"], "'seed' is no setting; settings are written key=value"),
        (["--seed=1"], "'--seed=1' is no setting"),
        (["~rate"], "rate"),
        (["seed=[1"], r"seed=\[1"),
        (["rate=${nothing}"], "nothing"),
    ],
)
def test_a_mistake_is_named(words: list[str], named: str):
    with pytest.raises(SettingsError, match=named):
        composed(*words)


def test_an_unknown_key_in_the_yaml_itself_is_named(configs: Path):
    (configs / "task" / "flat.yaml").write_text("width: 3\nslope: 1\n")
    with pytest.raises(SettingsError, match=r"'task.slope' \(known here: width, kind\)"):
        composed()


def test_a_mandatory_setting_left_open_is_named():
    with pytest.raises(SettingsError, match="needs bundle="):
        compose("probe", Settings, ["seed=1"], "Probes.")


def test_a_users_mistake_is_printed_without_a_traceback():
    assert issubclass(SettingsError, AcclimateError)


def test_help_prints_the_text_and_what_would_be_used(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as stop:
        compose("probe", Settings, ["seed=9", "--help"], "Probes the ground.")
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Probes the ground.\n")
    assert "seed: 9" in shown
    assert "bundle: ???" in shown


def test_resolved_settings_hold_every_field_as_plain_values():
    values = resolved(composed("+layers=[{width: 1}]"))
    assert values["bundle"] == "a/b.zip"
    assert values["device"] == "auto"
    assert list(values["layers"]) == [{"width": 1, "kind": "linear"}]
    assert values["task"] == {"width": 3, "kind": "linear"}

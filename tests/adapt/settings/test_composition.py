"""Settings: composed once, checked whole, and every mistake named by its key."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
from msgspec import Meta

from adapt.errors import AcclimateError
from adapt.settings import Choice, Fraction, SettingsError, Widths, compose, resolved
from adapt.settings.schema import documented


@dataclass(frozen=True)
class Layer:
    """width: of the layer.
    kind: of the layer,
        in two lines.
    hidden: of more layers.
    """

    width: Annotated[int, Meta(ge=1)] = 3
    kind: Literal["linear", "conv"] = "linear"
    hidden: Widths = (8,)


@dataclass(frozen=True, kw_only=True)
class Flat:
    """Flat ground.

    seed: of everything.
    rate, share: two numbers.
    bundle: to read.
    """

    seed: int = 0
    rate: float = 2.0
    share: Fraction = 0.5
    bundle: Path
    task: Layer = field(default_factory=Layer)
    device: Literal["auto", "cpu"] = "auto"
    groups: dict[Literal["near", "far"], int] = field(default_factory=lambda: {"near": 1})
    budget: float | None = None
    signers: tuple[str, ...] = ()
    kind: Literal["flat"] = "flat"


@dataclass(frozen=True)
class Steep:
    """Steep ground."""

    slope: float = 1.0
    name: str = ""
    kind: Literal["steep"] = "steep"


@pytest.fixture(autouse=True)
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A configs/ of the test's own in place of the installed one."""
    folder = tmp_path / "configs"
    (folder / "experiment").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "chosen.yaml").write_text(
        "defaults:\n  - kind: flat\n  - _self_\n  - experiment: null\n"
    )
    (folder / "experiment" / "climb.yaml").write_text(
        "# @package _global_\n# A hill.\n# In two lines.\n"
        "defaults:\n  - override /kind: steep\nslope: 3\nname: up-${slope}\n"
    )
    for name in [name for name in sys.modules if name.split(".")[0] == "configs"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "configs"]:
        del sys.modules[name]


CHOICE = Choice("kind", {"flat": Flat, "steep": Steep})


def composed(*words: str) -> Flat:
    return compose("probe", Flat, ["bundle=a/b.zip", *words], "Probes.")


def chosen(*words: str) -> Flat | Steep:
    return compose("chosen", CHOICE, words, "Chooses.")


def test_words_and_defaults_become_the_dataclass():
    assert composed() == Flat(bundle=Path("a/b.zip"))
    words = ["seed=7", "task.width=5", "task.hidden=[4,2]", "device=cpu", "budget=1e-3"]
    expected = Flat(
        seed=7, bundle=Path("a/b.zip"), task=Layer(5, hidden=(4, 2)), device="cpu", budget=1e-3
    )
    assert composed(*words) == expected


def test_a_table_takes_keys_that_it_has_and_has_not():
    assert composed("groups.near=2", "groups.far=3").groups == {"near": 2, "far": 3}


def test_an_experiment_may_choose_another_dataclass():
    assert chosen("bundle=a") == Flat(bundle=Path("a"))
    assert chosen("kind=steep", "slope=2") == Steep(2.0)
    assert chosen("experiment=climb") == Steep(3.0, "up-3")
    assert chosen("experiment=climb", "slope=4") == Steep(4.0, "up-4")


def test_composing_twice_gives_the_same():
    assert composed("seed=1") == composed("seed=1")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["sed=1"], r"no setting 'sed' \(did you mean 'seed'\?\)"),
        (["width=1"], r"no setting 'width' \(did you mean 'task.width'\?\)"),
        (["task.widht=1"], r"no setting 'task.widht' \(did you mean 'task.width'\?\)"),
        (["seed=one"], "^seed=one: expected a whole number$"),
        (["seed=1.5"], "^seed=1.5: expected a whole number$"),
        (["rate=[1]"], r"^rate=\[1\]: expected a number$"),
        (["task.width=0"], "^task.width=0: expected a whole number ≥ 1$"),
        (["share=1.5"], "^share=1.5: expected a number from 0 to 1$"),
        (["rate=nan"], "rate=nan: expected a finite number"),
        (["rate=inf"], "rate=inf: expected a finite number"),
        (["task.hidden=[]"], r"task.hidden=\[\]: expected a non-empty list"),
        (["task.hidden=[4,0]"], r"task.hidden=\[4,0\]: .* each element a whole number ≥ 1"),
        (["device=gpu"], "^device=gpu: expected auto or cpu$"),
        (["budget=x"], "^budget=x: expected a number or null$"),
        (["groups.beyond=1"], "groups=.*a key being near or far"),
        (["seed"], "'seed' is no setting; settings are written key=value"),
        (["~rate"], "'~rate' is no setting"),
        (["--sed=1"], r"'--sed=1' is no setting.*did you mean 'seed'"),
        (["seed=1,2"], r"seed=1,2: expected one value"),
        (["hydra.verbose=true"], "no setting 'hydra'"),
        (["seed=[1"], r"^'seed=\[1' cannot be read"),
        (["rate=${nothing}"], "nothing"),
    ],
)
def test_a_mistake_is_named(words: list[str], named: str):
    with pytest.raises(SettingsError, match=named):
        composed(*words)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["kind=stepe"], r"kind=stepe: expected one of flat, steep \(did you mean 'steep'\?\)"),
        (["experiment=clim"], r"expected one of climb \(did you mean 'climb'\?\)"),
        (["kind=steep", "rate=1"], "no setting 'rate'"),
        (["experiment=null"], "experiment=null: expected one of climb"),
        (["experiment="], "experiment=: expected one of climb"),
    ],
)
def test_a_mistake_in_a_choice_is_named(words: list[str], named: str):
    with pytest.raises(SettingsError, match=named):
        chosen(*words)


def test_an_unknown_key_in_the_yaml_itself_is_named(configs: Path):
    with (configs / "experiment" / "climb.yaml").open("a") as stream:
        stream.write("slop: 1\n")
    with pytest.raises(SettingsError, match=r"no setting 'slop' \(did you mean 'slope'\?\)"):
        chosen("experiment=climb")


def test_a_mandatory_setting_left_open_is_named():
    with pytest.raises(SettingsError, match=r"needs bundle=\.\.\."):
        compose("probe", Flat, ["seed=1"], "Probes.")
    named = r"no setting 'bundel' \(did you mean 'bundle'\?\); needs bundle=\.\.\."
    with pytest.raises(SettingsError, match=named):
        compose("probe", Flat, ["bundel=x"], "Probes.")


def test_a_users_mistake_is_printed_without_a_traceback():
    assert issubclass(SettingsError, AcclimateError)


def test_the_docstring_says_what_each_key_means():
    assert documented(Flat) == {
        "seed": "of everything.",
        "rate": "two numbers.",
        "share": "two numbers.",
        "bundle": "to read.",
    }
    assert documented(Layer)["kind"] == "of the layer, in two lines."


def test_help_lists_keys_types_values_and_meanings(capsys: pytest.CaptureFixture):
    for words in (["--help"], ["-h", "seed=9"]):
        with pytest.raises(SystemExit) as stop:
            compose("probe", Flat, words, "Probes the ground.\n")
        assert stop.value.code == 0
    page = capsys.readouterr().out
    assert page.startswith("Probes the ground.\n")
    assert "  bundle=..., required\n      (path) to read.\n" in page
    assert "  task.width=3\n      (whole number ≥ 1) of the layer.\n" in page
    assert "seed=9" in page


def test_help_describes_choices_and_experiments(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        chosen("experiment=climb", "--help")
    page = capsys.readouterr().out
    assert "slope=3" in page
    assert "  steep\n      Steep ground.\n" in page
    assert "  kind=steep\n      (flat or steep)" in page
    assert "  climb\n      A hill. In two lines.\n" in page


def test_resolved_settings_hold_every_field_as_plain_values():
    values = resolved(composed())
    assert values["bundle"] == "a/b.zip"
    assert values["device"] == "auto"
    assert values["task"] == {"width": 3, "kind": "linear", "hidden": (8,)}

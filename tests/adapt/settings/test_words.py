"""The grammar of command lines: text of any kind arrives as it was written."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapt.settings import SettingsError, Verb, compose, run_verb


@dataclass(frozen=True, kw_only=True)
class Settings:
    """path: a path.
    title: a text.
    several: texts.
    either: a text, or several.
    keys: a path, or none.
    flag: true or false.
    number: any.
    """

    path: Path = Path("p")
    title: str = ""
    several: tuple[str, ...] = ()
    either: str | tuple[str, ...] = ""
    keys: Path | None = None
    flag: bool = False
    number: int = 0


def composed(*words: str, operands: tuple[str, ...] = ()) -> Settings:
    return compose("probe", Settings, words, "", operands)


# Names that a file may have. "${" begins an interpolation, and quotes around all are Hydra's.
NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="\0/\n\r", exclude_categories=["Cs", "Cc"]),
    min_size=1,
).filter(lambda name: "${" not in name and name[0] not in "'\"-" and name not in ("???", "null"))


@given(NAMES)
@example("größe=1, (neu) [b] {c}: 'd' \"e\" \\")
@example("C:\\data\\")
@example("a\\'b")
@example("1e5")
@example("true")
@example("[a]")
@example("$HOME%~")
@settings(deadline=None, max_examples=150)
def test_text_of_any_kind_arrives_as_it_was_written(name: str):
    assert composed(f"path=/tmp/{name}").path == Path("/tmp") / name
    assert composed(f"title={name}").title == name
    assert composed(f"/tmp/{name}", operands=("path",)).path == Path("/tmp") / name


@pytest.mark.parametrize(
    ("word", "field", "value"),
    [
        ("several=a b.pub", "several", ("a b.pub",)),
        ("several=[a,b]", "several", ("a", "b")),
        ("several=['a,b',c]", "several", ("a,b", "c")),
        (
            "several=[/keys/größe 1/lab.signer.pub, b]",
            "several",
            ("/keys/größe 1/lab.signer.pub", "b"),
        ),
        ("either=a*", "either", "a*"),
        ("either=[a,b*]", "either", ("a", "b*")),
        ("either=[runs/größe-*,b c]", "either", ("runs/größe-*", "b c")),
        ("keys=null", "keys", None),
        ("keys=a", "keys", Path("a")),
        ("keys=~/a", "keys", Path.home() / "a"),
        ("title='a b'", "title", "a b"),
        ("title=", "title", ""),
        ("flag=true", "flag", True),
    ],
)
def test_lists_and_null_keep_their_meaning(word: str, field: str, value: object):
    assert getattr(composed(word), field) == value


def test_what_cannot_be_read_is_told_how_to_quote():
    with pytest.raises(SettingsError, match="write it in quotes of its own"):
        composed("several=[a=b")
    with pytest.raises(SettingsError, match=r"write \\\$\{"):
        composed("path=${x}")


def test_operands_fill_their_keys_in_order():
    two = ("path", "title")
    expected = Settings(path=Path("a"), title="x/b=c", number=3)
    assert composed("a", "x/b=c", "number=3", operands=two) == expected
    with pytest.raises(SettingsError, match="'c' is no setting"):
        composed("a", "b", "c", operands=two)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--title", "x"], Settings(title="x")),
        (["--title=x"], Settings(title="x")),
        (["--flag"], Settings(flag=True)),
        (["--several", "a", "--several", "b,c"], Settings(several=("a", "b,c"))),
    ],
)
def test_options_of_before_are_taken_with_a_notice(words, expected, capsys):
    assert composed(*words) == expected
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("acclimate probe: write ")


def test_an_option_without_its_value_is_refused():
    with pytest.raises(SettingsError, match="--title needs a value; write title=value"):
        composed("--title")


@pytest.fixture
def ran() -> list[tuple[str, Settings]]:
    return []


def run(ran: list, *words: str) -> int:
    verbs = {
        name: Verb(f"{name}s it", Settings, lambda s, name=name: ran.append((name, s)) or 0)
        for name in ("show", "sign")
    }
    return run_verb("probe", "Probes.", verbs, words)


def test_a_verb_has_settings_of_its_own(ran):
    assert run(ran, "show", "title=x") == 0
    assert run(ran, "--title", "y", "sign") == 0
    assert ran == [("show", Settings(title="x")), ("sign", Settings(title="y"))]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["shwo"], r"no verb 'shwo' \(did you mean 'show'\?\); expected one of show, sign"),
        ([], "a verb is missing"),
        (["title=x", "show"], "no verb 'title=x'"),
    ],
)
def test_a_verb_that_there_is_not_is_named(ran, words, named):
    with pytest.raises(SettingsError, match=named):
        run(ran, *words)
    assert ran == []


@pytest.mark.parametrize("words", [["--help"], ["-h"]])
def test_help_lists_the_verbs(ran, words, capsys):
    with pytest.raises(SystemExit) as stop:
        run(ran, *words)
    assert stop.value.code == 0
    page = capsys.readouterr().out
    assert "show  shows it" in page and "sign  signs it" in page
    with pytest.raises(SystemExit):
        run(ran, "show", "--help")
    assert "acclimate probe show" in capsys.readouterr().out

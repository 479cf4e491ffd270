"""What README and docs/ name exists: files, and commands with settings that compose."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import acclimate
from adapt.settings import composition
from policies.training import sweep

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / name for name in ("README.md", "CONTRIBUTING.md", "robot_bridge/client/cpp/README.md")
]
PAGES += sorted((ROOT / "docs").glob("*.md"))
FOLDERS = (
    "adapt", "robot_bridge", "sim", "policies", "calibration", "configs", "benchmarks", "fuzz",
    "tests", "docs",
)  # fmt: skip
# What README tells the reader to make.
MADE = {"bundles/mine"}


def paths(text: str) -> set[str]:
    """Paths within the repository that a page names; NAME stands for any name."""
    found = re.findall(rf"(?<![\w/.-])((?:{'|'.join(FOLDERS)}|bundles)/[\w./-]*)", text)
    return {path.rstrip(".") for path in found if "NAME" not in path} - MADE


def exists(path: str) -> bool:
    """Whether there is such a file or folder, or such a module by its name without `.py`."""
    return (ROOT / path).exists() or (ROOT / f"{path}.py").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_exists(page: Path):
    text = page.read_text(encoding="utf-8")
    assert sorted(path for path in paths(text) if not exists(path)) == []
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    local = {link for link in links if link and not link.startswith("http")}
    assert sorted(link for link in local if not (page.parent / link).exists()) == []


def commands(text: str) -> Iterator[str]:
    """Lines of code blocks that call acclimate, without prompts, and continued lines in one."""
    for line in text.replace("\\\n", " ").split("\n"):
        if re.match(r"\s*acclimate [a-z]", line):
            yield line.strip()


def spans(text: str) -> Iterator[str]:
    """Commands within a sentence, unless part of the command is left out."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for span in re.findall(r"`(acclimate [a-z][^`,]*)`", prose):
        if "..." not in span and "…" not in span and span.split()[1] in acclimate.COMMANDS:
            yield " ".join(span.split())


LINES = sorted({line for page in PAGES for line in commands(page.read_text(encoding="utf-8"))})
SPANS = sorted({span for page in PAGES for span in spans(page.read_text(encoding="utf-8"))})


class Composed(BaseException):
    """Raised in place of running a command whose settings were composed."""


@pytest.fixture
def called(monkeypatch, capsys):
    """Calls a command up to its settings; returns what was wrong with them."""
    original = composition.checked

    def stop(values, schema):
        raise Composed(original(values, schema))

    monkeypatch.setattr(composition, "checked", stop)
    monkeypatch.setattr(sweep, "checked", stop)

    def call(line: str) -> str:
        words = shlex.split(line, comments=True)[1:]
        try:
            assert acclimate.main(words) == 2
        except Composed:
            return ""
        except SystemExit as end:
            assert end.code == 0, line  # --help
            return ""
        return capsys.readouterr().err

    return call


@pytest.mark.parametrize("line", LINES)
def test_every_command_in_a_code_block_composes(called, line: str):
    if "hydra/sweeper=" in line:
        pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    assert called(line) == ""


@pytest.mark.parametrize("span", SPANS)
def test_every_command_in_a_sentence_composes_or_lacks_a_setting(called, span: str):
    problem = called(span)
    assert problem == "" or ": needs " in problem or "a verb is missing" in problem


def test_a_wrong_command_and_a_wrong_path_are_found(called):
    assert "no setting 'fidn'" in called("acclimate doctor fidn=1")
    named = paths("see sim/nowhere.py and sim/core/worlds.py")
    assert [path for path in named if not exists(path)] == ["sim/nowhere.py"]

"""Folders hold few modules, files are short, and modules have names that engineers know."""

import subprocess
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES, LINES = 14, 400
# benchmarks/ holds one command per section of docs/results.md.
COMMANDS = {"benchmarks"}
# Metaphors that were once module names here.
METAPHORS = {
    "course", "desk", "door", "gap", "gate", "guest", "hearing", "journal", "keeper", "link",
    "lobby", "margins", "mind", "notices", "outlet", "pace", "peers", "reception", "recollection",
    "rhythm", "roster", "standing", "tally", "tap", "taps",
}  # fmt: skip


def sources() -> list[Path]:
    """Every Python file of the repository; skips the test outside a git checkout."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run([*command, "*.py"], capture_output=True, text=True, check=False)
    found = [Path(name) for name in done.stdout.split("\n") if name and (ROOT / name).is_file()]
    if not found:
        pytest.skip("not a git checkout")
    return found


def test_no_folder_holds_too_many_modules():
    count = Counter(str(p.parent) for p in sources() if p.name != "__init__.py")
    full = {folder: n for folder, n in count.items() if n > MODULES and folder not in COMMANDS}
    assert not full


def test_no_file_is_too_long():
    lines = {str(p): len((ROOT / p).read_text().splitlines()) for p in sources()}
    assert {name: n for name, n in lines.items() if n > LINES} == {}


def test_no_module_is_named_by_a_metaphor():
    assert [str(p) for p in sources() if p.stem.removeprefix("test_") in METAPHORS] == []

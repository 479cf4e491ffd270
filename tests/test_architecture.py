"""docs/architecture.md says what the code does: packages, calls in their order, recipes' tests."""

import re
import sys
from pathlib import Path

import pytest

from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.protocol.messages import Flag
from tests.support import tiny_bundle
from tests.support.bridge.bridge_without_sockets import Post

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
ROOMS = ("adapt", "robot_bridge", "sim", "policies")


def walk() -> list[tuple[str, str]]:
    """The page's calls, as (module, qualified name)."""
    return re.findall(r"^\| `([\w/]+\.py)` \| `([\w.]+)` \|", PAGE, flags=re.MULTILINE)


def test_every_package_has_its_line():
    listed = set(re.findall(r"`([a-z_]+/(?:[a-z_]+/)?)`", PAGE.partition("## From an")[0]))
    there = {
        f"{path.parent.relative_to(ROOT)}/"
        for room in ROOMS
        for path in (ROOT / room).glob("*/__init__.py")
    }
    assert there - listed == set()
    assert {name for name in listed if not (ROOT / name).is_dir()} == set()


@pytest.fixture
def post(tmp_path):
    made = Post(PolicyBundle.load(tiny_bundle.write(tmp_path / "tiny")))
    yield made
    made.peers.dismiss("done")


def test_an_observation_walks_as_the_page_says(post):
    post.join(b"arm")
    post.observe(b"arm", flags=Flag.FIRST)
    post.observe(b"arm")
    calls: list[tuple[str, str]] = []
    sent: list[int] = []

    def note(frame, event, argument):
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(ROOT):
            calls.append((str(path.relative_to(ROOT)), frame.f_code.co_qualname))
            if calls[-1][1] == "Post.send":
                sent.append(len(calls))

    sys.setprofile(note)
    try:
        post.observe(b"arm")
    finally:
        sys.setprofile(None)
    assert len(walk()) > 15
    before = iter(calls[: sent[0]])
    missing = [step for step in walk() if step not in before]
    assert missing == []


def test_the_pages_that_it_sends_readers_to_exist():
    pages = re.findall(r"\]\(([\w./-]+\.md)", PAGE)
    assert [page for page in pages if not (ROOT / "docs" / page).is_file()] == []
    tests = re.findall(r"`(tests/[\w/]+\.py)`", PAGE)
    assert len(tests) >= 3
    assert [test for test in tests if not (ROOT / test).is_file()] == []

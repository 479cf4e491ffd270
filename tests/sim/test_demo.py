"""The demo over real processes, and that it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from adapt.bundle.fields import Factor
from adapt.bundle.policy_bundle import write_bundle
from robot_bridge.protocol.messages import Outcome
from robot_bridge.protocol.operator_messages import BeliefPoint
from robot_bridge.trial.folder import EpisodeLine
from robot_bridge.trial.report import group_tasks
from sim.demo import DemoSettings, choose, describe
from sim.insertion.plugs import FAMILIES
from sim.insertion.plugs import TITLES as PLUGS
from sim.insertion.space import SPACE
from sim.insertion.spec import SPEC
from sim.render.takes import Take
from sim.twin.child_processes import Children, Signals
from tests.support import tiny_bundle
from tests.support.bridge.local_bridge import ROOT

WORDS = ("body=wrist", "groups.held_out=1", "groups.unseen_choice=1")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    """A bundle whose weights are random but whose fields are the insertion task's."""
    manifest, graphs, golden = tiny_bundle.build(
        observation_size=SPEC.observation_size,
        action_size=SPEC.action_size,
        control_period=SPEC.control_period,
    )
    latent = msgspec.structs.replace(
        manifest.latent, factors=[Factor("seat_x", "m", 0.0, 0.0018, 0)]
    )
    manifest = msgspec.structs.replace(
        manifest,
        observation=list(SPEC.observation),
        action=list(SPEC.action),
        latent=latent,
        limits=[],
    )
    path = tmp_path_factory.mktemp("demo") / "bundle"
    write_bundle(path, manifest, graphs, golden)
    return path


def demo(bundle: Path, folder: Path, *words: str) -> subprocess.Popen[str]:
    """The demo as its own process; its scratch folder lies in folder/tmp."""
    (folder / "tmp").mkdir()
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "acclimate",
            "demo",
            f"bundle={bundle}",
            f"out={folder}/out",
            *words,
        ],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def mentioning(text: str) -> list[str]:
    """Command lines of the running processes that name `text`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # it has just ended
            if text in words:
                found.append(words)
    return found


def test_demo_writes_a_page_with_a_film(bundle: Path, tmp_path: Path) -> None:
    process = demo(bundle, tmp_path, *WORDS, "groups.train=1", "episodes=2")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    page = Path(out.split()[-1])
    assert page == (tmp_path / "out" / "report.html").resolve()
    text = page.read_text()
    assert "data:video/mp4" in text
    assert "On film: " in text
    assert "It is shown because" in text
    assert "British plug (BS 1363)" in text
    assert "unseen sizes" in out
    assert list((tmp_path / "tmp").glob("acclimate-*")) == []
    assert mentioning(str(tmp_path)) == []


def test_a_plug_of_ones_own_is_tried_and_filmed(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: my own peg\nunit: mm\nclearance: 0.2\n"
        "pins:\n  - {shape: d, at: [0, 0], size: [8, 7], length: 12}\n"
    )
    words = ("body=wrist", f"plug={file}", "groups.held_out=1", "episodes=2", "probe=after_failure")
    process = demo(bundle, tmp_path, *words)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "my own peg, each time before another socket" in " ".join(out.split())
    text = Path(out.split()[-1]).read_text()
    # Random weights fail, so the robot touches before the second episode.
    assert "After a failure it touches" in text
    assert 'title="touched before episode 1"' in text
    assert "my own peg, clearance 0.20 mm" in text and "data:video/mp4" in text
    assert "my own peg: 1 tasks × 2 attempts" in text
    (other := tmp_path / "other").mkdir()
    process = demo(bundle, other, "plug=us_dc")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and "did you mean 'us_ac'" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_behind(bundle: Path, tmp_path: Path, number: int) -> None:
    process = demo(bundle, tmp_path, *WORDS, "episodes=1000")
    deadline = time.monotonic() + 60
    records = tmp_path / "out" / "episodes.jsonl"
    while not (records.is_file() and records.stat().st_size):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(mentioning(f"{tmp_path}/tmp")) == 2
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == (130 if number == signal.SIGINT else 143)
    assert "Traceback" not in err
    assert mentioning(str(tmp_path)) == []
    assert list((tmp_path / "tmp").glob("acclimate-*")) == []


def test_a_missing_bundle_is_told_before_anything_starts(tmp_path: Path) -> None:
    process = demo(tmp_path / "none", tmp_path, *WORDS)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "none" in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def line(task: int, episode: int, success: bool, duration: float) -> EpisodeLine:
    belief = BeliefPoint(0, 0, (0.0,), (1.0,))
    outcome = Outcome(success, round(duration / 0.05), duration, "")
    return EpisodeLine(task, episode, 0, outcome, {}, belief, belief, (), (), "")


def test_the_film_shows_who_learnt_most() -> None:
    quick, slow = 0.5, 2.5
    always = [line(0, 0, True, 1.0), line(0, 1, True, quick)]
    never = [line(1, 0, False, slow), line(1, 1, False, slow)]
    learnt = [line(2, 0, False, slow), line(2, 1, True, 1.0)]
    learnt_better = [line(3, 0, False, slow), line(3, 1, True, quick)]
    assert choose(never) == never
    assert choose(never + always) == always
    assert choose(always + never + learnt) == learnt
    assert choose(learnt + learnt_better + always) == learnt_better


def test_the_page_names_plugs_and_counts_families_apart(tmp_path: Path) -> None:
    lines = [line(t, e, t < 2, 1.0) for t in range(3) for e in range(2)]
    for number, family in enumerate(("cee_7_16", "peg_round", "bs_1363")):
        values = SPACE.task(family=family, clearance=2e-4).values
        Take("insertion", "wrist", values, 0.05, np.zeros((1, 6)), np.zeros(1), True).save(
            tmp_path, number, 0
        )
    about = describe(DemoSettings(), lines, {"held_out": 2, "unseen_choice": 1}, tmp_path)
    assert about.names[2] == "British plug (BS 1363), clearance 0.20 mm"
    assert [group.tasks for group in about.groups] == [(0, 1), (2,)]
    seen, unseen = group_tasks(lines, about)
    assert [(r.successes, r.tasks) for r in seen.rows] == [(2, 2), (2, 2)]
    assert [(r.successes, r.tasks) for r in unseen.rows] == [(0, 1), (0, 1)]
    assert set(PLUGS) == set(FAMILIES)


def test_a_signal_waits_while_a_child_is_being_started() -> None:
    reached = False
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), Signals() as signals:
        with signals.held():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            reached = True
        pytest.fail("the signal was lost")
    assert reached
    assert signal.getsignal(signal.SIGINT) is before


def test_children_end_with_their_block_and_leave_their_last_words(tmp_path: Path) -> None:
    with Signals() as signals, Children(tmp_path, signals) as children:
        children.start("twin", f"endpoint=ipc://{tmp_path}/none.ipc", "wait=0.1")
        while "ended with" not in (said := children.last_words()):
            time.sleep(0.05)
        children.start("twin", f"endpoint=ipc://{tmp_path}/none.ipc", "wait=60")
        while not mentioning(f"{tmp_path}/none.ipc"):
            time.sleep(0.01)
    assert "no bridge answers" in said
    assert "ended with 2" in said
    assert mentioning(f"{tmp_path}/none.ipc") == []

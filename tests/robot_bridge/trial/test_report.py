"""The page of a trial: it stands alone, says its pictures in words, and cuts off nothing unsaid."""

import re
from html.parser import HTMLParser
from itertools import count

import msgspec
import numpy as np
import pytest

from adapt.bundle.fields import ActionField, Factor, Field, Latent
from robot_bridge.errors import TrialError
from robot_bridge.protocol.messages import Outcome
from robot_bridge.protocol.operator_messages import BeliefPoint, EpisodeRecord
from robot_bridge.trial import report
from robot_bridge.trial.about import About, Change, Chart, FilmNote, Line, Section, TaskGroup
from robot_bridge.trial.figures import Figures, _truth
from robot_bridge.trial.folder import (
    TrialHeader,
    TrialWriter,
    read_lines,
    write_about,
)
from robot_bridge.trial.report import ReportSettings, write_report
from robot_bridge.trial.tasks import KINDS, by_task, kind, ranked
from tests.support.full_disk import full_disk

FACTORS = [
    Factor("seat_x", "m", 0.0, 0.002, 0),
    Factor("clearance", "log m", float(np.log(2e-4)), 0.3, 1),
]
HEADER = TrialHeader(
    started="2026-11-28T12:00:00",
    robot="arm",
    bundle="tiny",
    digest="0" * 64,
    algorithm="pearl",
    observation=(Field("wrench", (3,), "N", -20.0, 20.0),),
    action=(ActionField("x", (), "m", -0.001, 0.001, 0.001),),
    control_period=0.05,
    latent=Latent(2, [0.0, 0.0], [1.0, 1.0], 0, FACTORS),
    settings={"out": "", "keys": None},
)
OUTCOMES = {
    0: (False, True),
    1: (True, True),
    2: (False, False),
    3: (True, False),
    7: (False, True),
}


def episode(task, number, success, force=5.0, steps=4):
    points = [
        BeliefPoint(k, k, (0.5 * k / steps, 0.0), (1.0 - 0.9 * k / steps, 0.9))
        for k in range(steps + 1)
    ]
    forces = np.zeros((steps, 3), "<f4")
    forces[-1, 0] = force
    return EpisodeRecord(
        robot="arm",
        task=task,
        episode=number,
        seed=0,
        outcome=Outcome(success, steps, 1.0 + task / 10 - number / 2, "done", {"peak_force": 33.0}),
        truth={"seat_x": 0.001, "clearance": float(np.log(1.5e-4))},
        belief_before=points[0],
        belief_after=points[-1],
        belief_trace=tuple(points[:-1]),
        steps=np.arange(steps, dtype="<i4").tobytes(),
        observations=forces.tobytes(),
        commands=np.zeros((steps, 1), "<f4").tobytes(),
        rewards=np.zeros(steps, "<f4").tobytes(),
        events=("something <happened>",) if task == 7 else (),
    )


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path / "trial")


def make(path, forces=lambda task: 5.0, header=HEADER):
    with TrialWriter(path, header) as writer:
        for task, wins in OUTCOMES.items():
            for number, success in enumerate(wins):
                writer.add(episode(task, number, success, forces(task)))
    return path


def page(folder, **settings):
    return write_report(ReportSettings(folder, **settings)).read_text()


class Reader(HTMLParser):
    """Collects what a page would fetch, and what a reader hears of each picture."""

    def __init__(self, text):
        super().__init__()
        self.fetched, self.pictures = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        for key in ("src", "href", "xlink:href"):
            if not (found.get(key) or "#").startswith(("data:", "#")):
                self.fetched.append(found[key])
        if tag in ("svg", "img", "video"):
            self.pictures.append(found.get("alt") or found.get("aria-label") or "")


def test_the_page_holds_everything_it_shows_and_tells_its_pictures_in_words(folder):
    (folder / "film.gif").write_bytes(b"GIF89a" + bytes(20))
    text = page(folder, title="A <b>")
    read = Reader(text)
    assert read.fetched == []
    assert "data:image/gif;base64,R0lGODlh" in text
    assert "A &lt;b&gt;" in text
    assert "something &lt;happened&gt;" in text
    # Success and time; three tasks' two factors; the errors of two; the forces of five tasks; film.
    assert len(read.pictures) == 2 + 3 * 2 + 2 + 5 + 1
    assert all(len(words) > 10 for words in read.pictures)
    assert not re.search(r"#0[1-5]0\d0\d", text)
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    # Nothing is wider than a phone.
    assert "min-width" not in text


def test_groups_are_counted_apart_and_the_tasks_are_named(folder):
    groups = (
        TaskGroup("the first", (0, 1, 2)),
        TaskGroup("the other", (7,)),
        TaskGroup("no", (9,)),
    )
    film = FilmNote("a plug", "shown because", "two attempts")
    write_about(folder, About("Two kinds", "One sentence.", {7: "a <plug>"}, groups, film))
    (folder / "film.mp4").write_bytes(bytes(20))
    text = page(folder)
    assert "<h1>Two kinds</h1>" in text
    assert "One sentence." in text
    assert text.count("1/3") == 1
    assert text.count("2/3") == 1
    assert text.count("0/1") == 1
    assert text.count("1/1") == 1
    assert "<h3>no" not in text
    assert "Task 7, a &lt;plug&gt;: failed at first and succeeded in the end" in text
    assert 'aria-label="two attempts"' in text
    assert "from each group in turn" in text


def test_a_folder_without_a_trial_is_named(tmp_path):
    with pytest.raises(TrialError, match=r"no trial\.json; expected a folder"):
        page(tmp_path)


def test_a_damaged_note_is_told_in_one_line(folder):
    (folder / "about.json").write_text('{"title": 3}')
    with pytest.raises(TrialError, match=r"about\.json.*Expected `str`"):
        page(folder)


def test_a_full_disk_leaves_the_page_and_the_notes_as_they_were(folder):
    path = write_report(ReportSettings(folder))
    before = {each.name: each.read_bytes() for each in folder.iterdir() if each.is_file()}
    with full_disk():
        with pytest.raises(TrialError, match=r"report\.html: File too large"):
            write_report(ReportSettings(folder, title="another"))
        with pytest.raises(TrialError, match="File too large"):
            write_about(folder, About(sentence="x" * 2000))
    assert path.name in before
    assert {each.name: each.read_bytes() for each in folder.iterdir() if each.is_file()} == before


def test_a_logarithm_is_drawn_as_the_quantity_itself(folder):
    text = page(folder)
    assert "clearance [mm]" in text
    assert "log m" not in text.split("What was run")[0]
    # exp of the mean, and of two deviations below and above.
    low, high = (0.2 * np.exp(side * 0.6 * 0.9**0.5) for side in (-1, 1))
    assert (
        f"the belief ends at 0.2 mm, two standard deviations from {low:.3g} to {high:.3g}" in text
    )
    assert "the truth is 0.15" in text
    assert "median distance of the belief&#x27;s mean from the truth, from 0.05 to 0.05 mm" in text


def test_forces_have_one_scale_and_cut_readings_are_told(tmp_path):
    drawn = Reader(page(make(tmp_path / "a", lambda task: 2.0 + task)))
    assert [w for w in drawn.pictures if "force up to 9 N" in w]
    whole = (tmp_path / "a" / "report.html").read_text()
    # The largest tick of every chart is the same: none is cut off at the first task's maximum.
    charts = [svg for svg in whole.split("<svg")[1:] if "contact force" in svg[:200]]
    ticks = [re.findall(r">([\d.]+)</text>", svg)[-1] for svg in charts]
    assert len(ticks) == 5
    assert len(set(ticks)) == 1
    assert "Readings end" not in whole
    assert "the largest that the robot itself reports is 33 N" in whole
    assert "Readings end at -20 to 20 N on each axis" in page(make(tmp_path / "b", lambda _: 20.0))


def test_tasks_that_show_adaptation_come_first_and_groups_take_turns(folder):
    tasks = by_task(read_lines(folder))
    stories = {task[0].task: kind(task) for task in tasks}
    assert stories == {0: KINDS[0], 1: KINDS[3], 2: KINDS[2], 3: KINDS[1], 7: KINDS[0]}
    order = [task[0].task for task in ranked([tasks])]
    assert order == [0, 7, 3, 2, 1]
    order = [task[0].task for task in ranked([tasks[:3], tasks[3:]])]
    assert order == [0, 7, 2, 3, 1]


def test_a_trial_without_named_factors_or_forces_still_has_a_page(folder, tmp_path):
    header = msgspec.structs.replace(
        HEADER,
        latent=Latent(2, [0.0, 0.0], [1.0, 1.0], 0, []),
        observation=(Field("volts", (3,), "V", -20.0, 20.0),),
    )
    bare = make(tmp_path / "bare", header=header)
    lines = (bare / "episodes.jsonl").read_bytes().split(b"\n")
    # The second line was cut off in the writing.
    (bare / "episodes.jsonl").write_bytes(lines[0] + b"\n" + lines[1][:50])
    assert report.main([f"folder={bare}"]) == 0
    assert (bare / "report.html").read_text().count("<svg") == 2


def test_more_events_than_are_listed_are_counted(folder, monkeypatch):
    monkeypatch.setattr(report, "EVENTS", 1)
    assert "1 more are in episodes.jsonl" in page(folder)


def test_pages_do_not_differ_from_run_to_run(folder):
    counter = count()
    one, two = (page(folder, out=str(folder / f"{next(counter)}.html")) for _ in range(2))
    assert one == two


def judged(path, header=HEADER):
    """Two tasks of two episodes that their return judges; a fall ends one of them."""
    returns = {0: (300.0, 350.0), 1: (200.0, 400.0)}
    with TrialWriter(path, header) as writer:
        for task, values in returns.items():
            for number, value in enumerate(values):
                reason = "fell" if value < 250 else "time is up"
                measures = {"return": value, "speed_error": 0.1 + number}
                outcome = Outcome(False, 4, 0.2, reason, measures, "return")
                writer.add(msgspec.structs.replace(episode(task, number, False), outcome=outcome))
    return path


def test_a_page_shows_what_judges_the_episodes_and_not_a_success_that_they_do_not_have(tmp_path):
    text = page(judged(tmp_path / "trial"))
    assert "<b>250 → 375</b>" in text
    assert "Return against adaptation" in text
    assert "1 × time is up, 1 × fell" in text
    assert "<td>1.1</td>" in text
    assert "Task 1: return 200 → 400" in text
    assert "with the greatest gain in return" in text
    assert "0 %" not in text
    body = text[text.index("<main>") : text.index("What was run")]
    assert "success" not in body.lower()


def test_a_changed_truth_is_drawn_from_its_change_on_and_only_where_an_episode_reached_it(folder):
    lines = read_lines(folder)[:2]
    changes = (Change(2, "moved", {"seat_x": 0.003}), Change(9, "never", {"seat_x": 9.0}))
    with Figures() as figures:
        svg = figures.belief(HEADER, lines, changes)[0]
        still = figures.belief(HEADER, lines)[0]
    assert "the truth is 1, then 3" in svg
    assert 'the truth is 1"' in still
    when, values = _truth(FACTORS[0], lines, [0, 4, 8], changes)
    assert when.tolist() == [0, 2, 4, 6, 8]
    assert values.tolist() == [0.001, 0.003, 0.001, 0.003, 0.003]


def test_sections_hold_tables_and_charts_that_are_told_in_words(folder):
    line = Line("adapting", (0.0, 1.0, 2.0), (0.5, None, 0.25))
    chart = Chart("speed error [m/s]", "time [s]", (line,), {"ice <patch>": 1.0})
    section = Section(
        "Tracking", "Why.", ("what", "adapting"), (("falls", "3"),), (chart,), "Mean."
    )
    write_about(folder, About(sections=(section,)))
    text = page(folder)
    assert "<h2>Tracking</h2>" in text
    assert "<td>falls</td><td>3</td>" in text
    assert "adapting: mean 0.375, at most 0.5. At 1: ice &lt;patch&gt;." in text

"""When a trial touches, and what its page says of it."""

import re
from pathlib import Path

import pytest

from adapt.prior import MeasuredPrior, MeasuredQuantity
from robot_bridge.errors import TrialError
from robot_bridge.protocol.messages import Outcome
from robot_bridge.protocol.probe_messages import ProbeReport
from robot_bridge.trial.folder import read_lines
from robot_bridge.trial.probing import PROBES, ProbeLine, found_rows, read_probes, write_probe
from robot_bridge.trial.report import ReportSettings, write_report
from robot_bridge.trial.runner import TrialSettings, play, run
from tests.robot_bridge.trial.test_report import make


def prior(mean):
    measured = [MeasuredQuantity("seat_x", "m", "linear", mean)]
    return MeasuredPrior("acclimate-prior-1", measured, [[0.0001**2]])


def sequence(wins, given=None, **settings):
    """What a trial does on each task: T touches, and attempts that succeed or fail (1 or 0); with
    the mean of the prior that an attempt starts from, where it has one."""
    trial = TrialSettings(tasks=len(wins), episodes=len(wins[0]), out=Path("none"), **settings)
    done, priors = [], given or {}

    def attempt(begin):
        won = wins[begin.task][begin.episode]
        assert begin.new_task == (begin.episode == 0)
        done.append((int(won), begin.prior.parameters[0].mean if begin.prior else None))
        return won

    def touch(task, episode):
        done.append(("T", task, episode))
        return prior(task + 0.5)

    play(trial, "arm", priors, attempt, touch)
    return done


def test_it_touches_once_after_the_first_failure_that_another_attempt_follows():
    wins = [(0, 0, 1), (1, 0, 0), (1, 1, 0), (1, 1, 1)]
    assert sequence(wins) == [(won, None) for task in wins for won in task]
    assert sequence(wins, probe="after_failure") == [
        *[(0, None), ("T", 0, 1), (0, 0.5), (1, None)],
        *[(1, None), (0, None), ("T", 1, 2), (0, 1.5)],
        *[(1, None), (1, None), (0, None)],
        *[(1, None)] * 3,
    ]
    first = sequence(wins[:2], probe="first")
    assert first[:3] == [("T", 0, 0), (0, 0.5), (0, None)]
    assert first[4:6] == [("T", 1, 0), (1, 1.5)]


def test_a_given_prior_holds_until_touches_say_more():
    given = {0: prior(9.0)}
    found = sequence([(0, 1)], given, probe="after_failure")
    assert found == [(0, 9.0), ("T", 0, 1), (1, 0.5)]


def test_two_priors_for_the_first_episode_are_refused(tmp_path):
    settings = TrialSettings(out=tmp_path / "t", probe="first", prior=tmp_path / "prior.json")
    with pytest.raises(TrialError, match=r"both probe=first and prior= are given"):
        run(settings)
    assert not (tmp_path / "t").exists()


def touched(folder, task, episode):
    report = ProbeReport(None, (), (), "", 4.0, 51.5)
    outcome = Outcome(False, 1030, 51.5, "probed", {"peak_force": 8.0})
    truth = {"seat_x": 0.001}
    write_probe(folder, ProbeLine(task, episode, report, outcome, truth, prior(0.0012), [0.1]))


def text(folder):
    written = write_report(ReportSettings(folder, beliefs=0, forces=0)).read_text()
    page = written.split("</style>", 1)[1]
    return " ".join(re.sub("<[^>]*>", " ", page).split()), page


def test_the_page_says_which_episode_was_preceded_by_touches_what_they_found_and_what_came_after(
    tmp_path,
):
    folder = make(tmp_path / "trial")
    before, _ = text(folder)
    assert "touched" not in before
    touched(folder, 0, 1)
    touched(folder, 2, 1)
    (one, two) = found_rows(read_probes(folder), read_lines(folder))
    assert (one.task, one.episode, one.before, one.after) == (0, 1, "failure", "success")
    assert (two.before, two.after) == ("failure", "failure")
    assert one.error == pytest.approx(2.0)
    words, page = text(folder)
    assert "On 2 of 5 tasks the robot touched" in words and "after an episode that failed" in words
    assert "It took 52 s a task, of the robot's own time, and at most 8.0 N" in words
    assert "0 failure success 51.50 s 8.0 N 0 seat x +1.20 ± 0.10 mm 2.0" in words
    # Of five tasks two had been touched before the second episode, none before the first.
    rows = re.findall(r"<tr><td>(\d)</td>.*?<td>(\d/5)</td></tr>", page, re.DOTALL)
    assert rows == [("0", "0/5"), ("1", "2/5")]
    assert page.count('title="touched before episode 1"') == 2


def test_the_page_of_a_trial_that_touched_first_says_so(tmp_path):
    folder = make(tmp_path / "trial")
    for task in (0, 1, 2, 3, 7):
        touched(folder, task, 0)
    words, _ = text(folder)
    assert "The policy starts from what touches told" in words
    assert "after an episode that failed" not in words


def test_a_damaged_file_of_probings_is_named(tmp_path):
    folder = make(tmp_path / "trial")
    touched(folder, 0, 1)
    data = (folder / PROBES).read_bytes()
    (folder / PROBES).write_bytes(data.replace(b'"episode"', b'"epizode"'))
    with pytest.raises(TrialError, match=r"probes\.jsonl: .*epi[sz]ode"):
        read_probes(folder)

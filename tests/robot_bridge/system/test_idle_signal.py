"""When the threads beside the loop may work: in the gaps that its answers leave."""

import threading
import time

import numpy as np
import pytest

from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.protocol.messages import Flag
from robot_bridge.recording import writer as recorder_module
from robot_bridge.recording.writer import McapRecorder
from robot_bridge.system.idle_signal import IdleSignal
from robot_bridge.telemetry.metrics import STRIDE, Metrics
from tests.robot_bridge.telemetry.test_observers import Connected
from tests.support import tiny_bundle
from tests.support.bridge.recorded import Motion, rows, wait_for


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return PolicyBundle.load(tiny_bundle.write(tmp_path_factory.mktemp("b") / "tiny", hold=3))


def test_a_gap_lets_one_wait_pass_however_often_it_was_opened():
    gap = IdleSignal()
    assert not gap.wait(0.0)
    gap.open()
    gap.open()
    assert gap.wait(0.0)
    assert not gap.wait(0.0)


def test_a_thread_that_waits_is_woken():
    gap, woken = IdleSignal(), threading.Event()
    thread = threading.Thread(target=lambda: woken.set() if gap.wait(30.0) else None)
    thread.start()
    gap.open()
    thread.join()
    assert woken.is_set()


def test_what_is_told_is_written_in_the_gap_and_not_before(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(recorder_module, "POLL", 3600.0)
    recorder = McapRecorder(tmp_path / "rec", bundle)
    written = []
    monkeypatch.setattr(recorder, "_write", lambda topic, number, _: written.append(number))
    Motion(bundle, recorder).episode(3)
    told = len(recorder._queue)
    time.sleep(0.05)
    assert told and not written
    recorder.gap()
    wait_for(lambda: len(written) == told)
    recorder.close()


def test_what_is_told_after_the_last_gap_is_written_when_it_closes(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(recorder_module, "POLL", 3600.0)
    recorder = McapRecorder(tmp_path / "rec", bundle)
    Motion(bundle, recorder).episode(3)
    recorder.close()
    assert rows(recorder.path, "/arm/step")


def test_metrics_are_taken_in_a_few_at_a_time(bundle):
    metrics = Metrics(0.002, fold=3600.0)
    robot = Connected(bundle, metrics)
    for step in range(STRIDE - 1):
        robot.observe(0.1, Flag.FIRST if not step else Flag(0))
        robot.peers.teach()
        robot.peers.rest()
    time.sleep(0.05)
    assert not metrics.read().stages["answer"].count
    robot.observe(0.1)
    robot.peers.teach()
    robot.peers.rest()
    wait_for(lambda: metrics.read().stages["answer"].count == STRIDE)
    metrics.close()
    assert metrics.read().stages["answer"].count == STRIDE


class Listening:
    """A tap with a thread of its own, so to speak. calls: what it was told, in order."""

    def __init__(self):
        self.calls = []
        self.learnt_on = []

    def step(self, record):
        self.calls.append("step")

    def adapted(self, record):
        self.calls.append("adapted")
        self.learnt_on.append(threading.current_thread())

    def event(self, record):
        pass

    def gap(self):
        self.calls.append("gap")

    def close(self):
        pass


def test_the_gap_begins_once_the_answers_are_out_and_the_lessons_handed_over(bundle):
    tap = Listening()
    robot = Connected(bundle, tap)
    robot.peers.teach()
    robot.peers.rest()
    assert tap.calls == []
    robot.observe(0.1, Flag.FIRST)
    robot.peers.rest()
    assert tap.calls == ["step"]
    robot.peers.teach()
    assert tap.calls == ["step"]
    robot.peers.rest()
    assert tap.calls == ["step", "gap"]
    robot.peers.rest()
    assert tap.calls == ["step", "gap"]


def test_a_robot_that_was_answered_often_waits_once_to_be_taught(bundle):
    tap = Listening()
    robot = Connected(bundle, tap)
    for step in range(5):
        robot.observe(0.1, Flag(0) if step else Flag.FIRST)
    robot.peers.teach(here=True)
    robot.peers.rest()
    assert tap.calls.count("gap") == 1


@pytest.mark.parametrize("here", [False, True])
def test_a_lesson_is_learnt_on_the_thread_that_was_asked_for(bundle, here):
    tap = Listening()
    robot = Connected(bundle, tap, simulated_time=False)
    for flag in (Flag.FIRST, Flag(0)):
        robot.observe(0.1, flag)
    robot.peers.teach(here)
    wait_for(lambda: tap.learnt_on)
    assert [thread is threading.current_thread() for thread in tap.learnt_on] == [here]
    robot.peers.dismiss("done")


def test_a_tap_that_fails_in_a_gap_is_told_nothing_more(bundle):
    class Broken(Listening):
        def gap(self):
            raise OSError("the disk is gone")

    broken, sound = Broken(), Listening()
    robot = Connected(bundle, broken, sound)
    for _ in range(2):
        robot.observe(float(np.float32(0.1)), Flag.FIRST)
        robot.peers.teach()
        robot.peers.rest()
    assert broken.calls == ["step"]
    assert sound.calls.count("gap") == 2
    assert any("Broken is no longer told" in text for text in robot.taps.problems())

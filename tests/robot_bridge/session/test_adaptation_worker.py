"""The worker that learns: bounded, never waited for, and nothing it raises gets out."""

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from adapt.errors import ContextError
from robot_bridge.session import adaptation_worker as module
from robot_bridge.session.adaptation_worker import AdaptationWorker

TRANSITION: Any = object()
SLOW: Any = object()


def learner(observe=lambda transition: None) -> Any:
    """In an adapter's place: `observe` does what it is told."""
    belief = SimpleNamespace(version=7)

    def learn(transition):
        observe(transition)
        return belief

    return SimpleNamespace(observe=learn, belief=belief)


def settle(adaptation):
    deadline = time.monotonic() + 30
    while not adaptation.settled:
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize("threaded", [False, True])
@pytest.mark.parametrize("error", [ContextError("a bad row"), MemoryError("out of memory")])
def test_an_error_in_learning_is_reported_and_the_worker_goes_on(threaded, error):
    learnt = []

    def observe(transition):
        learnt.append(transition)
        if len(learnt) == 1:
            raise error

    told = []
    adaptation = AdaptationWorker(threaded, robot="arm", told=told.append)
    adapter = learner(observe)
    adaptation.learn(adapter, TRANSITION)
    adaptation.learn(adapter, TRANSITION)
    settle(adaptation)
    assert len(learnt) == 2
    (problem,) = adaptation.problems()
    assert str(error) in problem
    # The worker settles before it tells its listener of the last one.
    adaptation.close()
    adaptation.join(30)
    assert [bool(record.problem) for record in told] == [True, False]
    assert {record.robot for record in told} == {"arm"}


def test_a_worker_that_hangs_delays_no_robot():
    go, begun = threading.Event(), threading.Event()

    def hang(transition):
        begun.set()
        assert go.wait(60)

    adaptation = AdaptationWorker(True, capacity=3)
    adapter = learner(hang)
    adaptation.learn(adapter, TRANSITION)
    assert begun.wait(30)
    for _ in range(5):
        adaptation.learn(adapter, TRANSITION)
    assert adaptation.problems() == ["adaptation is 3 transitions behind; one was dropped"] * 2
    assert not adaptation.settled
    # If it waited for the worker, which is still blocked, this would never return.
    adaptation.close()
    adaptation.join(0.0)
    go.set()
    adaptation.join(30)
    assert adaptation.settled


def test_workers_take_turns_and_go_on_without_one_that_hangs():
    go, begun = threading.Event(), threading.Event()
    learning, most = [], []

    def hang(transition):
        begun.set()
        assert go.wait(60)

    def observe(transition):
        learning.append(transition)
        most.append(len(learning))
        time.sleep(1e-3)
        learning.pop()

    hanging, others = AdaptationWorker(True), [AdaptationWorker(True) for _ in range(3)]
    hanging.learn(learner(hang), TRANSITION)
    assert begun.wait(30)
    for other in others * 20:
        other.learn(learner(observe), TRANSITION)
    for other in others:
        settle(other)
    assert len(most) == 60 and set(most) == {1}
    assert not hanging.settled
    go.set()
    for each in (hanging, *others):
        settle(each)
        each.close()
        each.join(30)


def test_every_new_belief_is_judged_where_it_was_learnt():
    judged = []

    def note(belief):
        judged.append((belief, threading.current_thread()))

    adaptation, adapter = AdaptationWorker(True, learnt=note), learner()
    adaptation.learn(adapter, TRANSITION)
    settle(adaptation)
    ((belief, thread),) = judged
    assert belief is adapter.belief and thread is not threading.current_thread()
    adaptation.close()
    adaptation.join(30)


def test_a_lesson_is_learnt_here_where_nothing_waits_and_lessons_are_short():
    threads, release = [], threading.Event()

    def observe(transition):
        threads.append(threading.current_thread())
        if transition is SLOW:
            release.wait(30)

    adaptation, adapter = AdaptationWorker(threaded=True), learner(observe)
    main = threading.current_thread()
    adaptation.learn(adapter, TRANSITION, here=True)
    assert threads == [main]
    # In their order: what comes after one that the worker still has is the worker's, too.
    adaptation.learn(adapter, SLOW)
    adaptation.learn(adapter, TRANSITION, here=True)
    release.set()
    settle(adaptation)
    assert main not in threads[1:] and len(threads) == 3
    adaptation.close()
    adaptation.join(30)


def test_lessons_that_are_usually_long_are_the_workers_and_tried_again(monkeypatch):
    monkeypatch.setattr(module, "AWAY", 50)
    threads = []

    def observe(transition):
        threads.append(threading.current_thread())
        time.sleep(1e-3)

    adaptation, adapter = AdaptationWorker(threaded=True), learner(observe)
    main = threading.current_thread()
    for _ in range(150):
        adaptation.learn(adapter, TRANSITION, here=True)
        settle(adaptation)
    here = [thread is main for thread in threads]
    # One long lesson is nothing, 45 are: (63/64)^45 < 1/2.
    assert here == [True] * 45 + [False] * 50 + [True] * 45 + [False] * 10
    adaptation.close()
    adaptation.join(30)

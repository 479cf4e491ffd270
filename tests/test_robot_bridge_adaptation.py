"""The worker that learns: bounded, never waited for, and nothing it raises gets out."""

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from adapt.errors import ContextError
from robot_bridge.adaptation import Adaptation

TRANSITION: Any = object()


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
def test_whatever_learning_raises_is_told_and_it_goes_on(threaded, error):
    learnt = []

    def observe(transition):
        learnt.append(transition)
        if len(learnt) == 1:
            raise error

    told = []
    adaptation = Adaptation(threaded, robot="arm", told=told.append)
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


def test_one_that_hangs_keeps_nobody_waiting():
    go, begun = threading.Event(), threading.Event()

    def hang(transition):
        begun.set()
        assert go.wait(60)

    adaptation = Adaptation(True, capacity=3)
    adapter = learner(hang)
    adaptation.learn(adapter, TRANSITION)
    assert begun.wait(30)
    for _ in range(5):
        adaptation.learn(adapter, TRANSITION)
    assert adaptation.problems() == ["adaptation is 3 transitions behind; one was dropped"] * 2
    assert not adaptation.settled
    # Were it to wait for the worker, this would never return: nobody has let it go.
    adaptation.close()
    adaptation.join(0.0)
    go.set()
    adaptation.join(30)
    assert adaptation.settled

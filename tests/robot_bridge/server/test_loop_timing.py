"""When the loop sleeps and when it spins, on a clock of the test's own."""

import gc

import pytest

from robot_bridge.server.loop_timing import (
    BUSY,
    IDLE_MS,
    OWED_MS,
    QUIET,
    SETTLING_MS,
    SPIN,
    TEND,
    LoopTiming,
)
from robot_bridge.system.systemd import Service


class Clock:
    def __init__(self):
        self.time = 100.0

    def __call__(self):
        return self.time


class Listening(Service):
    def __init__(self):
        super().__init__()
        self.heard = 0

    def alive(self):
        self.heard += 1


@pytest.fixture
def clock():
    return Clock()


def test_a_loop_that_does_not_spin_always_sleeps(clock):
    rhythm = LoopTiming(now=clock)
    assert rhythm.turn(heard=True)
    assert rhythm.wait_ms(settling=False) == IDLE_MS
    assert rhythm.wait_ms(settling=True) == SETTLING_MS
    assert rhythm.turn(heard=False)


def test_a_polling_loop_sleeps_again_without_frames(clock):
    rhythm = LoopTiming(spins=True, now=clock)
    assert rhythm.wait_ms(settling=False) == IDLE_MS
    rhythm.turn(heard=True)
    clock.time += 0.9 * SPIN
    assert rhythm.wait_ms(settling=True) == 0
    rhythm.turn(heard=True)
    clock.time += 0.9 * SPIN
    assert rhythm.wait_ms(settling=False) == 0
    clock.time += 0.2 * SPIN
    assert rhythm.wait_ms(settling=False) == IDLE_MS


def test_other_duties_come_after_an_answer_and_every_so_often(clock):
    rhythm = LoopTiming(spins=True, now=clock)
    rhythm.turn(heard=True)
    turns = []
    for _ in range(100):
        clock.time += TEND / 10
        rhythm.wait_ms(settling=False)
        turns.append(rhythm.turn(heard=False))
    assert 8 <= sum(turns) <= 11
    clock.time += BUSY
    rhythm.wait_ms(settling=False)
    assert rhythm.turn(heard=True)


@pytest.mark.parametrize("spins", [False, True])
def test_with_frames_all_the_time_other_duties_come_every_few_milliseconds(clock, spins):
    rhythm = LoopTiming(spins=spins, now=clock)
    turns = []
    for _ in range(100):
        clock.time += BUSY / 10
        turns.append(rhythm.turn(heard=True))
    assert 8 <= sum(turns) <= 11


def test_duties_that_were_left_for_later_shorten_the_sleep(clock):
    rhythm = LoopTiming(now=clock)
    assert rhythm.turn(heard=True)
    assert rhythm.wait_ms(settling=False) == IDLE_MS
    assert not rhythm.turn(heard=True)
    assert rhythm.wait_ms(settling=False) == OWED_MS
    clock.time += OWED_MS / 1000
    assert rhythm.turn(heard=False)
    assert rhythm.wait_ms(settling=False) == IDLE_MS


def test_workers_begin_once_the_answers_have_arrived(clock):
    assert LoopTiming(now=clock).quiet(heard=True)
    rhythm = LoopTiming(spins=True, now=clock)
    assert not rhythm.quiet(heard=True)
    clock.time += 0.6 * QUIET
    assert not rhythm.quiet(heard=True)
    clock.time += 0.6 * QUIET
    assert not rhythm.quiet(heard=False)
    clock.time += 0.6 * QUIET
    assert rhythm.quiet(heard=False)


def test_systemd_hears_of_every_turn_and_the_collector_rests_within(clock):
    service = Listening()
    with LoopTiming(service=service, now=clock) as rhythm:
        assert not gc.isenabled()
        for _ in range(3):
            rhythm.turn(heard=False)
    assert gc.isenabled()
    assert service.heard == 3

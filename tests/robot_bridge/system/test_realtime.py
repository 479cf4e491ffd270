"""Real-time settings of a loop, tested on threads that end, so that the settings end too."""

import contextlib
import gc
import os
import resource
import subprocess
import sys
import threading

import pytest

from robot_bridge.errors import BridgeError
from robot_bridge.system import host_info as machine
from robot_bridge.system import realtime


def on_a_thread(call):
    """The result of call, or what it raised, on a thread of its own."""
    found = []

    def work():
        try:
            found.append(call())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found[0]


@pytest.fixture(autouse=True)
def unpinned(monkeypatch):
    """Frees after the test what it reserved, for every thread."""
    monkeypatch.setattr(realtime, "_others", set())
    monkeypatch.setattr(realtime, "_behind", 0)
    cores = os.sched_getaffinity(0)
    yield
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setaffinity(int(thread), cores)


def test_a_pinned_loop_and_its_workers_keep_apart():
    cores = os.sched_getaffinity(0)
    core = min(cores)

    def loop():
        realtime.reserve(core)
        before = on_a_thread(lambda: os.sched_getaffinity(0))
        realtime.occupy(core)
        after = on_a_thread(lambda: os.sched_getaffinity(0))
        return before, os.sched_getaffinity(0), after, on_a_thread(roamed)

    older = threading.Event()
    waiting = threading.Thread(target=older.wait, daemon=True)
    waiting.start()

    def roamed():
        realtime.roam()
        return os.sched_getaffinity(0)

    assert on_a_thread(roamed) == cores
    # On a machine with one core there is nowhere else to go.
    others = cores - {core} or cores
    assert on_a_thread(loop) == (others, {core}, {core}, cores - {core} or {core})
    # Threads that were there before keep off it, too.
    assert os.sched_getaffinity(waiting.native_id or 0) == others
    older.set()
    waiting.join()


def test_a_core_that_is_not_there_is_named():
    error = on_a_thread(lambda: realtime.reserve(4095))
    assert isinstance(error, BridgeError)
    assert "core=4095: this process may run on " in str(error)


def test_the_loop_is_one_ahead_of_its_threads_or_refused_by_name():
    def mine():
        return os.sched_getscheduler(0), os.sched_getparam(0).sched_priority

    def roamed():
        realtime.roam()
        return mine()

    def loop():
        realtime.prioritise(7)
        before = on_a_thread(mine)
        realtime.lead(7)
        return before, mine(), on_a_thread(roamed)

    found = on_a_thread(loop)
    if machine.realtime_priority():
        fifo = os.SCHED_FIFO
        assert found == ((fifo, 6), (fifo, 7), (fifo, 6))
    else:
        assert isinstance(found, BridgeError)
        assert "LimitRTPRIO=7" in str(found)


def test_what_the_kernel_refuses_is_named(monkeypatch):
    def refuse(*arguments):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with pytest.raises(BridgeError, match=r"priority=70: SCHED_FIFO needs RLIMIT_RTPRIO of 70"):
        realtime.prioritise(70)


def test_memory_that_may_not_be_locked_is_named(tmp_path):
    # In a process of its own: what is locked stays locked.
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))\n"
        "import ctypes, os\n"
        "from robot_bridge.system import host_info, realtime\n"
        "libc = ctypes.CDLL(None)\n"
        "if host_info.lockable_memory() is None: os.setuid(65534)\n"
        "try: realtime.lock_memory()\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert "BridgeError lock_memory=true: " in answer.stdout, answer.stderr
    assert "LimitMEMLOCK=infinity" in answer.stdout
    assert resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] != 0


class Cycle:
    alive = 0

    def __init__(self):
        self.me = self
        Cycle.alive += 1

    def __del__(self):
        Cycle.alive -= 1


@pytest.fixture
def collector():
    collector = realtime.Collector()
    collector.start()
    yield collector
    collector.stop()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_garbage_goes_in_the_gaps_and_only_there(collector):
    assert not gc.isenabled()
    before = Cycle.alive
    for _ in range(collector.YOUNG // 2):
        Cycle()
    collector.gap(idle=False)
    assert Cycle.alive > before  # too few to be worth a look
    for _ in range(2 * collector.YOUNG):
        Cycle()
    assert Cycle.alive - before > 2 * collector.YOUNG
    collector.gap(idle=False)
    assert Cycle.alive == before


def test_an_idle_loop_looks_at_everything_now_and_then(collector, monkeypatch):
    now = [collector._full_due - 1]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    before = Cycle.alive
    Cycle()
    collector.gap(idle=True)
    assert Cycle.alive == before + 1
    now[0] += 2
    collector.gap(idle=True)
    assert Cycle.alive == before


def test_a_worker_may_hold_the_interpreter_for_less_than_a_tenth_of_a_period_at_1_khz(collector):
    assert sys.getswitchinterval() < 1e-4


def test_the_interval_is_given_back():
    interval = sys.getswitchinterval()
    collector = realtime.Collector()
    collector.start()
    collector.stop()
    assert sys.getswitchinterval() == interval

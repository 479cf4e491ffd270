"""What a loop asks of the system to be on time: a core, a priority, memory that stays, no pauses.

Each of them either holds afterwards or raises, naming what is missing. Linux.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import time

from robot_bridge.errors import BridgeError

# A thread that wants the interpreter gets it after so long at the latest; the default of 5 ms
# would let a worker keep the loop from answering for five periods of a 1 kHz robot [s].
SWITCH_INTERVAL = 50e-6

_MCL_CURRENT, _MCL_FUTURE = 1, 2  # sys/mman.h

# Where threads run that are not the loop, once a core is reserved for that.
_others: set[int] = set()
# The priority of every thread but the loop; 0 for an ordinary one.
_behind = 0


def reserve(core: int) -> None:
    """Keep a core free for the loop: every thread of this process, and every one that this thread
    starts from now on, runs on the others, libzmq's own among them; on the core of a loop that
    spins they would hardly run. So does this thread until it calls `occupy`.

    Raises BridgeError naming the cores there are.
    """
    allowed = os.sched_getaffinity(0)
    if core not in allowed:
        there = ", ".join(map(str, sorted(allowed)))
        raise BridgeError(
            f"core={core}: this process may run on {there} alone; widen CPUAffinity= of its "
            "service, or its container's set of cores, or choose among these"
        )
    _others.clear()
    _others.update(allowed - {core})
    for thread in os.listdir("/proc/self/task"):
        try:
            os.sched_setaffinity(int(thread), _others or allowed)
        except ProcessLookupError:  # it has ended meanwhile
            continue


def occupy(core: int) -> None:
    """Run the calling thread on its reserved core alone. Threads that it starts inherit that."""
    os.sched_setaffinity(0, {core})


def roam() -> None:
    """A worker's first call: off the core of the loop that started it, where there is another, and
    behind it in priority."""
    if _others:
        os.sched_setaffinity(0, _others)
    if _behind:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_behind))


def prioritise(priority: int) -> None:
    """Put the calling thread, and every one that it starts from now on, under SCHED_FIFO, one below
    `priority`, which `lead` then takes. A worker that held the interpreter as an ordinary thread
    could be put aside for any other program, and the loop would wait for both.

    priority: 1 to 99. Raises BridgeError naming the right that is missing.
    """
    global _behind
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
        _behind = max(1, priority - 1)
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_behind))
    except PermissionError:
        raise BridgeError(
            f"priority={priority}: SCHED_FIFO needs RLIMIT_RTPRIO of {priority} or CAP_SYS_NICE; "
            f"give LimitRTPRIO={priority} in the service, `rtprio {priority}` in "
            "/etc/security/limits.d, or priority=0"
        ) from None
    except OSError as error:
        raise BridgeError(f"priority={priority}: {error.strerror}; expected 1 to 99") from None


def lead(priority: int) -> None:
    """Put the calling thread ahead of the others; after `prioritise`."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))


def lock_memory() -> None:
    """Keep every page, present and future, in memory: a page fault can cost milliseconds.

    Raises BridgeError naming the right that is missing.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE):
        text = os.strerror(ctypes.get_errno())
        raise BridgeError(
            f"lock_memory=true: {text}; it needs RLIMIT_MEMLOCK without a limit or CAP_IPC_LOCK: "
            "give LimitMEMLOCK=infinity in the service, or lock_memory=false"
        )


class Collector:
    """Python's cycle collector, at times of the loop's choosing.

    From `start` to `stop` it runs only within `gap`, which the loop calls when its answers are out.
    """

    YOUNG = 2_000  # new containers before a look at them, which then costs some 0.1 ms
    OLDER = 10  # looks at the young before one at the middle-aged, and so on
    FULL = 60.0  # between full collections, which only an idle loop makes [s]

    def __init__(self) -> None:
        self._looks = 0
        self._full_due = 0.0
        self._interval = sys.getswitchinterval()

    def start(self) -> None:
        """What is alive now stays alive and is never looked at again."""
        gc.collect()
        gc.freeze()
        gc.disable()
        sys.setswitchinterval(SWITCH_INTERVAL)
        self._full_due = time.monotonic() + self.FULL

    def gap(self, idle: bool) -> None:
        """A gap between two answers. idle: nothing has come for a while."""
        if idle:
            now = time.monotonic()
            if now >= self._full_due:
                self._full_due = now + self.FULL
                gc.collect()
            return
        if gc.get_count()[0] < self.YOUNG:
            return
        self._looks += 1
        older, oldest = self._looks % self.OLDER == 0, self._looks % self.OLDER**2 == 0
        gc.collect(2 if oldest else 1 if older else 0)

    def stop(self) -> None:
        """Back to Python's own ways."""
        sys.setswitchinterval(self._interval)
        gc.enable()
        gc.unfreeze()

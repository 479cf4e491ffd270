"""Makes a loop punctual: a core of its own, a priority, locked memory, no garbage collector pauses.

Each function succeeds or raises, naming the right that is missing. Linux.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import time

from robot_bridge.errors import BridgeError

# The longest that a thread waits for the interpreter's lock; with the default of 5 ms a worker
# could delay the loop by five periods of a 1 kHz robot [s].
SWITCH_INTERVAL = 50e-6

_MCL_CURRENT, _MCL_FUTURE = 1, 2  # sys/mman.h

# Where threads run that are not the loop, once a core is reserved for that.
_others: set[int] = set()
# The priority of every thread but the loop; 0 for an ordinary one.
_behind = 0


def reserve(core: int) -> None:
    """Keep a core free for the loop: all threads of this process (libzmq's too), and those that
    this thread starts from now on, run on the other cores; beside a loop that spins they would
    hardly run. This thread does so too, until it calls `occupy`.

    Raises BridgeError naming the cores that exist.
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
    """Call first in a worker: it leaves the loop's core, where there is another, and takes the
    priority below the loop's."""
    if _others:
        os.sched_setaffinity(0, _others)
    if _behind:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_behind))


def prioritise(priority: int) -> None:
    """Put the calling thread, and those that it starts from now on, under SCHED_FIFO, one below
    `priority`; `lead` then takes `priority`. An ordinary worker that holds the interpreter's lock
    could be preempted by any other program, and the loop would wait for both.

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
    """Runs Python's cycle collector only when the loop allows it.

    From `start` to `stop` it runs within `gap` alone, which the loop calls after its answers.
    """

    YOUNG = 2_000  # new containers before a look at them, which then costs some 0.1 ms
    OLDER = 10  # looks at the young before one at the middle-aged, and so on
    FULL = 60.0  # between full collections, which only an idle loop makes [s]

    def __init__(self) -> None:
        self._looks = 0
        self._full_due = 0.0
        self._interval = sys.getswitchinterval()

    def start(self) -> None:
        """Exempt all objects that exist now from collection, and stop automatic collection."""
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
        """Restore Python's own collection."""
        sys.setswitchinterval(self._interval)
        gc.enable()
        gc.unfreeze()

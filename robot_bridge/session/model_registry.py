"""Models: the bundle that serves, the one that waits beside it, and the one it took over from."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path

from adapt.bundle.fields import ActionField
from adapt.bundle.manifest import Manifest
from adapt.bundle.policy_bundle import PolicyBundle
from adapt.errors import AcclimateError
from robot_bridge.errors import CodecError, LimitError, ModelError, described
from robot_bridge.protocol.handshake import check_served, differences, specs
from robot_bridge.protocol.messages import Hello
from robot_bridge.safety.limits import Limits

# Of the thread that loads, more than the loop's: the loop and the workers come first.
NICENESS = 10


class ModelRegistry:
    """open_bundle: reads and verifies a bundle as the bridge's own was. Loop's thread only."""

    def __init__(self, served: PolicyBundle, open_bundle: Callable[[Path], PolicyBundle]) -> None:
        self.served = served
        self.candidate: PolicyBundle | None = None
        self.previous: PolicyBundle | None = None
        self._open = open_bundle
        self._loading: Path | None = None
        self._results: queue.SimpleQueue[PolicyBundle | str] = queue.SimpleQueue()

    @property
    def loading(self) -> str:
        """The path being loaded; "" when there is none."""
        return str(self._loading or "")

    def load(self, path: Path) -> None:
        """Begin to load and verify a bundle beside the one that serves; see `finished`.

        Raises ModelError while another is being loaded.
        """
        if self._loading is not None:
            raise ModelError(f"{self._loading} is still being loaded; one at a time")
        self._loading = path
        threading.Thread(target=self._work, args=(path,), name="model", daemon=True).start()

    def finished(self) -> tuple[bool, str] | None:
        """Whether what was loaded may serve, and its digest or why not; None while it is not done.

        A bundle that may serve is the candidate from then on.
        """
        if self._results.empty():
            return None
        self._loading = None
        result = self._results.get()
        if isinstance(result, str):
            return False, result
        # First: a manifest that fits a frame is small enough to be compared on the loop's thread.
        try:
            check_served(result)
        except CodecError as error:
            return False, str(error)
        problems = misfits(self.served.manifest, result.manifest)
        if problems:
            return False, f"{result.manifest.name} does not fit: {'; '.join(problems)}"
        self.candidate = result
        return True, result.digest

    def swap(self) -> PolicyBundle:
        """The candidate serves from now on. Raises ModelError without one."""
        if self.candidate is None:
            raise ModelError("no model is loaded; `acclimate model load path=...` comes first")
        self.previous, self.served, self.candidate = self.served, self.candidate, None
        return self.served

    def rollback(self) -> PolicyBundle:
        """The model before serves again, and the one that it replaces waits as the candidate.
        Raises ModelError where there was none."""
        if self.previous is None:
            raise ModelError("there is no model to go back to; nothing was swapped")
        self.candidate, self.served, self.previous = self.served, self.previous, None
        return self.served

    def _work(self, path: Path) -> None:
        # On Linux this is the thread's own niceness, and every user may raise it.
        thread = threading.get_native_id()
        nicer = os.getpriority(os.PRIO_PROCESS, thread) + NICENESS
        os.setpriority(os.PRIO_PROCESS, thread, min(nicer, 19))
        try:
            self._results.put(self._open(path))
        except AcclimateError as error:
            self._results.put(str(error))
        # Any fault: the operator waits for a result.
        except Exception as error:
            self._results.put(f"{path}: {described(error)}")


def _mapping(field: ActionField) -> str:
    """How a normalised action becomes a command; other text for any other numbers."""
    return f"range {field.low} to {field.high}, scale {field.scale}, offset {field.offset}"


def misfits(served: Manifest, other: Manifest) -> list[str]:
    """Why robots that fit one bundle do not fit the other; empty when they do."""
    driver = Hello(
        "robot",
        "served",
        "",
        specs(served.observation),
        specs(served.action),
        served.control_period,
    )
    # In the words that a robot with the served bundle's fields would get.
    found = differences(other, "", driver)
    if found:
        return found
    for one, new in zip(served.action, other.action, strict=True):
        if _mapping(one) != _mapping(new):
            # A command is learnt from by the mapping of the bundle that gave it.
            found.append(f"action field {one.name!r}: {_mapping(one)}; found {_mapping(new)}")
    if served.synchronous != other.synchronous:
        # A robot's worker is there from its first episode on, or never.
        found.append(f"synchronous is {other.synchronous}, and {served.synchronous} serves")
    try:
        Limits(other.observation, other.action, other.limits, other.control_period)
    except LimitError as error:
        found.append(str(error))
    return found

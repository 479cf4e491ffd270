"""A bridge, a simulated robot and trials on it, as one command runs them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from adapt.errors import AcclimateError
from robot_bridge.errors import BridgeError
from robot_bridge.trial.folder import EpisodeLine, read_lines
from robot_bridge.trial.runner import Probing, TrialSettings, run_with_progress
from sim.core.parameter import Split
from sim.twin.child_processes import Children, Signals

START = 60.0
"""For bridge and robot to appear [s]."""


@dataclass(frozen=True)
class Stage:
    """A bridge that serves one bundle, for as long as the context of `stage` lasts.

    scratch: folder for its own files. takes: where the twin leaves each episode's motion.
    """

    scratch: Path
    takes: Path
    children: Children

    @property
    def endpoint(self) -> str:
        return f"ipc://{self.scratch}/bridge.ipc"

    def twin(self, groups: dict[Split, int], *words: str) -> None:
        """Start `acclimate twin` with these tasks and further words."""
        self.children.start(
            "twin",
            f"endpoint={self.endpoint}",
            f"takes={self.takes}",
            f"wait={START:g}",
            *words,
            *(f"groups.{split}={number}" for split, number in groups.items()),
        )

    def trial(
        self,
        out: Path,
        tasks: int,
        episodes: int,
        seed: int,
        console: Console,
        adapting: bool = True,
        probe: Probing = "never",
    ) -> list[EpisodeLine]:
        """Run a trial on the twin; returns its episodes. Raises AcclimateError with what the
        processes said last."""
        settings = TrialSettings(
            endpoint=self.endpoint,
            out=out,
            tasks=tasks,
            episodes=episodes,
            seed=seed,
            adapting=adapting,
            probe=probe,
            overwrite=True,
            wait=START,
        )
        try:
            run_with_progress(settings, console)
        except BridgeError as error:
            raise AcclimateError(f"{error}{self.children.last_words()}") from error
        return read_lines(out)


@contextmanager
def stage(bundle: Path, signals: Signals, *words: str) -> Iterator[Stage]:
    """A running bridge; nothing that was started here outlives the context. words: further ones of
    `acclimate bridge`."""
    with tempfile.TemporaryDirectory(prefix="acclimate-") as folder:
        scratch = Path(folder)
        with Children(scratch, signals) as children:
            found = Stage(scratch, scratch / "takes", children)
            children.start("bridge", f"bundle={bundle}", f"endpoint={found.endpoint}", *words)
            yield found

"""A trial of a bundle on a twin: bridge and twin are processes of their own."""

from __future__ import annotations

from pathlib import Path

from robot_bridge.trial.folder import EpisodeLine, read_lines
from robot_bridge.trial.runner import TrialSettings, run
from sim.twin.child_processes import Children, Signals

SECONDS = "60"


def trial_on_a_twin(bundle: Path, scratch: Path, tasks: int, *words: str) -> list[EpisodeLine]:
    """Two episodes on each of so many tasks. words: of `acclimate twin`."""
    endpoint = f"ipc://{scratch}/bridge.ipc"
    out = scratch / "trial"
    with Signals() as signals, Children(scratch, signals) as children:
        children.start("bridge", f"bundle={bundle}", f"endpoint={endpoint}")
        children.start("twin", f"endpoint={endpoint}", f"wait={SECONDS}", *words)
        settings = TrialSettings(
            endpoint=endpoint, out=out, tasks=tasks, episodes=2, wait=float(SECONDS)
        )
        try:
            run(settings, lambda record: None)
        except Exception as error:
            raise AssertionError(f"{error}{children.last_words()}") from error
    return read_lines(out)

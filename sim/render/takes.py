"""A take: how one simulated episode moved, kept so that it can be filmed afterwards."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from adapt.errors import AcclimateError


@dataclass(frozen=True)
class Take:
    """One episode of one robot.

    family: its name, as `sim.core.family` finds it. body: which of the family's. task: values
    (n_p,) of its task. period: between frames [s]. joints: joint positions (T, n_q) of the scene's
    model. gauge: the family's gauge (T,), see `Embodiment`. success: whether the episode succeeded.
    """

    family: str
    body: str
    task: np.ndarray
    period: float
    joints: np.ndarray
    gauge: np.ndarray
    success: bool

    def save(self, folder: Path, task: int, episode: int) -> Path:
        """Write as TASK-EPISODE.npz; returns the path. Raises AcclimateError naming it."""
        path = take_path(folder, task, episode)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            np.savez(path, allow_pickle=False, **asdict(self))
        except OSError as error:
            raise AcclimateError(f"{path}: {error.strerror or error}") from error
        return path

    @staticmethod
    def load(path: Path) -> Take:
        """Raises AcclimateError naming the file and what is wrong with it."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                return Take(
                    str(stored["family"]),
                    str(stored["body"]),
                    stored["task"],
                    float(stored["period"]),
                    stored["joints"],
                    stored["gauge"],
                    bool(stored["success"]),
                )
        except (OSError, ValueError, KeyError) as error:
            raise AcclimateError(f"{path}: no take of an episode: {error}") from error


def take_path(folder: Path, task: int, episode: int) -> Path:
    """Where the take of a task's episode lies."""
    return folder / f"{task:04d}-{episode:02d}.npz"

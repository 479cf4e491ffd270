"""A take: how one simulated episode moved, kept so that it can be filmed afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from adapt.errors import AcclimateError

BodyName = Literal["arm", "wrist"]


@dataclass(frozen=True)
class Take:
    """One episode of one body.

    body: which robot. task: values (n_p,) of its task. period: between frames [s].
    joints: joint positions (T, n_q) of the body's model. force: contact force (T,) [N].
    success: whether the plug went home.
    """

    body: BodyName
    task: np.ndarray
    period: float
    joints: np.ndarray
    force: np.ndarray
    success: bool

    def save(self, folder: Path, task: int, episode: int) -> Path:
        """Write as TASK-EPISODE.npz; returns the path. Raises AcclimateError naming it."""
        path = take_path(folder, task, episode)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            np.savez(
                path,
                allow_pickle=False,
                body=self.body,
                task=self.task,
                period=self.period,
                joints=self.joints,
                force=self.force,
                success=self.success,
            )
        except OSError as error:
            raise AcclimateError(f"{path}: {error.strerror or error}") from error
        return path

    @staticmethod
    def load(path: Path) -> Take:
        """Raises AcclimateError naming the file and what is wrong with it."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                body = str(stored["body"])
                if body not in get_args(BodyName):
                    raise ValueError(f"no body {body!r}; there are {list(get_args(BodyName))}")
                return Take(
                    "arm" if body == "arm" else "wrist",
                    stored["task"],
                    float(stored["period"]),
                    stored["joints"],
                    stored["force"],
                    bool(stored["success"]),
                )
        except (OSError, ValueError, KeyError) as error:
            raise AcclimateError(f"{path}: no take of an episode: {error}") from error


def take_path(folder: Path, task: int, episode: int) -> Path:
    return folder / f"{task:04d}-{episode:02d}.npz"

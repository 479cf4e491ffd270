"""A run's metrics as TensorBoard's curves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from policies.algorithms.contract import Metrics
from policies.training.files import output_error


class Curves:
    """Writes metrics into a folder; what it holds beyond iteration `after` is hidden.

    All methods raise OutputError where the disk is full or cannot be written.
    """

    def __init__(self, folder: Path, after: int) -> None:
        self._folder = folder
        with self._told():
            self._writer = SummaryWriter(str(folder), purge_step=after + 1)

    def add(self, metrics: Metrics, iteration: int) -> None:
        with self._told():
            for name, value in metrics.items():
                self._writer.add_scalar(name, value, iteration)

    def close(self) -> None:
        with self._told():
            self._writer.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise output_error(self._folder, error) from error

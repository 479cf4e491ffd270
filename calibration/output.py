"""What a calibration leaves behind: a task space to train in, and a prior to adapt from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import yaml

from adapt.atomic_file import write_atomically
from adapt.prior import PRIOR_FORMAT, MeasuredPrior, MeasuredQuantity
from calibration.parameters import WIDTH
from calibration.posterior import Posterior
from calibration.recording import CalibrationError
from sim.core.measured import Measured
from sim.core.parameter import Parameter
from sim.core.task_space import TaskSpace


def measured_space(
    name: str, posteriors: Sequence[Posterior], provenance: dict[str, str]
) -> TaskSpace:
    """All reported quantities of independent blocks. A range is `WIDTH` standard deviations of the
    quantity's prior; what was not measured is drawn from that prior."""
    parameters: list[Parameter] = []
    means: list[float] = []
    for found in posteriors:
        priors = found.priors
        ends = priors.to_physical(np.outer([-WIDTH, WIDTH], np.ones(len(priors))))
        means += (priors.center + found.mean * priors.std)[_reported(found)].tolist()
        for i in _reported(found):
            p = priors.items[i]
            low, high = ends[:, i].tolist()
            parameters.append(Parameter(p.name, p.unit, low, high, p.scale, p.mean))
    names = tuple(p.name for p in parameters)
    rows = tuple(tuple(row) for row in _covariance(posteriors).tolist())
    return TaskSpace(
        name, tuple(parameters), provenance, measured=Measured(names, tuple(means), rows)
    )


def prior_file(space: TaskSpace, posteriors: Sequence[Posterior]) -> MeasuredPrior:
    """The same distribution with intervals, and what was measured of it."""
    measured = space.measured
    if measured is None:
        raise ValueError("the space was not measured")
    entries = []
    means = iter(measured.mean)
    for found in posteriors:
        for i in _reported(found):
            p = found.priors.items[i]
            told = bool(found.identified[i])
            entries.append(
                MeasuredQuantity(p.name, p.unit, p.scale, next(means), *found.interval(i), told)
            )
    covariance = [list(row) for row in measured.covariance]
    return MeasuredPrior(PRIOR_FORMAT, entries, covariance, dict(space.provenance))


def space_text(space: TaskSpace) -> str:
    """YAML."""
    return yaml.safe_dump(space.to_dict(), sort_keys=False, allow_unicode=True)


def prior_text(prior: MeasuredPrior) -> str:
    """JSON."""
    return msgspec.json.format(msgspec.json.encode(prior)).decode()


def make_folder(folder: Path) -> None:
    """Raises CalibrationError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CalibrationError(f"{folder}: {error.strerror or error}") from error


def write_together(folder: Path, files: Mapping[str, str]) -> None:
    """All files or none, each whole. Raises CalibrationError; what this call had written is then
    gone, and with it a folder that holds nothing else."""
    done: list[Path] = []
    try:
        for name, text in files.items():
            write_atomically(folder / name, text.encode())
            done.append(folder / name)
    except BaseException as error:
        for path in done:
            path.unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()
        if isinstance(error, OSError):
            name = list(files)[len(done)]
            raise CalibrationError(f"{folder / name}: {error.strerror or error}") from error
        raise


def _reported(found: Posterior) -> np.ndarray:
    return np.flatnonzero([not p.nuisance for p in found.priors.items])


def _covariance(posteriors: Sequence[Posterior]) -> np.ndarray:
    """Of all reported quantities, in the coordinates in which they are normal; blocks are
    independent of each other."""
    blocks = []
    for found in posteriors:
        at = _reported(found)
        std = found.priors.std[at]
        blocks.append(found.reported[np.ix_(at, at)] * np.outer(std, std))
    size = sum(len(b) for b in blocks)
    whole = np.zeros((size, size))
    start = 0
    for block in blocks:
        whole[start : start + len(block), start : start + len(block)] = block
        start += len(block)
    return (whole + whole.T) / 2

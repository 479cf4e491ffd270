"""`acclimate export`: a run's best networks as a bundle that a robot can verify and run."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from adapt.errors import AcclimateError
from adapt.settings import compose
from policies.export.exporter import export
from policies.export.parity import closed_loop
from policies.training.files import ensure_folder
from policies.training.runs import load_best

HELP = """acclimate export RUN out=FOLDER [key=value ...]

Writes the best networks of a run as a bundle: graphs with their normalisers, manifest, digests and
golden vectors, checked by loading it as a robot would.

Example:
  acclimate export runs/insertion-pearl-0 out=bundles/mine"""

TOLERANCE = 1e-5
"""Largest difference allowed between the bundle and torch in closed loop, actions and beliefs."""
TASKS = 3
"""That the gate plays."""


@dataclass(frozen=True)
class ExportSettings:
    """run: a run folder.
    out: folder of the bundle to write; must not exist.
    name: of the bundle; null takes the run's.
    """

    run: Path
    out: Path
    name: str | None = None


def main(argv: list[str]) -> int:
    settings = compose("export", ExportSettings, argv, HELP, ["run"])
    if settings.out.exists():  # now, and not after the export
        raise AcclimateError(f"{settings.out}: exists already; a bundle is never overwritten")
    ensure_folder(settings.out.parent)
    trainer, state = load_best(settings.run)
    name = settings.name or trainer.settings.name
    bundle = export(trainer, state, settings.out, name, settings.run)
    policy = trainer.learner.policy()
    episodes = 2 * policy.episodes_per_step
    parity = closed_loop(policy, trainer.family, bundle, TASKS, episodes, trainer.settings.seed)
    size = sum(f.stat().st_size for f in settings.out.iterdir())
    print(f"{settings.out}: {size / 1e6:.2f} MB, digest {bundle.digest}")
    print(f"largest deviation from torch: {bundle.worst_error:.1e} on golden vectors,")
    print(f"{parity.worst:.1e} over {parity.steps} steps in closed loop")
    if parity.worst > TOLERANCE:
        shutil.rmtree(settings.out)
        raise AcclimateError(
            f"{settings.out}: removed, because it does not act as torch does: {parity}, "
            f"tolerance {TOLERANCE:g}"
        )
    return 0

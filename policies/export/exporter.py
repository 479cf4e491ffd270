"""The exporter of every algorithm: what it puts into a bundle, and what every bundle says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from adapt.bundle.fields import Limit
from adapt.bundle.manifest import Manifest
from adapt.bundle.policy_bundle import PolicyBundle, write_bundle
from adapt.settings import resolved
from policies.export.graphs import OPSET
from policies.export.metadata import with_metadata
from policies.training.runs import revision, versions
from policies.training.trainer import Trainer


def export(
    trainer: Trainer, state: dict[str, Any], out: Path, name: str, run: Path
) -> PolicyBundle:
    """Write the trainer's networks as a bundle and return it loaded.

    Args:
        state: of the run's best.pt. name: of the bundle. run: folder of the run.

    Raises:
        BundleError: `out` exists, or what was written does not reproduce torch's outputs.
        AcclimateError: the networks can be no bundle.
    """
    spec = trainer.family.spec
    found = trainer.learner.export(run, torch.Generator().manual_seed(trainer.settings.seed))
    manifest = Manifest(
        name=name,
        observation=list(spec.observation),
        action=list(spec.action),
        reward=spec.reward,
        squash="tanh",
        control_period=spec.control_period,
        limits=_limits(trainer),
        seen=found.seen,
        factor_terms={
            factor.name: list(spec.factor_terms[factor.name])
            for factor in found.manifest["latent"].factors
            if factor.name in spec.factor_terms
        },
        task_space=trainer.family.space.to_dict(),
        training=_provenance(trainer, state, run),
        tools=versions(),
        opset=OPSET,
        files={},
        **found.manifest,
    )
    return write_bundle(out, manifest, with_metadata(found.graphs, manifest), found.golden)


def _provenance(trainer: Trainer, state: dict[str, Any], run: Path) -> dict[str, Any]:
    """The manifest's `training`: settings, revision, and what the run reached."""
    evaluation = run / "evaluation.json"
    return {
        "settings": resolved(trainer.settings),
        "revision": revision(),
        "iteration": state["iteration"],
        "validation": {k: v for k, v in state["metrics"].items() if k.startswith("validate/")},
        "held_out": json.loads(evaluation.read_text()) if evaluation.is_file() else {},
    }


def _limits(trainer: Trainer) -> list[Limit]:
    """The family's own, and the action fields' ranges as limits on each command."""
    return [
        *trainer.family.spec.limits,
        *(
            Limit("position", f.name, f.low, f.high, f.unit, "largest that training used")
            for f in trainer.family.spec.action
        ),
    ]

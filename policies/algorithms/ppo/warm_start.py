"""Networks that begin where another PPO run of the same observation and action arrived."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from adapt.errors import AcclimateError
from policies.training.checkpoint import load_checkpoint
from sim.core.worlds import WorldSpec

FIRST = "body.0.weight"


def start_from(
    folder: Path, modules: Mapping[str, nn.Module], spec: WorldSpec, told: bool = False
) -> None:
    """Take over the best networks of a run folder; what is not in it stays new.

    What the new actor and critic are fed beside the observation and, the critic, the factors begins
    with weights of 0: at first the policy is the old one.

    told: the run's policy must have been told the true factors.

    Raises AcclimateError for a folder without best networks, or with networks of other sizes.
    """
    file = folder / "best.pt"
    if not file.is_file():
        raise AcclimateError(f"start={folder}: no best.pt there; expected a PPO run's folder")
    found = load_checkpoint(file)["modules"]
    if not {"actor", "critic"} <= set(found):
        raise AcclimateError(f"start={folder}: it holds {sorted(found)}, not a PPO run's networks")
    fed = found["actor"][FIRST].shape[1] - spec.observation_size
    if told and fed != len(spec.factors):
        raise AcclimateError(
            f"start={folder}: its policy is fed {fed} numbers beside the observation; expected the "
            f"{len(spec.factors)} factors, as a run with learner.knowledge=truth has them"
        )
    kept = {
        "actor": (spec.observation_size, 0),
        "critic": (spec.observation_size, len(spec.factors)),
    }
    for name in sorted(modules.keys() & found.keys()):
        inputs = {FIRST: kept[name]} if name in kept else {}
        _take(folder, modules[name], found[name], inputs)


@torch.no_grad()
def _take(
    folder: Path, module: nn.Module, old: dict[str, Tensor], inputs: dict[str, tuple[int, int]]
) -> None:
    """Copy a state. inputs: by name of a weight, so many first and last columns that both have."""
    new = module.state_dict()
    if set(new) != set(old):
        raise AcclimateError(f"start={folder}: its networks have other layers")
    for name, value in new.items():
        found = old[name]
        if name in inputs and found.shape != value.shape and len(found) == len(value):
            first, last = inputs[name]
            value.zero_()
            value[:, :first] = found[:, :first]
            if last:
                value[:, -last:] = found[:, -last:]
            continue
        if found.shape != value.shape:
            raise AcclimateError(
                f"start={folder}: its {name} has shape {tuple(found.shape)}; this run's has "
                f"{tuple(value.shape)}"
            )
        value.copy_(found)
    module.load_state_dict(new)

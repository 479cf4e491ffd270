"""Which adapter serves which kind of algorithm: our own by name, others by entry point.

A package adds a kind by an entry point of the group "acclimate.adapters", named like the kind, that
points to its subclass of `Adapter`; that class's `variant` is its struct of the manifest's block.
"""

from __future__ import annotations

from importlib import import_module

from adapt.adapters.base import Adapter
from adapt.bundle.algorithms import strangers
from adapt.bundle.policy_bundle import PolicyBundle

OURS = {
    "none": "adapt.adapters.fixed:FixedAdapter",
    "gaussian": "adapt.adapters.gaussian:GaussianAdapter",
    "mixture": "adapt.adapters.mixture:MixtureAdapter",
    "recurrent": "adapt.adapters.recurrent:RecurrentAdapter",
    "stepped": "adapt.adapters.stepped:SteppedAdapter",
}


def make_adapter(bundle: PolicyBundle, seed: int) -> Adapter:
    """The adapter for the bundle's algorithm. seed: see `Adapter`."""
    kind = bundle.manifest.algorithm.kind
    if kind in OURS:
        module, name = OURS[kind].split(":")
        adapter: type[Adapter] = getattr(import_module(module), name)
    else:
        adapter = strangers()[kind].load()
    return adapter(bundle, seed)

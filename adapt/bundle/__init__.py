"""Policy bundles: manifest, graphs, golden vectors, signature."""

from adapt.bundle.fields import ActionField, Factor, Field, Limit
from adapt.bundle.manifest import Manifest
from adapt.bundle.policy_bundle import PolicyBundle, read_manifest

__all__ = [
    "ActionField",
    "Factor",
    "Field",
    "Limit",
    "Manifest",
    "PolicyBundle",
    "read_manifest",
]

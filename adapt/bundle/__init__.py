"""Policy bundles: manifest, graphs, golden vectors, signature."""

from adapt.bundle.manifest import ActionField, Factor, Field, Limit, Manifest
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

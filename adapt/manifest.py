"""Former path of `adapt.bundle`'s fields and manifest, valid for one release."""

from adapt.bundle.fields import ActionField, Factor, Field, Latent, Limit
from adapt.bundle.manifest import Manifest, decode_manifest, encode_manifest

__all__ = [
    "ActionField",
    "Factor",
    "Field",
    "Latent",
    "Limit",
    "Manifest",
    "decode_manifest",
    "encode_manifest",
]

"""What a graph says of itself: names, units and period in its ONNX metadata, for those who meet the
file without its manifest. No program of ours reads it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import onnx

from adapt.bundle.fields import Field
from adapt.bundle.manifest import Manifest


def with_metadata(graphs: Mapping[str, bytes], manifest: Manifest) -> dict[str, bytes]:
    """The same graphs with `metadata_props`; all values are JSON."""
    latent = manifest.latent
    said = {
        "bundle": manifest.name,
        "algorithm": manifest.algorithm.kind,
        "control_period": {"value": manifest.control_period, "unit": "s"},
        "observation": [_described(field) for field in manifest.observation],
        "action": [
            _described(field) | {"offset": field.offset, "scale": field.scale}
            for field in manifest.action
        ],
        "action_squash": manifest.squash,
        "latent": [msgspec.to_builtins(factor) for factor in latent.factors] or latent.size,
    }
    properties = {key: msgspec.json.encode(value).decode() for key, value in said.items()}
    return {name: _marked(model, properties) for name, model in graphs.items()}


def _described(field: Field) -> dict[str, object]:
    return {
        "name": field.name,
        "shape": field.shape,
        "unit": field.unit,
        **({"elements": field.elements} if field.elements else {}),
    }


def _marked(data: bytes, properties: Mapping[str, str]) -> bytes:
    model = onnx.load_model_from_string(data)
    onnx.helper.set_model_props(model, dict(properties))
    return model.SerializeToString()

"""What `acclimate bundle show` says of limits: those there are, and what has none."""

from pathlib import Path

import msgspec
import pytest

from adapt.bundle.cli import describe, unlimited
from adapt.bundle.fields import Limit
from adapt.bundle.manifest import decode_manifest, encode_manifest
from adapt.bundle.policy_bundle import read_manifest
from adapt.errors import BundleError
from robot_bridge.safety.limits import RESPONSE, Limits
from tests.support import tiny_bundle

SHIPPED = Path(__file__).resolve().parents[3] / "bundles/insertion-pearl"


def limited(*limits: Limit):
    """The tiny bundle's manifest with these limits: translation (2,) and yaw (1,) are asked for."""
    manifest, _, _ = tiny_bundle.build()
    return msgspec.structs.replace(manifest, limits=list(limits))


def test_what_has_no_limit_is_named():
    step = Limit("position", "translation", -0.001, 0.001, "m", "a wall", [1])
    rates = [Limit("rate", name, -1.0, 1.0, "1/s", "jerk") for name in ("translation", "yaw")]
    yaw = Limit("position", "yaw", -0.02, 0.02, "rad", "a cable")
    everything = [
        *(Limit(name, "wrench", -5.0, 5.0, "N", "x") for name in ("workspace", "velocity")),
        Limit("effort", "wrench", -5.0, 5.0, "N", "x"),
    ]
    assert unlimited(limited(step, *rates, yaw, *everything)) == [
        "action translation[0]: what it asks for, but its own range"
    ]
    assert unlimited(limited(rates[0])) == [
        "action translation: what it asks for, but its own range",
        "action yaw: what it asks for, but its own range",
        "action yaw: its rate",
        "measurements: no position or workspace",
        "measurements: no velocity",
        "measurements: no effort or force",
    ]
    shown = describe(limited(step, *rates), "0" * 64)
    assert "position of translation[1]: -0.001 to 0.001 m, a wall" in shown
    assert "NONE: action yaw: what it asks for, but its own range" in shown


def test_the_bundle_that_comes_with_the_project_leaves_nothing_without_a_limit():
    manifest, _ = read_manifest(SHIPPED)
    assert unlimited(manifest) == []
    assert all(limit.reason and limit.unit for limit in manifest.limits)
    # Each margin of each field is one that both ends can keep.
    Limits(manifest.observation, manifest.action, manifest.limits, manifest.control_period)
    measured = {field.name for field in manifest.observation}
    held = {limit.quantity for limit in manifest.limits if limit.field in measured}
    assert held >= RESPONSE.keys() - {"effort"}  # no joint of it is measured


def test_an_element_that_a_field_does_not_have_is_refused():
    odd = limited(Limit("force", "wrench", -1.0, 1.0, "N", "x", [3]))
    with pytest.raises(BundleError, match="limit on 'wrench': element 3; it has 3, counted from 0"):
        decode_manifest(encode_manifest(odd), "odd")

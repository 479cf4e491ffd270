"""The wrist's sensor and its tool, from static poses."""

import dataclasses

import numpy as np
import pytest

from calibration.posterior import Z90
from calibration.wrench import (
    NOISE,
    Poses,
    WrenchModel,
    calibrate_wrench,
    check_poses,
    wrench_priors,
)

PRIORS = wrench_priors()


def rotations(count: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform rotations (count, 3, 3)."""
    made, _ = np.linalg.qr(rng.normal(size=(count, 3, 3)))
    return made * np.sign(np.linalg.det(made))[:, None, None]


def measured(seed: int, count: int = 12, noise: float = 1.0) -> tuple[WrenchModel, Poses]:
    rng = np.random.default_rng(seed)
    model = WrenchModel(PRIORS, PRIORS.sample(rng))
    turned = rotations(count, rng)
    wrench = model.static(turned) + noise * NOISE * rng.normal(size=(count, 6))
    return model, Poses("poses", turned, wrench)


def test_intervals_hold_the_truth_nine_times_in_ten():
    held = []
    for seed in range(60):
        model, poses = measured(seed)
        found = calibrate_wrench(poses)
        miss = np.abs(found.x - PRIORS.to_standard(model.values)) / found.std
        held.append(miss[found.identified] < Z90)
    assert 0.85 < np.concatenate(held).mean() < 0.95


def test_gain_and_mass_are_told_apart_only_with_a_known_weight():
    model, poses = measured(1)
    without = calibrate_wrench(poses)
    gain = PRIORS.names.index("force_gain_x")
    assert without.std[gain] > 0.5
    assert any("force_gain_x" in text for text in without.unseen_directions())
    mass = float(model.values[PRIORS.names.index("tool_mass")])
    known = calibrate_wrench(poses, known_mass=mass)
    assert known.std[gain] < 0.5 * without.std[gain]


def test_compensated_for_gravity_only_contact_is_left():
    model, _ = measured(3)
    rng = np.random.default_rng(0)
    turned, touch = rotations(5, rng), rng.normal(size=(5, 6))
    names = [f"{kind}_gain_{axis}" for kind in ("force", "torque") for axis in "xyz"]
    gain = model.values[PRIORS.indices(names)]
    wrench = model.static(turned) + touch * gain
    np.testing.assert_allclose(model.contact(turned, wrench), touch, atol=1e-12)
    still = WrenchModel(PRIORS, PRIORS.nominal)
    upright = still.static(np.eye(3)[None])[0]
    np.testing.assert_allclose(upright, [0, 0, -9.81, 0, 0, 0], atol=1e-12)
    # The sensor's x axis points down; 1 kg hangs 50 mm along its z axis.
    level = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    turned_down = still.static(level[None])[0]
    np.testing.assert_allclose(turned_down, [9.81, 0, 0, 0, 0.4905, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("few-poses", lambda p: Poses(p.name, p.rotation[:8], p.wrench[:8])),
        ("spread", lambda p: dataclasses.replace(p, rotation=np.tile(np.eye(3), (12, 1, 1)))),
        ("dead-sensor", lambda p: dataclasses.replace(p, wrench=p.wrench * [1, 1, 0, 1, 1, 1])),
    ],
)
def test_poses_that_tell_too_little_are_named(kind: str, spoil):
    _, poses = measured(0)
    assert check_poses(poses) == []
    assert kind in {f.kind for f in check_poses(spoil(poses))}

"""A calibration of legs in the words of the locomotion family."""

import numpy as np
import pytest
from msgspec import structs

from adapt.prior import latent_prior
from calibration.legs.locomotion import (
    LocomotionQuantities,
    locomotion_prior,
    locomotion_quantities,
    locomotion_space,
)
from calibration.legs.model import LegsModel
from calibration.legs.stance import payload_priors
from calibration.parameters import Priors
from calibration.posterior import Posterior
from sim.core.task_space import TaskSpace
from sim.locomotion.task import FACTORS, SPACE
from sim.robots import go2
from tests.support import tiny_bundle

LOAD = Priors(tuple(payload_priors()))


def found(legs: LegsModel, carried: bool = True, **changed: float) -> LocomotionQuantities:
    """Of legs that are nominal but for factors of a kind, or of one joint, known to 2 % of the
    priors; with 4 kg, 5 cm ahead."""
    values = legs.priors.nominal.copy()
    for name, factor in changed.items():
        kind, _, joint = name.partition("__")
        names = [f"{kind}.{joint}"] if joint else [f"{kind}.{j}" for j in legs.joints]
        values[legs.priors.indices(names)] *= factor
    x = legs.priors.to_standard(values)
    joints = Posterior(legs.priors, x, 2500 * np.eye(len(x)))
    load = LOAD.to_standard(np.array([4.0, 0.05, 0.0, 0.1]))
    standing = Posterior(LOAD, load, 2500 * np.eye(len(load))) if carried else None
    return locomotion_quantities(legs, joints, standing)


def means(quantities: LocomotionQuantities) -> dict[str, float]:
    return dict(zip(quantities.names, quantities.mean.tolist(), strict=True))


def test_drives_that_are_all_stronger_are_a_gain(legs: LegsModel):
    told = means(found(legs, position_gain=1.2, velocity_gain=1.2))
    assert told["gain"] == pytest.approx(1.2)
    assert told["damping"] == pytest.approx(0.0, abs=1e-9)
    assert told["strength_FL_hip"] == pytest.approx(1.0)
    assert told["load_x"] == pytest.approx(0.2)


def test_one_weak_joint_is_a_strength_and_leaves_the_gain(legs: LegsModel):
    told = means(found(legs, position_gain__RL_calf=0.5, velocity_gain__RL_calf=0.5))
    assert told["gain"] == pytest.approx(1.0)
    assert told["strength_RL_calf"] == pytest.approx(0.5)
    assert told["strength_FL_calf"] == pytest.approx(1.0)


def test_damping_is_that_of_joints_and_drives_together(legs: LegsModel):
    assert means(found(legs, damping=1.5))["damping"] == pytest.approx(np.log(1.5))
    braking = sum(go2.TYPES[part].damping for part in go2.PARTS) * 4
    more = 1 + 0.1 * 12 * go2.KD / braking
    assert means(found(legs, velocity_gain=1.1))["damping"] == pytest.approx(np.log(more))


def test_the_family_takes_the_space(legs: LegsModel):
    made = locomotion_space(found(legs, position_gain=1.1, velocity_gain=1.1), "go2", {"a": "b"})
    assert made is not None
    read = TaskSpace.from_dict(made.to_dict())
    narrow = SPACE.narrowed(read)
    tasks = narrow.sample(50, np.random.default_rng(0))
    assert np.std([t["gain"] for t in tasks]) < 0.03
    assert np.mean([t["gain"] for t in tasks]) == pytest.approx(1.1, abs=0.02)
    assert np.mean([t["payload"] for t in tasks]) == pytest.approx(4.0, abs=0.1)
    assert "payload" not in (locomotion_space(found(legs, False), "go2", {}) or made).names


def test_a_robot_outside_of_what_the_family_trains_is_left_out(legs: LegsModel):
    made = locomotion_space(found(legs, position_gain=1.8, velocity_gain=1.8), "go2", {})
    assert made is not None
    assert "gain" not in made.names


def test_the_prior_has_the_factors_names_units_and_scales(legs: LegsModel):
    prior = locomotion_prior(found(legs), {"a": "b"})
    prior.whole_covariance()
    told = {p.name: p for p in prior.parameters}
    for factor in FACTORS:
        if factor.name in told:
            quantity = told[factor.name]
            log = factor.unit.startswith("log ")
            assert quantity.unit == factor.unit.removeprefix("log ")
            assert quantity.scale == ("log" if log else "linear")
            assert quantity.measured
    assert {"gain", "damping", "delay", "payload", "load_x", "strength_RR_calf"} <= set(told)


def test_a_bundle_whose_latent_stands_for_the_factors_starts_from_it(legs: LegsModel):
    manifest, _, _ = tiny_bundle.build()
    n = len(FACTORS)
    latent = structs.replace(
        manifest.latent, size=n, factors=list(FACTORS), prior_mean=[0.0] * n,
        prior_variance=[1.0] * n,
    )  # fmt: skip
    manifest = structs.replace(manifest, latent=latent, factor_terms={})
    start = latent_prior(locomotion_prior(found(legs), {}), manifest)
    by_name = {f.name: f for f in FACTORS}
    payload, friction = by_name["payload"], by_name["friction"]
    told = payload.offset + payload.scale * start.mean[payload.index]
    assert told == pytest.approx(4.0, abs=0.01)
    assert start.variance[payload.index] < 0.05
    assert start.variance[friction.index] == 1.0  # the ground is not the robot's

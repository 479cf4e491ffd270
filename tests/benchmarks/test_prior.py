"""What the benchmark of calibrated priors feeds its policies."""

from dataclasses import replace

import numpy as np
import pytest

from adapt.bundle.policy_bundle import read_manifest
from adapt.prior import latent_prior
from benchmarks.bench_calibration import Kept
from benchmarks.bench_prior import Twin, cell_prior
from calibration.joints.twin import JointTwin
from calibration.legs.model import legs_model
from calibration.legs.stance import payload_priors, standing_twin
from calibration.parameters import Priors
from calibration.posterior import Posterior
from sim.core.measured import Measured
from sim.demo import SHIPPED
from sim.insertion.plugs import MM
from sim.insertion.space import SPACE
from sim.locomotion.worlds import LocomotionWorlds
from sim.robots import go2


@pytest.fixture(scope="module")
def twin() -> Twin:
    legs, load = legs_model(), Priors(tuple(payload_priors()))
    hanging = JointTwin(legs, 4)
    carried = standing_twin(hanging, 4).values[-len(load) :]

    def kept(priors: Priors, true: np.ndarray) -> Kept:
        return Kept(
            Posterior(priors, priors.to_standard(true), 100 * np.eye(len(priors))), true, {}
        )

    return Twin(legs, kept(legs.priors, hanging.values), kept(load, carried))


def test_a_walking_twin_has_its_own_joints_and_load(twin: Twin):
    worlds = LocomotionWorlds(1, 0, 1)
    worlds.assign([twin.task()])
    model = worlds.sim.model(0)
    twin.give(model)
    dofs = [model.joint(joint).dofadr[0] for joint in go2.JOINTS]
    assert model.dof_armature[dofs] == pytest.approx(twin.legs.values(twin.values, "armature"))
    assert model.dof_frictionloss[dofs] == pytest.approx(twin.legs.values(twin.values, "friction"))
    gains = twin.legs.values(twin.values, "position_gain")
    assert -model.actuator_biasprm[:, 1] == pytest.approx(gains)
    payload = model.body("payload")
    assert payload.mass[0] == pytest.approx(twin.load["payload"])
    assert payload.pos == pytest.approx([twin.load[f"payload_{axis}"] for axis in "xyz"])
    worlds.close()


def test_the_truth_is_claimed_where_it_is(twin: Twin):
    told = {p.name: p for p in twin.truth().parameters}
    assert told["payload"].mean == pytest.approx(twin.load["payload"], abs=0.01)
    assert told["payload"].measured


def test_a_cells_prior_holds_for_any_grasp():
    across = 0.1 * MM
    measured = Measured(("socket_x", "friction"), (1.0 * MM, np.log(0.2)), (
        (across**2, 0.0), (0.0, 0.01)
    ))  # fmt: skip
    space = replace(SPACE, measured=measured)
    manifest, _ = read_manifest(SHIPPED)
    start = latent_prior(cell_prior(space), manifest)
    factors = {factor.name: factor for factor in manifest.latent.factors}
    seat = factors["seat_x"]
    grasp = (SPACE["grasp_x"].high - SPACE["grasp_x"].low) / np.sqrt(12)
    assert seat.scale * start.mean[seat.index] == pytest.approx(1.0 * MM)
    assert seat.scale * start.variance[seat.index] ** 0.5 == pytest.approx(np.hypot(across, grasp))
    assert start.variance[factors["seat_y"].index] == 1.0
    assert start.variance[factors["friction"].index] < 0.1

"""A simulated robot that touches its socket once it has failed, over real processes."""

import numpy as np
import pytest

from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.errors import ProbeError
from robot_bridge.trial.folder import read_lines
from robot_bridge.trial.probing import read_probes
from robot_bridge.trial.runner import TrialSettings, run
from sim.demo import SHIPPED
from sim.twin.child_processes import Children, Signals

FACTORS = {f.name: f for f in PolicyBundle.load(SHIPPED).manifest.latent.factors}
PLUG = "sim/insertion/parts/named/metal_peg_square.yaml"


def trial(scratch, *words, **settings):
    """On the wrist rig, through a bridge; the trial's folder."""
    endpoint, out = f"ipc://{scratch}/bridge.ipc", scratch / "trial"
    with Signals() as signals, Children(scratch, signals) as children:
        children.start("bridge", f"bundle={SHIPPED}", f"endpoint={endpoint}", *words)
        twin = ("body=wrist", f"family={PLUG}", "groups.held_out=3")
        children.start("twin", f"endpoint={endpoint}", "wait=60", *twin)
        try:
            run(TrialSettings(endpoint=endpoint, out=out, wait=60, **settings))
        except Exception as error:
            error.add_note(children.last_words())
            raise
    return out


def test_a_task_is_touched_once_after_it_has_failed_and_the_belief_starts_from_that(tmp_path):
    settings = {"tasks": 3, "episodes": 3, "probe": "after_failure"}
    folder = trial(tmp_path, "probe.reach=0.07", **settings)
    lines = {(line.task, line.episode): line for line in read_lines(folder)}
    assert len(lines) == 9
    failed = {}
    for (task, episode), line in sorted(lines.items()):
        if not line.outcome.success and episode < 2:
            failed.setdefault(task, episode)
    probes = read_probes(folder)
    assert probes and {line.task: line.episode - 1 for line in probes} == failed
    for line in probes:
        after = lines[line.task, line.episode]
        for i, q in enumerate(line.prior.parameters[:3]):
            factor = FACTORS[q.name]
            believed = factor.offset + factor.scale * after.belief_before.mean[factor.index]
            # A yaw that touches of a peg hardly tell keeps the bundle's prior.
            if q.measured:
                assert believed == pytest.approx(q.mean, abs=1e-6)
                std = line.prior.covariance[i][i] ** 0.5
                assert abs(q.mean - line.truth[q.name]) < 4 * std
        assert after.belief_after.version > after.belief_before.version
    won = [lines[line.task, line.episode].outcome.success for line in probes]
    assert np.mean(won) > 0.5


def test_a_bridge_that_allows_no_probing_leaves_no_trial(tmp_path):
    with pytest.raises(ProbeError, match=r"probe\.reach is 0"):
        trial(tmp_path, tasks=1, episodes=1, probe="after_failure")
    assert not (tmp_path / "trial").exists()

"""The benchmark of the published table: its rows, and that its attempts are the twin's."""

import numpy as np
import pytest

from adapt.bundle.policy_bundle import PolicyBundle
from benchmarks.bench_plugs import PUBLISHED, attempts, players
from robot_bridge.protocol.messages import Command, Mode, ResetRequest
from sim.demo import SHIPPED
from sim.insertion.parts.described import named_plugs, plug_file
from sim.insertion.parts.spaces import plug_space
from sim.insertion.scripted import Privileged
from sim.twin.twin import Twin


def test_every_plug_of_the_table_has_a_published_figure():
    assert sorted(PUBLISHED) == named_plugs()


def test_a_scripts_attempt_is_the_twins():
    path, bundle = plug_file("eu_ac"), PolicyBundle.load(SHIPPED)
    twin = Twin(str(path), "arm", {"held_out": 1})
    twin.reset(ResetRequest(0, 0, 0, True))
    scale = np.array([f.scale for f in twin.family.spec.action])
    steps = 0
    while True:
        action = Privileged().act(twin.worlds)[0]
        step = twin.follow(Command(1, 0, Mode.TRACK, action * scale))
        steps += 1
        if step.done[0]:
            break
    assert twin._task is not None
    found = attempts("arm", [twin._task], players("privileged", bundle, "arm", 1, 0), 1, 0)
    assert found.success[0, 0] == step.success[0]
    assert found.seconds[0, 0] == pytest.approx(steps * twin.family.spec.control_period)
    assert found.peak_force[0, 0] == twin.worlds.peak_force[0]


def test_the_shipped_policy_learns_in_both_bodies_and_alone_where_it_should():
    bundle = PolicyBundle.load(SHIPPED)
    tasks = plug_space(plug_file("us_ac")).sample(2, np.random.default_rng(0), "held_out")
    for body in ("wrist", "arm"):
        chosen = players("shipped policy", bundle, body, 2, 0)
        found = attempts(body, tasks, chosen, 2, 0)
        assert found.success.shape == (2, 2) and (found.seconds > 0).all()
        counts = [a.belief.count for each in chosen for a in each._adapters]  # pyright: ignore
        assert min(counts) > 0
    chosen = players("shipped policy, belief at the prior", bundle, "wrist", 2, 0)
    attempts("wrist", tasks, chosen, 1, 0)
    assert [a.belief.count for a in chosen[0]._adapters] == [0, 0]  # pyright: ignore

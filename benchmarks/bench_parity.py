"""ONNX against torch in closed loop: the shipped bundle drives, and torch must answer the same.

    python -m benchmarks.bench_parity [RUN]

RUN is the run folder that the bundle was exported from.
"""

from __future__ import annotations

import sys
from pathlib import Path

from adapt.bundle.policy_bundle import PolicyBundle
from benchmarks.support.results import ROOT, record
from policies.export.parity import closed_loop
from policies.training.runs import load_best
from sim.insertion.arm import ArmBody
from sim.insertion.body import WristBody
from sim.insertion.worlds import InsertionWorlds

TASKS, EPISODES, SEED = 20, 4, 7
BODIES = {"wrist": WristBody, "arm": ArmBody}


def main(words: list[str]) -> int:
    trainer, _ = load_best(Path(words[0] if words else "runs/insertion-pearl-0"))
    policy = trainer.learner.policy()
    bundle = PolicyBundle.load(ROOT / "bundles" / "insertion-pearl")
    for name, body in BODIES.items():
        worlds = InsertionWorlds(1, SEED, 1, body)
        parity = closed_loop(policy, trainer.family, bundle, TASKS, EPISODES, SEED, worlds)
        parameters = {"body": name, "steps": parity.steps}
        record("parity", "action", parity.action, "1", parameters, SEED)
        record("parity", "belief mean", parity.belief_mean, "1", parameters, SEED)
        record("parity", "belief std", parity.belief_std, "1", parameters, SEED)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

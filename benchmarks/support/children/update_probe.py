"""One tree's updates of PEARL, for `benchmarks.bench_update`.

    python update_probe.py EXPERIMENT [SETTING=VALUE ...]

Works on request: each line of standard input is a number of updates; each line of the output is the
processor time of one of them [s]. It imports only `policies`, so that PYTHONPATH decides whose
updates are measured.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # see policies/__init__.py
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
os.environ.setdefault("MUJOCO_GL", "disable")

import sys
import time

import numpy as np

from policies.algorithms.pearl.learner import PearlLearner
from policies.algorithms.registry import train_settings
from policies.training.trainer import Trainer


def main(experiment: str, *changes: str) -> None:
    # One iteration by the script fills the replay and fits the normalisers.
    words = ["out=unused", "threads=1", "script_iterations=1", "updates_per_iteration=3"]
    words += ["validation_every=100", "iterations=100", *changes]
    settings = train_settings([f"experiment={experiment}", *words])
    trainer = Trainer(settings)
    learner = trainer.learner
    if not isinstance(learner, PearlLearner):
        raise SystemExit(f"{experiment}: expected an experiment of PEARL")
    trainer.iterate()
    trainer.close()
    rng = np.random.default_rng(0)
    for line in sys.stdin:
        count = int(line)
        start = time.process_time()
        for _ in range(count):
            learner.networks.update(learner.replay, learner.factors, rng)
        print((time.process_time() - start) / count, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

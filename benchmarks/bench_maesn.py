"""MAESN beside PEARL, and its adaptation step as a robot runs it.

    python -m benchmarks.bench_maesn [point] [insertion] [device]

point: sparse navigation, held-out goals: return against episodes of adaptation for MAESN, PEARL and
MAESN's learner whose latent is drawn anew at every step, three training seeds each; and a picture
of first episodes. Needs the runs of the experiments point_maesn, point_step_noise, point_sparse.
insertion: success against episodes for both on the same held-out tasks, and on tasks whose socket
lies up to half as far again as in training. Needs insertion_pearl and insertion_maesn.
device: one step on 20 episodes of 100 steps, on one thread; and a control loop beside it.
"""

from __future__ import annotations

import os

os.environ.setdefault("MUJOCO_GL", "disable")

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from adapt.adapters.registry import make_adapter
from adapt.bundle.policy_bundle import PolicyBundle
from adapt.inference.graph_signature import GraphSignature
from adapt.inference.session import Graph
from benchmarks.support.learners import best_of
from benchmarks.support.results import ROOT, record
from policies.algorithms.maesn.latent_step import LatentStep
from policies.algorithms.maesn.learner import MaesnLearner
from policies.evaluation.cli import GROUPS, held_out_tasks
from policies.evaluation.measured import worst
from policies.export.graphs import onnx_graph
from policies.rollout.trials import Curve, try_policy
from policies.training.runs import load_best
from policies.training.trainer import Trainer
from robot_bridge.system.clock import Rate
from sim.benchmarks.point import CIRCLE, GOAL_RADIUS
from sim.core.task_space import Task, TaskSpace
from sim.insertion.space import SPACE

NAME = "maesn"
SEED = 1000
SEEDS = (0, 1, 2)
POINT_EPISODES = 80
POINT_SHOWN = (0, 1, 2, 3, 5, 10, 20, 40, 60, 80)
INSERTION_SHOWN = (0, 1, 2, 3, 5, 10, 15, 20)
PICTURE = ROOT / "docs" / "maesn_point.png"
STRETCH = 1.5
STEP = {"episodes": 20, "horizon": 100, "n_o": 23, "n_z": 8}
RATE = 200.0
"""Of the control loop beside the step [Hz]."""


def main(words: list[str]) -> int:
    parts = {"point": point, "insertion": insertion, "device": device}
    for word in words or list(parts):
        if word not in parts:
            raise SystemExit(f"{word!r}: expected {', '.join(parts)}")
        parts[word]()
    return 0


def curve_of(trainer: Trainer, tasks: list[Task], columns: int) -> Curve:
    return try_policy(trainer.learner.policy(), trainer.family, tasks, columns, SEED)


def point() -> None:
    pictures = {}
    for seed in SEEDS:
        for method, name in (("MAESN", "point-maesn"), ("per-step noise", "point-step-noise")):
            trainer, learner = best_of(Path(f"runs/{name}-{seed}"), MaesnLearner)
            e = learner.config.episodes
            tasks = held_out_tasks(trainer.family, "held_out", 100, SEED)
            curve = curve_of(trainer, tasks, POINT_EPISODES // e + 1)
            for step in range(POINT_EPISODES // e + 1):
                _point_row(method, step * e, curve.measured[:, step], seed)
            if seed == 0:
                met = learner.first_episodes(tasks, SEED, stochastic=False)
                pictures[method] = met.observation.numpy()[:e]
        pearl, _ = load_best(Path(f"runs/point-sparse-{seed}"))
        tasks = held_out_tasks(pearl.family, "held_out", 100, SEED)
        found = curve_of(pearl, tasks, POINT_EPISODES + 1)
        for k in POINT_SHOWN:
            # As many episodes in the mean as MAESN's have, where there are so many.
            few = slice(k, k + 1) if k < 20 else slice(max(0, k - 9), k + 1)
            _point_row("PEARL", k, found.measured[:, few].mean(1), seed)
    _draw(pictures)


def _point_row(method: str, episodes: int, returns: np.ndarray, seed: int) -> None:
    parameters = {"family": "point-sparse", "method": method, "episodes": episodes}
    record(NAME, "return", float(returns.mean()), "1", parameters, seed)
    tail = float(worst(returns[:, None])[0])
    record(NAME, "return of the worst 5 %", tail, "1", parameters, seed)


def _draw(pictures: dict[str, np.ndarray]) -> None:
    """First episodes on a new goal, one line each."""
    figure, axes = plt.subplots(1, len(pictures), figsize=(9, 3.6), sharex=True, sharey=True)
    angle = np.linspace(0, np.pi, 100)
    for axis, (method, paths) in zip(np.atleast_1d(axes), pictures.items(), strict=True):
        for radius in (CIRCLE - GOAL_RADIUS, CIRCLE + GOAL_RADIUS):
            axis.plot(radius * np.cos(angle), radius * np.sin(angle), color="0.8", lw=1)
        for path in paths:
            axis.plot(path[:, 0], path[:, 1], lw=1.2, alpha=0.8)
        axis.plot(0, 0, "k.", ms=6)
        axis.set_title(f"{method}: {len(paths)} first episodes")
        axis.set_aspect("equal")
        axis.set_xlabel("x [m]")
    np.atleast_1d(axes)[0].set_ylabel("y [m]")
    figure.tight_layout()
    figure.savefig(PICTURE, dpi=110, metadata={"Software": ""})


def stretched(tasks: list[Task]) -> list[Task]:
    """The same tasks with their sockets 1.5 times as far off, across the plane."""
    wider = TaskSpace(
        "insertion, stretched",
        tuple(
            replace(p, low=STRETCH * p.low, high=STRETCH * p.high)
            if p.name in ("socket_x", "socket_y")
            else p
            for p in SPACE.parameters
        ),
    )
    factor = np.array([STRETCH if n in ("socket_x", "socket_y") else 1.0 for n in SPACE.names])
    return [Task(wider, t.values * factor) for t in tasks]


def insertion() -> None:
    maesn, learner = best_of(Path("runs/insertion-maesn-0"), MaesnLearner)
    pearl, _ = load_best(Path("runs/insertion-pearl-0"))
    groups = {g: held_out_tasks(pearl.family, g, 100, SEED) for g in GROUPS}
    groups |= {f"{g}, offsets x {STRETCH}": stretched(t) for g, t in list(groups.items())}
    e = learner.config.episodes
    steps = INSERTION_SHOWN[-1] // e
    for group, tasks in groups.items():
        curve = curve_of(maesn, tasks, steps + 1)
        for k in range(steps + 1):
            _insertion_row(group, "MAESN", k * e, curve.success[:, k])
        found = curve_of(pearl, tasks, INSERTION_SHOWN[-1] + 1)
        for k in INSERTION_SHOWN:
            _insertion_row(group, "PEARL", k, found.success[:, k])


def _insertion_row(group: str, method: str, episodes: int, success: np.ndarray) -> None:
    parameters = {"group": group, "method": method, "episodes": episodes}
    record(NAME, "success", float(success.mean()), "1", parameters, 0)


def device() -> None:
    e, t, n_o, n_z = (STEP[k] for k in ("episodes", "horizon", "n_o", "n_z"))
    step = LatentStep(n_o, n_z, e, t, 0, 0.99, torch.zeros(n_o), torch.ones(n_o))
    given = _episodes(e, t, n_o, n_z, 0)
    names = ("new_mean", "new_log_std")
    model = onnx_graph(step, given, names, "latent_step", {})
    widths = {k: v.shape[1] for k, v in given.items()}
    graph = Graph("latent_step", model, GraphSignature(widths, dict.fromkeys(names, n_z)))
    off = 0.0
    for seed in range(1, 21):
        other = _episodes(e, t, n_o, n_z, seed)
        wanted = step(**other)
        found = graph.run(**{k: v.numpy() for k, v in other.items()})
        for name, tensor in zip(names, wanted, strict=True):
            off = max(off, float(np.abs(found[name] - tensor.detach().numpy()).max()))
    size = f"{e} episodes x {t} steps, {n_o} observed, latent {n_z}"
    record(NAME, "largest deviation of ONNX from torch", off, "1", {"step": size}, 0)
    row = graph.bind()
    for name, array in row.inputs.items():
        array[:] = given[name][0].numpy()
    took = []
    for _ in range(500):
        start = time.perf_counter_ns()
        row.run()
        took.append((time.perf_counter_ns() - start) / 1e6)
    for name, share in (("p50", 50), ("p99", 99)):
        record(
            NAME, f"one step, {name}", float(np.percentile(took, share)), "ms", {"step": size}, 0
        )
    beside = {"idle": control_loop(None), "flat out": control_loop(row.run)}
    for name, late in beside.items():
        parameters = {"adaptation": name, "control loop": f"{RATE:g} Hz"}
        for label, share in (("p50", 50), ("p99", 99)):
            value = float(np.percentile(late, share))
            record(NAME, f"action after its due time, {label}", value, "us", parameters, 0)
    ratio = float(np.percentile(beside["flat out"], 99) / np.percentile(beside["idle"], 99))
    record(NAME, "control p99 beside adaptation", ratio, "1", {"against": "idle"}, 0)


def _episodes(e: int, t: int, n_o: int, n_z: int, seed: int) -> dict[str, torch.Tensor]:
    """Two beliefs' random episodes, by the step's inputs."""
    g = torch.Generator().manual_seed(seed)
    log_std = torch.rand(2, n_z, generator=g) * 3.5 - 3.0
    mean = torch.randn(2, n_z, generator=g)
    noise = torch.randn(2, e, n_z, generator=g)
    return {
        "mean": mean,
        "log_std": log_std,
        "step_sizes": torch.rand(2, 2 * n_z, generator=g) + 0.5,
        "latent": (mean[:, None] + log_std.exp()[:, None] * noise).reshape(2, -1),
        "observation": torch.randn(2, e * t * n_o, generator=g),
        "reward": torch.randn(2, e * t, generator=g),
        "mask": torch.ones(2, e * t),
    }


def control_loop(beside: Callable[[], None] | None) -> np.ndarray:
    """How long after its due time each action was there [us], at RATE for 10 s, with `beside`
    called again and again on another thread."""
    bundle = PolicyBundle.load(ROOT / "bundles" / "insertion-pearl")
    adapter = make_adapter(bundle, 0)
    adapter.begin_episode()
    observation = np.zeros(bundle.manifest.observation_size, np.float32)
    halt = threading.Event()

    def busy() -> None:
        while beside is not None and not halt.is_set():
            beside()

    worker = threading.Thread(target=busy)
    worker.start()
    late = []
    rate = Rate(1.0 / RATE)
    for _ in range(round(10 * RATE)):
        behind = rate.wait()
        start = time.perf_counter_ns()
        adapter.act(observation)
        late.append(behind * 1e6 + (time.perf_counter_ns() - start) / 1e3)
    halt.set()
    worker.join()
    return np.array(late[round(RATE) :])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""Floors that do what they stand for, and cells that differ in what they name."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from benchmarks import bench_scale
from benchmarks.bench_scale import QUICK, Cell, Found, cells, composed, report
from benchmarks.support.products import Layout, again, recorded
from benchmarks.support.results import ROOT, read
from policies.algorithms.registry import train_settings


def sizes(found):
    return [(p.left.shape, p.right.shape) for p in found]


def test_the_products_of_a_pass_are_those_of_its_layers_forward_and_backward():
    network = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    with recorded() as found:
        network(torch.ones(7, 3)).sum().backward()
    assert sizes(found) == [
        ((7, 3), (3, 5)),
        ((7, 5), (5, 2)),
        ((7, 2), (2, 5)),  # to the hidden layer
        ((2, 7), (7, 5)),  # to the weights of each layer; the input needs no gradient
        ((5, 7), (7, 3)),
    ]


def test_they_are_done_again_on_factors_that_lie_as_theirs_lay():
    twice = torch.ones(4, 3).expand(2, -1, -1)
    weights = torch.ones(2, 5, 3).transpose(1, 2)
    with recorded() as found:
        torch.baddbmm(torch.zeros(2, 1, 5), twice, weights)
    left, right = found[0].left, found[0].right
    assert left == Layout((2, 4, 3), (0, 3, 1), torch.float32, torch.device("cpu"))
    assert Layout.of(right.tensor()) == right == Layout.of(weights)
    with recorded() as repeated:
        again(found)()
    assert repeated == found


def test_nothing_to_multiply_is_an_error():
    with pytest.raises(RuntimeError, match="no matrix product"), recorded():
        torch.ones(3).sum()


def test_every_size_meets_every_number_of_threads_and_changes_one_setting():
    assert len(cells(bench_scale.Plan())) == 12
    base = composed(Cell("collecting", 64, 2))
    assert composed(Cell("collecting", 16, 1)).worlds == 16
    wide = composed(Cell("learning", 4, 1))
    assert (wide.learner.tasks_per_batch, wide.worlds, wide.threads) == (4, base.worlds, 1)


PEAK = """
import numpy as np
from benchmarks.bench_scale import peak_memory
before = peak_memory()
held = np.ones(40_000_000 // 8)
high = peak_memory()
print(high >= before + 0.5 * held.nbytes)
del held
# The kernel's counters lag by some pages.
print(peak_memory() >= high - 1e6)
"""


def test_memory_at_its_peak_only_grows():
    # In a process of its own: this one may have had far more than it has now.
    command = [sys.executable, "-c", PEAK]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout == "True\nTrue\n", done.stderr


@pytest.mark.parametrize("what", ["collecting", "learning"])
def test_a_cell_is_measured_beside_its_floor(what, monkeypatch, tmp_path):
    monkeypatch.setattr(bench_scale, "composed", lambda cell: tiny(cell))
    cell = Cell(what, 2, 1)
    found = bench_scale.measure(cell, QUICK)
    assert found.rate > 0 and found.floor > 0 and found.memory >= found.imports > 0
    assert (found.updates is not None) == (what == "learning")
    plan = bench_scale.Plan(folder=tmp_path)
    report(cell, found, plan)
    names = {record.metric for record in read(tmp_path / "scale.jsonl")}
    assert ("updates" in names) == (what == "learning") and "floor" in names


def tiny(cell: Cell):
    """The experiment, made small: its networks and batches do not matter here."""
    chosen = ["experiment=cheetah_vel", "out=unused", "worlds=2", "train_tasks=4", "threads=1"]
    chosen += ["learner.tasks_per_batch=2", "learner.rows_per_task=4", "validation_tasks=2"]
    chosen += ["learner.actor_hidden=[8]", "learner.critic_hidden=[8]"]
    return train_settings(chosen)


def test_a_report_carries_what_tells_its_line_apart(tmp_path):
    plan = bench_scale.Plan(folder=tmp_path)
    report(Cell("learning", 4, 1), Found(1.0, 2.0, 0.5, 3.0, 4e6, 2e6, 1e6), plan)
    records = read(tmp_path / "scale.jsonl")
    assert {r.parameters["what"] for r in records} == {"learning, 4 tasks per batch, 1 thread"}
    assert {r.metric: r.value for r in records}["peak memory"] == 4.0

"""The benchmark of the control path: what a block measures, and what is recorded of it."""

import pytest

from adapt.bundle.policy_bundle import PolicyBundle
from benchmarks.bench_path import Plan, measure, tell
from benchmarks.support.children.path_probe import Case, Probe
from benchmarks.support.results import ROOT, read
from tests.support import tiny_bundle

CASE = Case(0.0, learning=True, recording=True)


@pytest.mark.parametrize("learning", [True, False])
def test_a_block_measures_each_answer_within_its_turn(tmp_path, learning):
    bundle = PolicyBundle.load(tiny_bundle.write(tmp_path / "tiny"))
    probe = Probe(bundle, Case(0.0, learning, recording=True), tmp_path / "recordings")
    try:
        found = probe.block(5)
        learnt = probe.policy.belief.count
    finally:
        probe.close()
    assert [len(each) for each in (found.answer, found.turn, found.bare, found.update)] == [5] * 4
    assert all(0 < answer < turn for answer, turn in zip(found.answer, found.turn, strict=True))
    # Each answer but the first taught something, where it is to be learnt from.
    assert learnt == (6 if learning else 0)
    before_python, before_native, python, native = found.calls
    assert 10 < before_python < python and 10 < before_native < native
    assert list((tmp_path / "recordings").glob("*.mcap"))


def test_a_tree_is_measured_and_recorded(tmp_path):
    plan = Plan(1, (CASE,), tmp_path)
    blocks = measure([ROOT], plan)[ROOT, CASE]
    assert len(blocks) == 1
    tell(CASE, blocks, plan)
    values = {each.metric: each.value for each in read(tmp_path / "path.jsonl")}
    assert values["answer over bare run, p50"] > 1
    assert values["answer, p10"] <= values["answer, p50"] <= values["answer, p99"]

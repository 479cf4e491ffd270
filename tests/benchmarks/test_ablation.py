"""The ablation reads run folders rightly, and every row is one change that training accepts."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from adapt.settings import resolved
from benchmarks import bench_ablation as ablation
from benchmarks.bench_ablation import Outcome
from benchmarks.make_results import render
from benchmarks.support import results
from policies.algorithms.pearl.config import PearlSettings

TINY = (
    "worlds=2 run_steps=20 train_tasks=4 validation_tasks=2 iterations=2 script_iterations=1 "
    "updates_per_iteration=2 validation_every=1 learner.capacity=20 learner.actor_hidden=[8,8] "
    "learner.critic_hidden=[8,8] learner.tasks_per_batch=2 learner.rows_per_task=4 threads=1"
).split()


@pytest.fixture(scope="module")
def base() -> PearlSettings:
    return ablation.composed(ablation.COMMON)


def row(learn: float, updates: int, value: float | None = None) -> dict[str, float]:
    found = {"time/collect": 1.0, "time/learn": learn, "time/validate": 50.0, "updates": updates}
    return found if value is None else {**found, ablation.RETURN: value}


def test_seconds_count_collecting_and_learning_until_the_level_is_first_reached() -> None:
    level = ablation.LEVEL
    values = [None, level - 9, level, level - 3, level + 6, level + 9]
    log = [row(2.0, 10 * (i + 1), value) for i, value in enumerate(values)]
    found = ablation.outcome(log)
    assert found.seconds == pytest.approx(9.0)
    assert found.whole == pytest.approx(18.0)
    assert found.final == pytest.approx(level + 4)
    assert found.iterations == 6
    assert found.milliseconds_per_update == pytest.approx(200.0)


def test_a_run_that_stays_below_the_level_never_reached_it() -> None:
    found = ablation.outcome([row(2.0, 5, ablation.LEVEL - 1)] * 4)
    assert found.seconds is None and found.final == ablation.LEVEL - 1
    assert ablation.outcome([row(2.0, 5)]).final is None
    for empty in ([], [row(2.0, 0)]):
        with pytest.raises(ValueError, match="no update"):
            ablation.outcome(empty)


def leaves(tree: dict, prefix: str = "") -> dict[str, object]:
    found = {}
    for key, value in tree.items():
        deeper = isinstance(value, dict)
        found |= leaves(value, f"{prefix}{key}.") if deeper else {f"{prefix}{key}": value}
    return found


def test_every_row_changes_what_it_names_and_nothing_else(base: PearlSettings) -> None:
    rows = ablation.changes(base)
    before, seen = leaves(resolved(base)), set()
    for name, change in rows.items():
        settings = ablation.run_settings(name, change, 1, ablation.COMMON)
        assert settings.out == Path(f"runs/ablation-{name}-1") and settings.seed == 1
        after = leaves(resolved(settings))
        differing = {key for key in before if before[key] != after[key]}
        named = {word.partition("=")[0] for word in change}
        assert differing - {"name", "out", "seed"} == named, name
        seen.add(str([after[key] for key in before if key not in ("name", "out")]))
    assert len(seen) == len(rows), "two rows are the same run"
    assert {"base", "plain", "crossq", "simba"} <= rows.keys()


def product(settings: PearlSettings) -> int:
    return settings.learner.tasks_per_batch * settings.learner.rows_per_task


def test_batch_shapes_keep_or_change_the_number_of_rows_as_they_say(base: PearlSettings) -> None:
    rows = ablation.changes(base)
    wanted = {"fewer_tasks": 1.0, "more_tasks": 1.0, "half_rows": 0.5, "double_rows": 2.0}
    for name, factor in wanted.items():
        found = ablation.run_settings(name, rows[name], 0, ablation.COMMON)
        assert product(found) == factor * product(base)


def test_an_unknown_row_is_refused_with_the_rows() -> None:
    with pytest.raises(
        SystemExit, match=r"'crossqq': expected base, plain, crossq, simba, .*timing"
    ):
        ablation.main(["crossqq"])


def test_named_rows_are_trained_once_and_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = []
    monkeypatch.setattr(ablation, "record", lambda *a: recorded.append(a))
    monkeypatch.setattr(ablation, "SEEDS", (3,))
    words = ["crossq", *TINY, f"out={tmp_path}/${{name}}-${{seed}}"]
    ablation.main(words)
    folder = tmp_path / "ablation-crossq-3"
    lines = (folder / "log.jsonl").read_text()
    assert len(lines.splitlines()) == 2
    first = {metric: value for _, metric, value, *_ in recorded}
    assert first["iterations"] == 2 and first["reached"] == 0.0
    assert "training until then" not in first and first["one update"] > 0
    assert all(r[4]["change"] == "learner.critic=crossq" and r[5] == 3 for r in recorded)
    # Again: nothing is left to train, the same numbers.
    recorded.clear()
    ablation.main(words)
    assert (folder / "log.jsonl").read_text() == lines
    assert {metric: value for _, metric, value, *_ in recorded} == first


def test_timing_records_either_layout_in_either_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = []
    monkeypatch.setattr(ablation, "record", lambda *a: recorded.append(a))
    monkeypatch.setattr(ablation, "REPEATS", 1)
    ablation.main(["timing", *TINY])
    assert {(r[4]["networks"], r[4]["precision"]) for r in recorded} == {
        (networks, precision)
        for networks in ("batched", "separate")
        for precision in ("float32", "bfloat16")
    }
    assert all(r[2] > 0 for r in recorded)


def test_a_run_that_diverges_counts_as_far_as_it_came(
    base: PearlSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(settings: PearlSettings) -> None:
        raise FloatingPointError("iteration 7: ['learn/q'] not finite")

    monkeypatch.setattr(ablation, "train", fail)
    ablation.run(base)
    assert "iteration 7: ['learn/q'] not finite; its log" in capsys.readouterr().out


def test_a_level_that_was_not_reached_leaves_its_cell_empty(
    base: PearlSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation, "record", partial(results.record, folder=tmp_path))
    ablation.report("none", base, Outcome(100.0, 300.0, -50.0, 60, 30.0))
    ablation.report("learner.critic=plain", base, Outcome(None, 310.0, -90.0, 60, 31.0))
    page = render(tmp_path)
    assert "| none | 1 | 100 | 300 | -50 | 30 | 60 |" in page
    assert "| learner.critic=plain | 0 |  | 310 | -90 | 31 | 60 |" in page

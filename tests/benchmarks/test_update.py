"""The clock around an update's parts, and the benchmark as a smoke test."""

from __future__ import annotations

import time

import pytest

from benchmarks import bench_update
from benchmarks.bench_update import PARTS, REST, WHOLE, Clock
from benchmarks.support.results import Record


class Work:
    def outer(self, seconds: float) -> str:
        time.sleep(seconds)
        self.inner(0.02)
        self.inner(0.02)
        return "done"

    def inner(self, seconds: float) -> None:
        time.sleep(seconds)


def test_a_part_within_another_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr("time.perf_counter", lambda: now)
    work, clock = Work(), Clock()
    clock.around(work, "inner", "inner")
    clock.around(work, "outer", "outer")
    assert work.outer(0.5) == "done"
    assert clock.parts["inner"] == pytest.approx([0.02, 0.02])
    assert clock.parts["outer"] == pytest.approx([0.5])


def test_parts_add_up_to_the_update(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Record] = []
    record = bench_update.record
    monkeypatch.setattr(bench_update, "record", lambda *a, **k: told.append(record(*a, **k)))
    assert bench_update.main(["cheetah-vel", "--quick"]) == 0
    found = {r.parameters["part"]: r.value for r in told if "part" in r.parameters}
    whole = found.pop(WHOLE)
    assert set(found) == {*PARTS.values(), REST} and min(found.values()) > 0
    assert sum(found.values()) == pytest.approx(whole)
    assert [r.metric for r in told if "part" not in r.parameters] == ["collecting / learning"]


def test_an_unknown_family_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench_update.main(["ant-gaol"])
    assert "'ant-gaol': expected cheetah-vel, walker-params, ant-dir" in capsys.readouterr().err

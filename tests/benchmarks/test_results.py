"""Recorded numbers are kept in full and come back as a page that a person can read."""

import subprocess
from pathlib import Path

import msgspec
import pytest

from benchmarks import make_results
from benchmarks.support import results
from robot_bridge.system import host_info as machine


def record(folder: Path, value: float, *, metric: str = "success", seed: int = 0, **parameters):
    return results.record("demo", metric, value, "1", parameters, seed, folder=folder)


def test_page_in_docs_is_made_from_the_recorded_numbers():
    message = "docs/results.md is out of date: run python -m benchmarks.make_results"
    assert make_results.PAGE.read_text() == make_results.render(results.FOLDER), message


def test_a_record_is_appended_in_full_and_reads_back(tmp_path: Path):
    first = record(tmp_path, 1 / 3, episodes=2)
    second = record(tmp_path, 2 / 3, episodes=3)
    assert results.read(tmp_path / "demo.jsonl") == [first, second]
    assert first.value == 1 / 3
    assert first.hardware.cores == machine.cores()
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=results.ROOT, capture_output=True)
    if head.returncode == 0:
        assert first.revision.removesuffix("-dirty") == head.stdout.decode().strip()


def test_the_command_holds_no_path_of_the_machine():
    words = ["/usr/bin/python3", "-m", "benchmarks.x", f"out={results.ROOT}/runs/a b"]
    assert results.command(words) == "python -m benchmarks.x 'out=runs/a b'"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_refused_and_nothing_written(tmp_path: Path, value: float):
    with pytest.raises(ValueError, match="finite"):
        record(tmp_path, value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../up", "", "A b"])
def test_a_benchmark_that_is_no_file_name_is_refused(tmp_path: Path, name: str):
    with pytest.raises(ValueError, match="lower case"):
        results.record(name, "success", 1.0, "1", {}, 0, folder=tmp_path)


def test_a_damaged_line_is_named(tmp_path: Path):
    record(tmp_path, 1.0)
    path = tmp_path / "demo.jsonl"
    path.write_bytes(path.read_bytes() + b'{"benchmark": "demo"}\n')
    with pytest.raises(ValueError, match=r"demo\.jsonl, line 2.*metric"):
        results.read(path)


def test_a_line_in_another_benchmarks_file_is_named(tmp_path: Path):
    record(tmp_path, 1.0)
    (tmp_path / "demo.jsonl").rename(tmp_path / "other.jsonl")
    with pytest.raises(ValueError, match="expected benchmark 'other', found 'demo'"):
        results.read(tmp_path / "other.jsonl")


def test_the_newest_number_counts_for_the_same_parameters_and_seed(tmp_path: Path):
    record(tmp_path, 0.1, episodes=1, policy="a")
    other = record(tmp_path, 0.2, seed=1, episodes=1, policy="a")
    newer = record(tmp_path, 0.3, policy="a", episodes=1)
    assert make_results.newest(results.read(tmp_path / "demo.jsonl")) == [newer, other]


def test_two_varying_parameters_put_the_last_across(tmp_path: Path):
    for policy, start in (("ours", 0.5), ("spiral", 0.25)):
        for episodes in (0, 10, 2):
            record(tmp_path, start + episodes / 100, policy=policy, episodes=episodes, clean=True)
    (tmp_path / "demo.md").write_text("Why it was measured.\n")
    page = make_results.render(tmp_path)
    assert "## demo\n\nWhy it was measured.\n\nWith clean yes:\n\nsuccess, by episodes:\n" in page
    assert (
        "| policy | 0 | 2 | 10 |\n| --- | ---: | ---: | ---: |\n"
        "| ours | 0.5 | 0.52 | 0.6 |\n| spiral | 0.25 | 0.27 | 0.35 |\n"
    ) in page


def test_a_parameter_that_only_goes_with_another_is_a_column_of_its_own(tmp_path: Path):
    for policy, episodes in (("ours", 3), ("spiral", 7)):
        record(tmp_path, 0.5, policy=policy, episodes=episodes)
    page = make_results.render(tmp_path)
    assert (
        "| policy | episodes | success |\n| --- | --- | ---: |\n"
        "| ours | 3 | 0.5 |\n| spiral | 7 | 0.5 |\n"
    ) in page


def test_one_varying_parameter_puts_the_metrics_across_and_seeds_into_a_cell(tmp_path: Path):
    for threads, rates in ((1, (1000.0, 3000.0)), (2, (5000.0,))):
        for seed, rate in enumerate(rates):
            parameters = {"threads": threads}
            results.record("demo", "rate", rate, "1/s", parameters, seed, folder=tmp_path)
    record(tmp_path, 0.75, threads=2)
    page = make_results.render(tmp_path)
    assert (
        "| threads | rate [1/s] | success |\n| --- | ---: | ---: |\n"
        "| 1 | 2,000 [1,000, 3,000] |  |\n| 2 | 5,000 | 0.75 |\n"
    ) in page
    assert "seeds 0, 1" in page


def test_two_units_for_one_metric_are_refused(tmp_path: Path):
    results.record("demo", "delay", 1.0, "s", {}, 0, folder=tmp_path)
    results.record("demo", "delay", 1.0, "ms", {}, 1, folder=tmp_path)
    with pytest.raises(ValueError, match="demo, delay: recorded in several units: ms, s"):
        make_results.render(tmp_path)


def test_every_record_in_the_repository_reads(tmp_path: Path):
    for path in results.FOLDER.glob("*.jsonl"):
        for entry in results.read(path):
            assert msgspec.json.decode(msgspec.json.encode(entry), type=results.Record) == entry

"""What the fault tests share: a bridge that survives the faults, and a way to report results."""

import pytest

from tests.support.bridge.faults import row, served


@pytest.fixture(scope="module")
def house(bundle, tmp_path_factory):
    """A folder with a recording bridge at `b`; it serves every test of a module."""
    folder = tmp_path_factory.mktemp("house")
    with served(folder, bundle):
        yield folder


@pytest.fixture
def matrix(record_property):
    """Reports a test's result to benchmarks/bench_faults.py."""
    return row(record_property)
